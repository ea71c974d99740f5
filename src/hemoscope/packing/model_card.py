"""The card for people: Markdown with Hugging Face's metadata, made from the bundle's own card."""

from __future__ import annotations

import json
from typing import Any

from hemoscope.bundle.card import BundleCard, Calibration
from hemoscope.predict.verdict import SIZE_FACTOR

__all__ = ["model_card"]

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
    rows = [
        f"| {_cell(name)} | {_with(c, 'precision')} | {_with(c, 'sensitivity')} | {_with(c, 'specificity')} | "
        f"{c['support']} |"
        for name, c in scores["classes"].items()
    ]
    members = [
        f"| {m.arch} | {m.recipe.get('name')} | {m.recipe.get('epochs')} | {m.seed} | {m.parameters:,} | "
        f"{m.pretrained.get('source')} | `{m.digest[:16]}` |"
        for m in card.members
    ]
    lines = [
        _front_matter(card),
        f"# {title}",
        "",
        f"Recognises {', '.join(map(_cell, card.classes))} in images of single cells. Made by hemoscope.",
        "",
        "## Intended use",
        "",
        card.intended_use,
        "",
        "## Limits",
        "",
        *(f"- {limit}" for limit in card.limits),
        "",
        "## Scores on test images",
        "",
        (
            f"Accuracy {_percent(scores['accuracy'])} (Wilson 95 % interval {_percent(scores['accuracy_ci'][0])} to "
            f"{_percent(scores['accuracy_ci'][1])}), {scores['errors']} errors in {scores['n']:,} images. "
            f"Data `{str(card.data.get('digest'))[:16]}`, split {card.split.get('policy')} `{str(card.split.get('digest'))[:16]}`."
        ),
        "",
        "| class | precision (95 %) | sensitivity (95 %) | specificity (95 %) | images |",
        "| --- | ---: | ---: | ---: | ---: |",
        *rows,
        "",
        "## How far to trust an answer",
        "",
        *_trust(trust),
        *_sizes(card),
        "",
        *(["## With flips and turns (`--tta`)", "", *_trust(card.tta), ""] if card.tta else []),
        "## Members",
        "",
        *([card.chosen, ""] if card.chosen else []),
        "| architecture | recipe | epochs | seed | parameters | pretrained | run |",
        "| --- | --- | ---: | ---: | ---: | --- | --- |",
        *members,
        "",
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
        f"{_percent(trust.error_rate)} errors among those accepted, with 95 % confidence (exact). On test images "
        f"{_rate(m['accepted'])} were accepted, {_rate(m['errors_among_accepted'])} of them wrong; "
        f"{_rate(m['review'])} were for review."
    )
    unknown = (
        "What is unlike its cells was not measured: nothing is called unknown."
        if trust.unknown_above is None
        else f"Images further than {trust.unknown_above:.3f} from the nearest known cell are called unknown, however "
        f"probable their class, and never accepted; of the test cells {_rate(m['called_unknown'])} were."
    )
    if strange := m.get("strange_called_unknown"):
        kinds = "; ".join(f"{STRANGE[kind]}, {_rate(rate)}" for kind, rate in strange.items())
        unknown += f" Of images without a cell, made of validation images, it called unknown: {kinds}."
    return [
        (
            f"- Probabilities are calibrated by temperature {trust.temperature:.3f}: expected calibration error "
            f"{m['ece_before']:.4f} before, {m['ece']:.4f} after."
        ),
        f"- {review}",
        (
            f"- Sets of classes for {_percent(trust.coverage)} coverage held the true class in {_rate(m['conformal_coverage'])} "
            f"of the test images, with {m['conformal_mean_size']:.2f} classes on average."
        ),
        f"- {unknown}",
    ]


def _sizes(card: BundleCard) -> list[str]:
    if card.short_sides_px is None:
        return []
    smallest, largest = card.short_sides_px
    return [
        (
            f"- Its images have shorter sides of {smallest} to {largest} px; one that is more than {SIZE_FACTOR:g} times "
            "smaller or larger is for review, for it may be no single cell's."
        )
    ]


def _front_matter(card: BundleCard) -> str:
    """Return the YAML block; JSON values are YAML values."""
    low, high = card.scores["accuracy_ci"]
    metrics = [
        {
            "type": "accuracy",
            "value": card.scores["accuracy"],
            "name": f"accuracy (95 % interval {low:.4f} to {high:.4f})",
        }
    ]
    about = {
        "library_name": "hemoscope",
        "pipeline_tag": "image-classification",
        "license": "other",
        "tags": ["blood-cells", "haematology", *sorted({m.arch for m in card.members})],
        "model-index": [
            {
                "name": card.name,
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {"name": f"split {card.split.get('policy')}", "type": "image-folder"},
                        "metrics": metrics,
                    }
                ],
            }
        ],
    }
    return (
        "---\n" + "\n".join(f"{k}: {json.dumps(v, ensure_ascii=False)}" for k, v in about.items()) + "\n---\n"
    )


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:.2f} %"


def _with(scores: dict[str, Any], name: str) -> str:
    """Return a rate of a class with its interval."""
    low, high = scores[f"{name}_ci"]
    if scores[name] is None:
        return "n/a"
    return f"{_percent(scores[name])} ({100 * low:.2f} to {100 * high:.2f})"


def _rate(rate: dict[str, Any]) -> str:
    if rate["rate"] is None or not rate["of"]:
        return "n/a"
    low, high = rate["ci"]
    return (
        f"{_percent(rate['rate'])} ({rate['count']} of {rate['of']:,}; {_percent(low)} to {_percent(high)})"
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
