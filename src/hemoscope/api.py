"""The whole way from Python, by the names of the verbs: scan, split, train, evaluate, vote, report, bundle, adapt, load.

    from hemoscope import api

    cells = api.scan("cells")
    run = api.train("squeezenet1_1", cells, api.split(cells), recipe="fast", out="runs")
    print(api.evaluate(run).accuracy)
    api.report("runs", "report")
    api.bundle("runs", "blood.hemo")
    api.load("blood.hemo").predict(["a.jpg"])

Nothing here prints. What goes wrong is a `hemoscope.errors.HemoscopeError` that says what was expected, what
came and what to do. The command line stands on the same functions beneath, so a run made here is a run made there.
Every path is one of this machine; where runs are read it may be a URL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from hemoscope.data.folds import fold_split, is_fold
from hemoscope.data.scan.scan import usable
from hemoscope.data.split import Policy, make_split
from hemoscope.data.split_file import read_split
from hemoscope.ensemble.members import Ensemble, assemble
from hemoscope.ensemble.vote import How
from hemoscope.errors import RunError
from hemoscope.evaluation.summary import Scores, score
from hemoscope.places import a_path
from hemoscope.progress import Progress
from hemoscope.records import Manifest, Side, Split
from hemoscope.runs import Run
from hemoscope.training.recipe import load_recipe
from hemoscope.training.run import kept_split, ready, run_job
from hemoscope.training.scanned import scan_cached

if TYPE_CHECKING:
    from hemoscope.adapt.adapt import Outcome
    from hemoscope.bundle.card import BundleCard
    from hemoscope.comparison.compare import Comparison
    from hemoscope.packing.calibrate import Goals
    from hemoscope.predict.model import Model
    from hemoscope.stress.result import Stressed
    from hemoscope.suspects.audit import LabelAudit

__all__ = [
    "adapt",
    "audit",
    "bundle",
    "compare",
    "evaluate",
    "folds",
    "load",
    "report",
    "scan",
    "split",
    "stress",
    "train",
    "vote",
]

File = str | PathLike[str]


def scan(data: File, *, skip_bad: bool = False, progress: Progress | None = None) -> Manifest:
    """Read a data set: every image is opened once, and remembered for the next call.

    Args:
        data: A folder of class folders or of sides (`train/CLASS`), a CSV of labels, a zip or Parquet of
            images, or a BloodMNIST `.npz`.
        skip_bad: Leave bad files out instead of refusing.
        progress: Called with what is done, how much, and of how much.

    Returns:
        The images and their classes.

    Raises:
        DataError: With everything that is wrong with the data.
    """
    return usable(scan_cached(a_path(data), progress), skip_bad=skip_bad)


def split(cells: Manifest, *, policy: Policy = "paper", seed: int = 0, file: File | None = None) -> Split:
    """Say which image is for fitting, which for choosing, which for reporting once.

    Args:
        cells: What `scan` returned. Where the data bring a split, that is taken.
        policy: `paper` keeps every image; `clean` drops duplicates and keeps look-alikes on one side; `acquisition`
            tests on the images of a second acquisition and trains on none of them.
        seed: Of the draw; not the seed of the runs, so that all runs share one split.
        file: A split to read instead, as `hemoscope data split` writes it.

    Raises:
        SplitError: If a class is too small, or the file does not fit the data.
    """
    if file is not None:
        return read_split(a_path(file), cells)
    return make_split(cells, policy=policy, seed=seed)


def folds(cells: Manifest, n: int, *, seed: int = 0) -> tuple[Split, ...]:
    """Divide the images into parts, each the test side of one split, so that every image is tested on once.

    Train on each into one folder, and `audit` that folder.

    Args:
        cells: What `scan` returned. A split that the data bring is left aside.
        n: How many parts, at least 2.
        seed: Of the draw.

    Raises:
        ConfigError: If there are fewer than 2.
        SplitError: If a class has too few images for so many.
    """
    return tuple(fold_split(cells, folds=n, fold=k, seed=seed) for k in range(1, max(n, 1) + 1))


def train(
    arch: str,
    cells: Manifest,
    sides: Split,
    *,
    recipe: str = "paper",
    seed: int = 0,
    out: File = "runs",
    device: str = "auto",
    progress: Progress | None = None,
    **changes: Any,
) -> Run:
    """Fine-tune one architecture; the same call goes on with a run that was stopped, or finds it done.

    Args:
        arch: One of `hemoscope models`.
        cells: What `scan` returned.
        sides: What `split` returned.
        recipe: A built-in name (`paper`, `fast`, `demo`) or a `.toml` file.
        seed: Of head, order, augmentation and dropout.
        out: Folder of run folders.
        device: auto, cuda, cuda:N, mps or cpu.
        progress: Called with what is done, how much, and of how much.
        changes: Fields of the recipe, such as `epochs=4` or `weights="none"`.

    Returns:
        The finished run: its folder, card, history and predictions.

    Raises:
        UnknownNameError: If there is no such architecture, recipe or field.
        ConfigError: If a value does not hold, or the device is not there.
        WeightsError: If there are no ImageNet weights here.
        TrainingError: If the loss diverged or the network died.
    """
    return run_job(
        arch,
        load_recipe(recipe, **changes),
        ready(cells, sides),
        seed=seed,
        out=a_path(out),
        device_name=device,
        progress=progress,
        command=_call(arch, cells, sides, recipe=recipe, seed=seed, out=str(out), device=device, **changes),
    )


def _call(arch: str, cells: Manifest, sides: Split, *, out: str, **options: Any) -> str:
    """Return the call that goes on with a run, for its card."""
    data = repr(str(cells.source or cells.root)) + (", skip_bad=True" if cells.left_out else "")
    words = ", ".join(f"{name}={value!r}" for name, value in {**options, "out": out}.items())
    return f"cells = api.scan({data}); api.train({arch!r}, cells, {_sides(sides, Path(out))}, {words})"


def _sides(split: Split, out: Path) -> str:
    """Return the call that draws a split again, and reads one that was not drawn from where its runs keep it."""
    if is_fold(split.policy):
        _, fold, _, n = split.policy.split()
        return f"api.folds(cells, {n}, seed={split.seed})[{int(fold) - 1}]"
    if split.policy in get_args(Policy):
        return f"api.split(cells, policy={split.policy!r}, seed={split.seed})"
    return f"api.split(cells, file={str(kept_split(out, split))!r})"


def evaluate(
    what: Run | File,
    data: File | None = None,
    *,
    classes: Mapping[str, str | None] | None = None,
    device: str = "auto",
) -> Scores:
    """Score a finished run on its own test predictions, or a run, an ensemble or a bundle on any labelled data.

    Args:
        what: A run or its folder; with data also a folder of runs, whose majority is asked, or a bundle.
        data: Labelled images; by default the run's own test side.
        classes: Which class of the data is which of the model's, None for none of them, where names do not say it.
        device: Where to compute.

    Raises:
        RunError: If there is no finished run.
        BundleError: If a file is no bundle.
        DataError: If the data hold errors, or a class whose name does not say which of the model's it is.
    """
    if data is not None:
        from hemoscope.predict.evaluate import predict_labelled, scanned
        from hemoscope.predict.scorable import open_scorable

        asked = open_scorable(what.path if isinstance(what, Run) else a_path(what), device=device)
        return score(predict_labelled(asked, scanned(a_path(data)), given=classes).predictions)
    run = what if isinstance(what, Run) else Run.open(a_path(what))
    if not run.done:
        raise RunError(f"{run.path} is not finished; train it on before it is scored")
    return score(run.predictions("test"))


def stress(
    what: Run | File,
    data: File,
    *,
    reference: Run | File | None = None,
    classes: Mapping[str, str | None] | None = None,
    side: Side | None = None,
    limit: int = 25,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
) -> Stressed:
    """Ask about labelled cells clean, damaged in sixteen ways at five severities, hidden, and on other backgrounds.

    `hemoscope.stress.write.document_of` makes the figures of it.

    Args:
        what: A run, a folder of runs or a bundle.
        data: Labelled images.
        reference: A run that errors are set against; by default an AlexNet of the folder.
        classes: As in `evaluate`.
        side: Only images of this side of the run's own split.
        limit: Images of each class; 0 for all.
        seed: Of the choice of images and of every draw.
        device: Where to compute.
        progress: Called with what is done, how much, and of how much.

    Raises:
        RunError: If there is no finished run.
        BundleError: If a file is no bundle.
        DataError: As `evaluate`, and if no image remains.
        ConfigError: If the side of an image is not known, or the reference knows other classes.
    """
    from hemoscope.predict.evaluate import scanned
    from hemoscope.predict.scorable import open_scorable
    from hemoscope.stress.ask import stress as stressed
    from hemoscope.stress.reference import find_reference

    place = what.path if isinstance(what, Run) else a_path(what)
    named = reference.path if isinstance(reference, Run) else None if reference is None else a_path(reference)
    return stressed(
        open_scorable(place, device=device),
        scanned(a_path(data), progress),
        reference=find_reference(place, named, device=device),
        given=classes,
        side=side,
        limit=limit,
        seed=seed,
        device=device,
        progress=progress,
    )


def vote(runs: File, *, members: str | Sequence[str] = "auto", how: How | None = None) -> Ensemble:
    """Let runs of one split vote; members are chosen on validation images only.

    Args:
        runs: A folder of run folders, or its URL such as s3://bucket/runs.
        members: `auto` (the four best on validation), `paper`, `top`, `greedy`, `exhaustive`, or names of runs
            or architectures.
        how: `majority` of predictions, or `soft`: the mean of probabilities. None: as they voted where `evaluate --out` wrote
            the runs, else `majority`.

    Returns:
        Members, predictions and scores of the test side.

    Raises:
        RunError: If there is no ensemble; the message says why.
    """
    from hemoscope.sweep.storage import runs_at

    found = assemble(runs_at(runs), members=_named(members), how=how)
    if found.ensemble is None:
        raise RunError(f"there is no ensemble in {runs}: {found.no_ensemble}")
    return found.ensemble


def _named(members: str | Sequence[str]) -> str:
    """Return members as the command line names them."""
    return members if isinstance(members, str) else ",".join(members)


def compare(
    runs: File,
    *,
    side: Literal["test", "val"] = "test",
    members: str | Sequence[str] = "auto",
    how: How | None = None,
) -> Comparison:
    """Compare runs of one split and their ensemble: intervals, paired tests, what cannot be told apart.

    Args:
        runs: A folder of run folders, or its URL such as s3://bucket/runs.
        side: On which images.
        members: Of the ensemble, as in `vote`.
        how: Its vote, as in `vote`.

    Raises:
        RunError: If there is no finished run, or no image on that side.
    """
    from hemoscope.comparison.compare import compare as compared
    from hemoscope.sweep.storage import runs_at

    return compared(runs_at(runs), side=side, members=_named(members), how=how)


def audit(
    runs: File,
    *,
    side: Literal["test", "val", "both"] | None = None,
    data: File | None = None,
    split: File | None = None,
    also_test: bool = False,
    out: File | None = None,
    progress: Progress | None = None,
) -> LabelAudit:
    """Look for labels that networks doubt which were not trained on them. Data are never changed.

    Args:
        runs: A folder of run folders, best those of all `folds`, or its URL such as s3://bucket/runs.
        side: Which of their sides to read; by default the test sides of folds, the validation sides of other runs.
        data: The images, if they are not where they were.
        split: The split to correct; by default that of the first run.
        also_test: Leave suspects out of the corrected split's test side, too.
        out: A new folder for tables, contact sheets and the corrected split.
        progress: Called with what is done, how much, and of how much.

    Returns:
        Suspects, contradictory duplicates, the estimated share of wrong labels, and the corrected split.

    Raises:
        RunError: If no finished run has images to judge by.
        DataError: If `data` are not the images of the runs, something is in `out` already, or it lies inside `data`.
    """
    from hemoscope.files import refuse_inside, refuse_occupied
    from hemoscope.suspects.audit import audit_labels
    from hemoscope.suspects.write import write_audit
    from hemoscope.sweep.storage import runs_at

    if out is not None:
        if data is not None:
            refuse_inside(a_path(out), a_path(data))
        refuse_occupied(a_path(out))
    found = audit_labels(
        runs_at(runs),
        side=side,
        data=None if data is None else a_path(data),
        split_file=None if split is None else a_path(split),
        also_test=also_test,
        progress=progress,
    )
    if out is not None:
        write_audit(found, a_path(out))
    return found


def report(
    runs: File,
    out: File = "report",
    *,
    members: str | Sequence[str] = "auto",
    how: How | None = None,
    data: File | None = None,
    title: str | None = None,
    stress: File | None = None,
) -> Path:
    """Write one self-contained HTML file, and tables and figures beside it.

    Args:
        runs: A folder of run folders, or its URL such as s3://bucket/runs.
        out: The folder to write.
        members: As in `vote`.
        how: As in `vote`.
        data: Where the images are, for pictures of cells and of errors.
        title: Headline of the page.
        stress: What `hemoscope stress --out` wrote of these runs, for what would break them.

    Returns:
        The path of the page.

    Raises:
        RunError: If no finished run can be read, or the members asked for do not exist.
        DataError: If `stress` is no such folder, or of other networks.
    """
    from hemoscope.report import write_report
    from hemoscope.sweep.storage import runs_at

    images = None if data is None else a_path(data)
    damaged = None if stress is None else a_path(stress)
    return write_report(
        runs_at(runs),
        a_path(out),
        members=_named(members),
        vote=how,
        data=images,
        title=title,
        stress=damaged,
    )


def bundle(
    runs: File,
    out: File,
    *,
    members: str | Sequence[str] = "auto",
    how: How = "majority",
    goals: Goals | None = None,
    data: File | None = None,
    tta: bool = False,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> BundleCard:
    """Write a run, or an ensemble of runs, as one file that answers anywhere.

    Args:
        runs: A run folder, a folder of them, or the URL of such a folder.
        out: The file to write, such as `blood.hemo`.
        members: As in `vote`; where they are chosen among more runs, one half of the validation images chooses
            and the other sets the thresholds.
        how: As in `vote`.
        goals: What the thresholds are chosen for: errors among accepted answers, coverage, known cells called unknown.
        data: The images of the runs, if they are not where they were.
        tta: Calibrate answers averaged over flips and turns, too.
        device: Where to compute.
        overwrite: Replace what is there.
        progress: Called with what is done, how much, and of how much.

    Raises:
        RunError: If no finished run can be read, or the members asked for do not exist.
        DataError: If `data` are not the images of the runs, or `out` is there already.
    """
    from hemoscope.packing.calibrate import Goals
    from hemoscope.packing.pack import Voting, pack
    from hemoscope.sweep.storage import runs_at

    found = assemble(runs_at(runs), members=_named(members), how=how, leave_half=True)
    return pack(
        [Run.open(entry.path) for entry in found.voters],
        a_path(out),
        voting=Voting(how, found.chosen, found.by_half),
        goals=goals or Goals(),
        data=None if data is None else a_path(data),
        tta=tta,
        device_name=device,
        overwrite=overwrite,
        progress=progress,
    )


def adapt(
    bundle: File,
    data: File,
    out: File,
    *,
    labelled: File | None = None,
    classes: File | None = None,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress | None = None,
    **changes: Any,
) -> Outcome:
    """Adapt a bundle to another laboratory's cells; where that is not to be trusted nothing is written.

    Args:
        bundle: The model before.
        data: Cells of one laboratory, unlabelled: a folder, an archive, a pattern.
        out: The file to write, such as `blood-here.hemo`.
        labelled: Cells of the same laboratory in class folders, or any data set with labels.
        classes: A file that says which class of `labelled` is which of the model's.
        seed: Of everything that is drawn.
        device: Where to compute.
        overwrite: Replace what is there.
        progress: Called with what is done, how much, and of how much.
        changes: Fields of `hemoscope.adapt.recipe.AdaptRecipe`, or of training in `LEARNT_BY`: `epochs=6`.

    Returns:
        What came of it: the card of what was written, or the reasons why nothing was.

    Raises:
        DataError: If the cells are too few or cannot be read, or `out` is there already.
        BundleError: If the bundle cannot be read.
        UnknownNameError: If there is no such field.
        ConfigError: If a field does not hold, or has no effect: with labelled cells `labelled_epochs=6` in place of `epochs=6`.
    """
    from hemoscope.adapt.adapt import adapt
    from hemoscope.adapt.cells import gather
    from hemoscope.adapt.recipe import adapt_recipe
    from hemoscope.adapt.source import read_parent
    from hemoscope.data.class_map import read_class_map
    from hemoscope.predict.evaluate import scanned

    recipe = adapt_recipe(with_labels=labelled is not None, **changes)
    parent = read_parent(a_path(bundle))
    known = parent.card.classes
    return adapt(
        parent,
        gather(
            str(data),
            known,
            labelled=None if labelled is None else scanned(a_path(labelled), progress),
            given=None if classes is None else read_class_map(a_path(classes), known),
            most=recipe.most_cells,
            progress=progress,
        ),
        a_path(out),
        recipe=recipe,
        seed=seed,
        device_name=device,
        overwrite=overwrite,
        progress=progress,
    )


def load(bundle: File, *, device: str = "auto", precision: Literal["auto", "fp32", "bf16"] = "auto") -> Model:
    """Load a bundle; see `hemoscope.Model` for what it answers.

    Raises:
        BundleError: If it is no bundle, damaged, edited or from a newer version.
        ConfigError: If the device is not there.
    """
    from hemoscope.predict.model import load

    return load(bundle, device=device, precision=precision)
