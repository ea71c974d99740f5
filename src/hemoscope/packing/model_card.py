"""The card for people: Markdown with Hugging Face's metadata, made from the bundle's own card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hemoscope.bundle.card import BundleCard, Calibration
from hemoscope.model_card import (
    front_matter,
    member_row,
    members_section,
    opening,
    percent,
    scores_section,
)
from hemoscope.predict.verdict import SIZE_FACTOR

__all__ = ["member_rows", "model_card", "told_rate", "told_sizes", "told_strange"]

STRANGE = {
    "noise": "noise",
    "corner": "corners with red cells at most",
    "background": "empty background",
}


def model_card(card: BundleCard) -> str:
    """Return the model card; every figure of it stands in the bundle's card too."""
    scores, trust = card.scores, card.calibration
    title = (
        f"{card.name}: {len(card.members)} networks, {card.vote} vote" if len(card.members) > 1 else card.name
    )
    lines = [
        front_matter(
            name=card.name,
            archs=[m.arch for m in card.members],
            scores=scores,
            policy=card.split.get("policy"),
        ),
        *opening(title, card.classes, card.intended_use, card.limits),
        *scores_section(scores, data=card.data.get("digest"), split=card.split),
        "## How far to trust an answer",
        "",
        *_trust(trust),
        *told_sizes(card),
        "",
        *(["## With flips and turns (`--tta`)", "", *_trust(card.tta), ""] if card.tta else []),
        *members_section(card.chosen, member_rows(card)),
        (
            f"Made {card.created} with {', '.join(f'{k} {v}' for k, v in card.versions.items())}. "
            f"Thresholds were chosen on {trust.n_val:,} validation images, and nothing on test images; all figures "
            f"count answers as the model judges them: {trust.measured['answers']}."
        ),
        "",
    ]
    return "\n".join(lines)


def _trust(trust: Calibration) -> list[str]:
    m = trust.measured
    review = (
        "No threshold keeps the error rate asked for: every answer is for review."
        if trust.review_below is None
        else f"Answers below a probability of {trust.review_below:.4f} are for review, chosen for at most "
        f"{percent(trust.error_rate)} errors among those accepted, with 95 % confidence (exact). On test images "
        f"{told_rate(m['accepted'])} were accepted, {told_rate(m['errors_among_accepted'])} of them wrong; "
        f"{told_rate(m['review'])} were for review."
    )
    unknown = (
        "What is unlike its cells was not measured: nothing is called unknown."
        if trust.unknown_above is None
        else f"Images further than {trust.unknown_above:.3f} from the nearest known cell are called unknown, however "
        f"probable their class, and never accepted; of the test cells {told_rate(m['called_unknown'])} were."
    )
    unknown += told_strange(m, "validation images")
    return [
        (
            f"- Probabilities are calibrated by temperature {trust.temperature:.3f}: expected calibration error "
            f"{m['ece_before']:.4f} before, {m['ece']:.4f} after."
        ),
        f"- {review}",
        (
            f"- Sets of classes for {percent(trust.coverage)} coverage held the true class in {told_rate(m['conformal_coverage'])} "
            f"of the test images, with {m['conformal_mean_size']:.2f} classes on average."
        ),
        f"- {unknown}",
    ]


def told_strange(measured: Mapping[str, Any], made_of: str) -> str:
    """Return how many images without a cell were called unknown, as a sentence; empty where none were tried."""
    strange = measured.get("strange_called_unknown")
    if not strange:
        return ""
    kinds = "; ".join(f"{STRANGE[kind]}, {told_rate(rate)}" for kind, rate in strange.items())
    return f" Of images without a cell, made of {made_of}, it called unknown: {kinds}."


def told_sizes(card: BundleCard) -> list[str]:
    """Return which sizes of images it knows, as lines; none where that is not known."""
    if card.short_sides_px is None:
        return []
    smallest, largest = card.short_sides_px
    return [
        (
            f"- Its images have shorter sides of {smallest} to {largest} px; one that is more than {SIZE_FACTOR:g} times "
            "smaller or larger is for review, for it may be no single cell's."
        )
    ]


def member_rows(card: BundleCard) -> list[str]:
    """Return the lines of a bundle's networks for `members_section`."""
    return [
        member_row(
            m.arch,
            recipe=m.recipe,
            seed=m.seed,
            parameters=m.parameters,
            pretrained=m.pretrained,
            digest=m.digest,
        )
        for m in card.members
    ]


def told_rate(rate: Mapping[str, Any]) -> str:
    """Return a rate of `calibrate.rate_of` in words; a card's, or one that was read from a bundle."""
    if rate["rate"] is None:
        return "n/a"
    low, high = rate["ci"]
    return f"{percent(rate['rate'])} ({rate['count']} of {rate['of']:,}; {percent(low)} to {percent(high)})"
