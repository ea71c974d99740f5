"""From a data folder to a finished run: what `train` and `benchmark` both stand on.

`prepare` reads the data once for any number of runs; `run_job` does one job or finds it done.
"""

from __future__ import annotations

from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hemoscope.data.camera import camera_of
from hemoscope.data.canvas import open_canvas
from hemoscope.data.folds import fold_split
from hemoscope.data.images.framing import SQUARE, Framing, by_nucleus
from hemoscope.data.scan.scan import usable
from hemoscope.data.split import Policy, make_split
from hemoscope.data.split_file import read_split, write_split
from hemoscope.errors import ConfigError, DataError, HemoscopeError, SplitError
from hemoscope.files import lock_folder
from hemoscope.models.registry import get_arch
from hemoscope.progress import Progress
from hemoscope.records import SIDES, Manifest, Split
from hemoscope.runs import Run
from hemoscope.training.last_words import is_of_the_net
from hemoscope.training.ranks import Ranks, ranks_here
from hemoscope.training.recipe import Recipe
from hemoscope.training.scanned import scan_cached

if TYPE_CHECKING:
    import torch

    from hemoscope.training.card import RunCard
    from hemoscope.training.job import Job
    from hemoscope.training.loop import Watcher

__all__ = ["Prepared", "done_run", "job_name", "kept_split", "prepare", "ready", "run_job"]


@dataclass(frozen=True)
class Prepared:
    """Data ready to train on.

    Attributes:
        manifest: Usable images.
        split: Their sides.
        second_acquisition: Images of another acquisition, a class.
        folds: Into how many folds the images are divided, the first of which is the test side of `split`; 0 where the
            split is no fold's.
    """

    manifest: Manifest
    split: Split
    second_acquisition: dict[str, int]
    folds: int = 0

    def in_fold(self, fold: int) -> Prepared:
        """Return the same images with another fold as the test side; 0 leaves them as they are.

        Raises:
            SplitError: If a class has no training image beside this fold.
        """
        if not fold or not self.folds:
            return self
        split = fold_split(self.manifest, folds=self.folds, fold=fold, seed=self.split.seed or 0)
        _check_trained(split, split.policy)
        return replace(self, split=split)


def prepare(
    root: Path,
    *,
    split_file: Path | None = None,
    policy: Policy = "paper",
    split_seed: int = 0,
    folds: int = 0,
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> Prepared:
    """Scan, check and split a data folder.

    Args:
        root: A folder of class folders, or a BloodMNIST `.npz` (which brings its own split).
        split_file: A split to use instead of drawing one.
        policy: How to draw one.
        split_seed: Seed of the draw; not the seed of the runs, so that all runs share one split.
        folds: Divide all images into so many folds instead, whatever split they bring; see `Prepared.in_fold`.
        skip_bad: Leave bad files out, and say so, instead of refusing.
        progress: Called with (what is done, done, in all).

    Raises:
        DataError: If the data hold errors and `skip_bad` is off.
        SplitError: If the split does not fit the data.
        ConfigError: If there are both a split and folds.
    """
    if folds and split_file:
        raise ConfigError(
            f"expected a split or folds, not both: {split_file} says which images are tested on, and over {folds} folds "
            "all of them are"
        )
    found = scan_cached(root, progress)
    manifest = usable(found, skip_bad=skip_bad)
    if folds:
        split = fold_split(manifest, folds=folds, fold=1, seed=split_seed)
    elif split_file:
        split = read_split(split_file, manifest)
    else:
        split = make_split(manifest, policy=policy, seed=split_seed)
    return replace(ready(manifest, split, split_name=str(split_file or root)), folds=folds)


def ready(manifest: Manifest, split: Split, *, split_name: str = "the split") -> Prepared:
    """Return images and their sides as data to train on.

    Args:
        manifest: Usable images.
        split: Their sides; a class without a row in it is left out.
        split_name: What a message calls the split.

    Raises:
        SplitError: If a class has no training image, or a side none at all.
    """
    from collections import Counter

    from hemoscope.data.acquisitions import second_acquisition

    _check_trained(split, split_name)
    learnt = tuple(name for name in manifest.classes if name in split.classes)
    manifest = replace(manifest, classes=learnt)  # a network has no output for one that is left out
    second = Counter(image.class_name for image in second_acquisition(manifest.images))
    return Prepared(manifest, split, dict(sorted(second.items())))


def _check_trained(split: Split, name: str) -> None:
    empty = [class_name for class_name, n in split.counts["train"].items() if n == 0]
    if empty:
        raise SplitError(
            f"{name} puts no training image on the side of {', '.join(empty)}; a network cannot learn "
            "a class that it never sees. Expected at least 1 of every class, or leave the class out"
        )
    bare = [side for side in SIDES if not split.side(side)]
    if bare:
        raise SplitError(
            f"{name} puts no image on the side of {', '.join(bare)}; expected some on each of {', '.join(SIDES)}"
        )


def run_job(
    arch: str,
    recipe: Recipe,
    prepared: Prepared,
    *,
    seed: int,
    out: Path,
    device_name: str = "auto",
    watcher: Watcher | None = None,
    progress: Progress | None = None,
    command: str = "",
    wait: bool = False,
) -> Run:
    """Do one job, go on with it, or return the finished run; as one of several ranks where torchrun started this.

    Args:
        arch: Registry name.
        recipe: How to train.
        prepared: The data.
        seed: Of head, order, augmentation and dropout.
        out: Folder of run folders.
        device_name: Where to compute.
        watcher: Hears of steps and epochs.
        progress: Called while the canvas is built.
        command: What the run card says.
        wait: Where another process is at this run, wait for it instead of refusing.

    Raises:
        HemoscopeError: Whatever stopped it; the run card says so too.
    """
    from hemoscope.training.card import RunCard
    from hemoscope.training.device import Device, choose_device, resolve_precision, tune
    from hemoscope.training.loop import fit

    ranks = ranks_here()
    torch_device = choose_device(ranks.device_name(device_name))
    tune(torch_device)
    job = _job(arch, recipe, prepared, seed, torch_device)
    folder = out / job.name

    def is_done() -> bool:
        return _finished(folder) is not None

    if ranks.several and not is_done():
        _build_canvas(job, ranks, progress)
    with ranks.together(torch_device) as meeting:
        ranks.agree(job.name, "the job")
        if ranks.from_main(is_done):
            return Run.open(folder)
        with lock_folder(folder, wait=wait) if ranks.main else nullcontext():
            if ranks.from_main(is_done):  # by whoever held the folder until now
                return Run.open(folder)
            card = RunCard(
                job,
                folder,
                left_out=prepared.manifest.left_out,
                second_acquisition=prepared.second_acquisition,
                command=command,
                ranks=ranks,
            )
            meeting.on_failure = card.fail
            split_file = kept_split(out, job.split)
            if ranks.main and not split_file.is_file():
                write_split(job.split, split_file)
            try:
                _refuse_small(job)
                framing = _framing(job, card)
                canvas = open_canvas(job.manifest, job.sides_px[1], framing=framing, progress=progress)
                fit(
                    job,
                    folder,
                    canvas,
                    device=Device(torch_device, resolve_precision(recipe.precision, torch_device)),
                    card=card,
                    watcher=watcher,
                    ranks=ranks,
                )
            except (HemoscopeError, RuntimeError, MemoryError) as error:  # torch raises RuntimeError
                gone = isinstance(error, RuntimeError) and ranks.several and is_of_the_net(error)
                if not gone:  # another rank is; this one did not fail
                    card.fail(str(error) or type(error).__name__)
                raise
    return Run.open(folder)


def kept_split(out: Path, split: Split) -> Path:
    """Return where a folder of runs keeps a split that some of them have."""
    return out / "splits" / f"{split.digest[:16]}.csv"


def job_name(arch: str, recipe: Recipe, prepared: Prepared, *, seed: int, device_name: str = "auto") -> str:
    """Return the name of a job's run folder; the device's precision is a part of it.

    Raises:
        HemoscopeError: If the job cannot be done here, as in `run_job`.
    """
    from hemoscope.training.device import choose_device

    return _job(arch, recipe, prepared, seed, choose_device(device_name)).name


def _build_canvas(job: Job, ranks: Ranks, progress: Progress | None) -> None:
    """Build the canvas, one rank a machine, before anybody waits for anybody."""
    key = f"canvas {job.manifest.digest} {job.sides_px[1]}"
    with ranks.one_first(key), suppress(HemoscopeError):  # found again where the run card can say so
        open_canvas(job.manifest, job.sides_px[1], framing=_framing(job), progress=progress)


def _refuse_small(job: Job) -> None:
    least, side = get_arch(job.arch).least_px, min(job.recipe.small_px or job.sides_px[0], job.sides_px[0])
    if side < least:
        raise ConfigError(
            f"{side} px are too small for {job.arch}; it can be trained on inputs of {least} px or more"
        )


def _framing(job: Job, card: RunCard | None = None) -> Framing:
    """Return how the job's images become squares; the card hears of what was measured for it.

    Raises:
        DataError: If no nucleus is found in the images that it needs one of.
    """
    if job.recipe.framing == "square":
        return SQUARE
    image_px, canvas_px = job.sides_px
    nucleus_px = camera_of(job.manifest, [row.path for row in job.split.side("train")])
    if nucleus_px is None:
        raise DataError(
            f'no nucleus is found in the training images of {job.manifest.root}; framing = "nucleus" expects stained '
            "blood cells, one an image. Train with --set framing=square"
        )
    if card:
        card.measured(nucleus_px)
    return by_nucleus(nucleus_px, image_px=image_px, canvas_px=canvas_px)


def done_run(
    arch: str, recipe: Recipe, prepared: Prepared, *, seed: int, out: Path, device_name: str = "auto"
) -> Run | None:
    """Return the finished run of a job, or None if `run_job` has something to do.

    Raises:
        HemoscopeError: If the job cannot be done here, as in `run_job`.
    """
    return _finished(out / job_name(arch, recipe, prepared, seed=seed, device_name=device_name))


def _job(arch: str, recipe: Recipe, prepared: Prepared, seed: int, device: torch.device) -> Job:
    from hemoscope.models.weights import find, verify
    from hemoscope.training.device import resolve_precision
    from hemoscope.training.job import Job

    recipe = recipe.model_copy(update={"precision": resolve_precision(recipe.precision, device)})
    weights = find(arch) if recipe.weights == "imagenet" else None
    return Job(arch, recipe, prepared.manifest, prepared.split, seed, verify(weights) if weights else "")


def _finished(folder: Path) -> Run | None:
    if not folder.is_dir():
        return None
    try:
        run = Run.open(folder)
    except HemoscopeError:
        return None
    return run if run.done else None
