"""From finished runs to a bundle: collect, calibrate, draw the cells it checks itself by, write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from hemoscope.bundle.card import MAX_CLASSES, MAX_MEMBERS, BundleCard, Calibration, MemberCard, Preprocessing
from hemoscope.encoding import jsonable
from hemoscope.ensemble.halves import halves
from hemoscope.ensemble.vote import How, align
from hemoscope.errors import DataError, HemoscopeError, RunError
from hemoscope.evaluation.summary import score
from hemoscope.files import refuse_existing
from hemoscope.model_card import INTENDED_USE, LIMITS
from hemoscope.models.normalise import IMAGENET_MEAN, IMAGENET_STD
from hemoscope.models.registry import get_arch
from hemoscope.packing.answers import Answers, ask_anew, remember, stored
from hemoscope.packing.calibrate import Goals, calibrate, measure
from hemoscope.packing.model_card import model_card
from hemoscope.packing.write import write
from hemoscope.predict.network import load_network, load_run
from hemoscope.progress import Progress
from hemoscope.records import Predictions
from hemoscope.runs import MODEL, Run
from hemoscope.training.recipe import Recipe
from hemoscope.training.scanned import scan_cached

__all__ = ["LIMITS_OF_BUNDLES", "PICKED", "Voting", "pack"]

LIMITS_OF_BUNDLES = (
    *LIMITS,
    "What is none of its classes should come out as unknown, and not all of it does.",
    "An image without any cell can pass for a known class, platelet above all; see what it was tried on.",
)
LONGEST_NAME = 200  # of the card
PICKED = (
    "How few accepted answers are wrong is a promise for networks that were not picked by their validation scores; "
    "of networks picked so it is broken more often than it says."
)


@dataclass(frozen=True, slots=True)
class Voting:
    """How the runs of a bundle came together.

    Attributes:
        how: The vote of several members.
        chosen: One sentence on how they were chosen.
        by_half: Whether one half of the validation images chose them; then the other half sets the thresholds.
    """

    how: How = "majority"
    chosen: str = ""
    by_half: bool = False


def pack(
    runs: Sequence[Run],
    out: Path,
    *,
    voting: Voting = Voting(),
    goals: Goals = Goals(),  # noqa: B008  frozen
    data: Path | None = None,
    tta: bool = False,
    device_name: str = "auto",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> BundleCard:
    """Write finished runs as one bundle, and read it back.

    Where the images are at hand, the networks are asked again, in fp32: then thresholds and figures are of
    the answers that the bundle itself gives. Otherwise they are of those that the runs stored, in whatever
    precision they were trained. Test images are measured on, once, and nothing is chosen by them.

    Args:
        runs: One run, or the members of an ensemble.
        out: The file to write.
        voting: How several members vote, and how they were chosen.
        goals: What the thresholds are chosen for.
        data: The images they were trained on, to learn what is unknown; by default where the runs found
            them. Without them nothing is ever called unknown.
        tta: Calibrate answers averaged over flips and turns, too; eight times the work again. Always done for runs
            that were scored so (`views = 8`).
        device_name: Where to compute.
        overwrite: Replace what is at `out`, once the new bundle has given the right answers.
        progress: Called with what is done, how much, and of how much.

    Raises:
        RunError: If a run is unfinished, the runs do not fit together, or they are more than a bundle holds.
        DataError: If `data` are not the images of the runs, `tta` is asked for without them, or `out` is
            there already.
        BundleError: If what was written does not give the answers it should; it is deleted again.
    """
    unfinished = [run.name for run in runs if not run.done]
    if unfinished:
        raise RunError(f"a bundle needs finished runs; not finished: {', '.join(unfinished)}")
    _refuse_too_many(runs)
    refuse_existing(out, overwrite=overwrite)
    names = [run.name for run in runs]
    sides = {side: align([run.predictions(side) for run in runs], names=names) for side in ("val", "test")}
    root = _images_of(runs[0], data)
    tta = tta or any(_turned(run) for run in runs)
    if tta and root is None:
        raise DataError(
            "flips and turns are calibrated on the images of the runs; name their folder: --data DIR"
        )
    said, known = _asked(runs, root, sides, voting.how, device_name, tta=tta, progress=progress)
    card = _card(runs, said, voting, goals)
    weights = [run.verified(MODEL).read_bytes() for run in runs]
    networks = [load_network(run) for run in runs]
    write(out, card, model_card(card), weights, networks, known, overwrite=overwrite)
    return card


def _card(runs: Sequence[Run], said: Mapping[bool, Answers], voting: Voting, goals: Goals) -> BundleCard:
    """Return the card: thresholds chosen on validation answers and measured on test answers."""

    def trust(answers: Answers) -> Calibration:
        val, distance = answers.val, answers.val_distance
        if voting.by_half:
            _, rows = halves(val.target)
            val, distance = val.take(rows), None if distance is None else distance[rows]
        chosen = calibrate(val, distance, goals)
        figures = measure(answers.test, answers.test_distance, chosen, strange_distances=answers.strange)
        measured = {"answers": answers.made, **jsonable(figures)}  # type: ignore[dict-item]
        return chosen.model_copy(update={"measured": measured})

    picked = sum(run.card["recipe"].get("select_epoch") == "best_val" for run in runs)
    return BundleCard(
        name=_name(runs),
        classes=said[False].val.classes,
        members=tuple(_member(run) for run in runs),
        vote=voting.how,
        chosen=_chosen(voting, said[False].val, picked),
        data=_public(runs[0].card["data"]),
        split=runs[0].card["split"],
        scores=jsonable(score(said[False].test).to_json()),  # type: ignore[arg-type]
        calibration=trust(said[False]),
        tta=trust(said[True]) if True in said else None,
        intended_use=INTENDED_USE,
        limits=LIMITS_OF_BUNDLES if voting.by_half and not picked else (*LIMITS_OF_BUNDLES, PICKED),
        versions={name: version(name) for name in ("hemoscope", "torch", "torchvision", "numpy", "pillow")},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        by_half=voting.by_half,
    )


def _refuse_too_many(runs: Sequence[Run]) -> None:
    """Refuse at once what the card would refuse at the end."""
    if len(runs) > MAX_MEMBERS:
        raise RunError(
            f"expected at most {MAX_MEMBERS} networks in a bundle; got {len(runs)}. Name fewer: --members NAME,NAME"
        )
    if (c := len(runs[0].classes)) > MAX_CLASSES:
        raise RunError(f"expected at most {MAX_CLASSES:,} classes in a bundle; {runs[0].name} has {c:,}")


def _name(runs: Sequence[Run]) -> str:
    name = "+".join(sorted({run.arch for run in runs}))
    return name if len(name) <= LONGEST_NAME else f"ensemble-of-{len(runs)}"


def _chosen(voting: Voting, val: Predictions, picked: int) -> str:
    """Return how the members were chosen, and which images the thresholds are of.

    Args:
        voting: How the runs came together.
        val: All validation images.
        picked: How many runs have the epoch that all of these chose.
    """
    if not voting.by_half:
        return voting.chosen
    first, second = halves(val.target)
    half = f"{voting.chosen} {len(first):,} validation images chose; the thresholds are of the other {len(second):,}"
    if picked:
        networks = "1 network" if picked == 1 else f"{picked} networks"
        return f"{half}. All of them had chosen the epoch of {networks} (select_epoch=best_val).".strip()
    return f"{half}, for a promise made with the images that chose would be broken too often.".strip()


def _turned(run: Run) -> bool:
    return run.card["recipe"].get("views", 1) > 1


def _member(run: Run) -> MemberCard:
    recipe = Recipe.model_validate(run.card["recipe"])
    image_px, canvas_px = get_arch(run.arch).sides_px(recipe.image_px, recipe.canvas_px)
    return MemberCard(
        run=run.name,
        arch=run.arch,
        head=recipe.head,
        preprocessing=Preprocessing(
            image_px=image_px,
            canvas_px=canvas_px,
            view=recipe.eval_view,
            fill=recipe.fill,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            nucleus_px=run.card["data"].get("nucleus_px"),
        ),
        recipe=recipe.model_dump(),
        seed=run.seed,
        digest=run.card["digest"],
        parameters=run.card["parameters"],
        pretrained=dict(run.card["weights"]),
        instance_norm=recipe.instance_norm,
    )


def _public(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run says of its data without the names in it: files may be named after patients."""
    kept = {k: v for k, v in data.items() if k not in ("root", "source", "left_out")}
    return kept | {"left_out": len(data.get("left_out") or ())}


def _images_of(run: Run, data: Path | None) -> Path | None:
    """Return where the run's images are; None if nobody said and they are not where they were."""
    facts = run.card["data"]
    root = data or Path(facts.get("source") or facts.get("root") or "-")
    if not root.exists():
        if data:
            raise DataError(f"there is no data folder {data}")
        return None
    try:
        if scan_cached(root).digest == facts["digest"]:
            return root
    except HemoscopeError:  # something else lies there now
        if data:
            raise
    if data:
        raise DataError(f"{data} does not hold the images that {run.name} was trained on")
    return None


def _asked(
    runs: Sequence[Run],
    root: Path | None,
    sides: Mapping[str, Sequence[Predictions]],
    how: How,
    device_name: str,
    *,
    tta: bool,
    progress: Progress | None,
) -> tuple[dict[bool, Answers], tuple[Tensor, ...]]:
    """Return the answers without and with flips and turns, and the known cells of each network."""
    if root is None:
        precisions = [str(run.card["recipe"]["precision"]) for run in runs]
        return {False: stored(sides, how, precisions)}, ()
    manifest = scan_cached(root)
    networks = {run.name: load_run(run, device_name=device_name, precision="fp32") for run in runs}
    asked = remember(networks, manifest, sides["val"][0], tta=tta)
    turned = {run.name for run in runs if _turned(run)}
    said = {
        with_turns: ask_anew(asked, manifest, sides, how, tta=with_turns, turned=turned, progress=progress)
        for with_turns in ((False, True) if tta else (False,))
    }
    return said, asked.known
