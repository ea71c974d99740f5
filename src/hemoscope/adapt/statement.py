"""What is known of an adapted bundle and what is not: sentences for its card, and its README."""

from __future__ import annotations

from collections.abc import Mapping

from hemoscope.bundle.card import Adapted, BundleCard, Calibration
from hemoscope.model_card import front_matter, members_section, one_cell, opening, percent, scores_of
from hemoscope.packing.model_card import member_rows, told_rate, told_sizes, told_strange

__all__ = ["readme", "statements"]


def statements(
    *,
    n_cells: int,
    labelled: Mapping[str, int],
    absent: list[str],
    by_labels: bool,
    reviewed_all: bool,
    leant: bool,
    loosened: str,
) -> tuple[str, ...]:
    """Return what is known and not known, in sentences.

    Args:
        n_cells: Cells without a label.
        labelled: Labelled cells, a class.
        absent: Classes of which no cell is remembered.
        by_labels: Whether labelled cells have set the thresholds.
        reviewed_all: Whether nothing is accepted.
        leant: Whether answers of the model before leant to what is common in blood, and do no more.
        loosened: By which other rules than the usual it was trusted; may be empty.
    """
    n_labelled = sum(labelled.values())
    with_labels = f" and {n_labelled:,} labelled ones" if n_labelled else ""
    lines = [
        (
            f"Adapted to {n_cells:,} cells without a label{with_labels}. It is for cells of the same laboratory, stain and camera; "
            "on others, those of the model before among them, it may do worse than that one."
        ),
    ]
    if loosened:
        lines.append(loosened)
    if reviewed_all:
        lines.append("No threshold keeps the error rate aimed at: every answer is for review.")
    elif by_labels:
        lines.append(
            "Its thresholds were chosen on the labelled cells, each answered by networks that learnt without its label; how many accepted "
            "answers are wrong holds for classes mixed as these are."
        )
    else:
        few = " The labelled cells are too few to say it." if n_labelled else ""
        lines.append(
            "How often its accepted answers are wrong is an estimate and not a promise: an answer counts as wrong if another seed "
            f"contradicts it.{few} Errors that every seed makes alike are not seen, and these are cells that it "
            "learnt from: of new ones of the laboratory more may be wrong, or called unknown."
        )
    if not n_labelled:
        lines.append(
            "No labelled cell was seen: its accuracy here is not known, nor which classes it confuses, so that a "
            "differential count has no corrected interval. Labelled cells tell: hemoscope evaluate MODEL --data DIR"
        )
    if absent:
        lines.append(
            f"No sure cell was found of: {', '.join(absent)}. Those that come later may be called unknown or taken for another class."
        )
    if leant:
        common = (
            "how common a class is, these cells said"
            if n_cells
            else "to them every class is as common as any other"
        )
        lines.append(
            f"Answers of the model before lean to the classes that are common in healthy blood; its own do not: {common}."
        )
    return tuple(lines)


def readme(card: BundleCard) -> str:
    """Return the README of an adapted bundle, Markdown; every figure of it stands in its card too.

    Raises:
        ValueError: If the bundle was not adapted.
    """
    if (adapted := card.adapted) is None:
        raise ValueError(f"expected the card of an adapted bundle; {card.name} was not adapted")
    title = f"{card.name}, adapted to another laboratory's cells"
    lines = [
        front_matter(
            name=card.name, archs=[m.arch for m in card.members], scores=card.scores, policy="adapted"
        ),
        *opening(title, card.classes, card.intended_use, card.limits),
        "## What is known of it",
        "",
        *(f"- {line}" for line in adapted.known),
        "",
        "## What it was adapted to",
        "",
        f"Cells `{adapted.cells[:16]}`, from the bundle `{adapted.parent[:16]}` ({one_cell(adapted.parent_name)}), seed {adapted.seed}. "
        + _camera(adapted),
        "",
        *_shares(adapted),
        *_scores(card),
        "## How far to trust an answer",
        "",
        *_trust(card.calibration),
        *told_sizes(card),
        "",
        *(["## With flips and turns (`--tta`)", "", *_trust(card.tta), ""] if card.tta else []),
        "## What was looked at before it was written",
        "",
        *(f"- {name}: {value:.4g}" for name, value in adapted.signals.items() if value is not None),
        "",
        *members_section(card.chosen, member_rows(card)),
        f"Made {card.created} with {', '.join(f'{k} {v}' for k, v in card.versions.items())}.",
        "",
    ]
    return "\n".join(lines)


def _camera(adapted: Adapted) -> str:
    if adapted.nucleus_px is None:
        return "Its networks take images as they come and measure no camera."
    return f"The typical nucleus has {adapted.nucleus_px:.1f} px here, and had {adapted.nucleus_px_before or 0:.1f} px before."


def _shares(adapted: Adapted) -> list[str]:
    if not adapted.shares:
        return []
    return [
        "| class | estimated share of the cells without a label | 95 % interval of counting |",
        "| --- | ---: | ---: |",
        *(
            f"| {one_cell(name)} | {percent(one.share)} | {percent(one.low)} to {percent(one.high)} |"
            for name, one in adapted.shares.items()
        ),
        "",
        "The intervals hold nothing of what the model confuses.",
        "",
    ]


def _scores(card: BundleCard) -> list[str]:
    if not card.scores["n"]:
        return []
    source = "These are the labelled cells, each answered by networks that learnt without its label."
    return ["## Scores on labelled cells", "", *scores_of(card.scores, source)]


def _trust(trust: Calibration) -> list[str]:
    m = trust.measured
    other = m["contradicted_among_accepted"]
    contradicted = f"; another seed contradicts {told_rate(other)} of those" if other["of"] else ""
    review = (
        "Every answer is for review."
        if trust.review_below is None
        else f"Answers below a probability of {trust.review_below:.4f} are for review. Of these cells {told_rate(m['accepted'])} were "
        f"accepted{contradicted}."
    )
    if found := m.get("errors_among_accepted"):
        review += f" Of the labelled cells {told_rate(m['labelled_accepted'])} were accepted"
        review += f", {told_rate(found)} of them wrong." if found["of"] else "."
    unknown = (
        "Nothing is called unknown: too few sure cells to say what is unlike them."
        if trust.unknown_above is None
        else f"Images further than {trust.unknown_above:.3f} from the nearest of the remembered cells are called unknown; of these "
        f"cells {told_rate(m['called_unknown'])} were." + told_strange(m, "these cells")
    )
    return [
        f"- {m['answers'][0].upper()}{m['answers'][1:]}.",
        f"- Probabilities are divided by temperature {trust.temperature:.3f}.",
        f"- {review}",
        f"- {unknown}",
    ]
