"""The parts that the model cards of a bundle and of a report have in common, in the same words.

Markdown with the metadata of Hugging Face. Scores are those of `Scores.to_json`, undefined ones None.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = [
    "INTENDED_USE",
    "LIMITS",
    "front_matter",
    "member_row",
    "members_section",
    "one_cell",
    "opening",
    "percent",
    "scores_of",
    "scores_section",
]

INTENDED_USE = (
    "Research on the classification of images of single peripheral blood cells, of the classes and the kind of "
    "image it was trained on. Not a medical device: not for diagnosis or for decisions on a person's care."
)
LIMITS = (
    (
        "Trained on images of one data set; another laboratory's stain, microscope or camera lowers its scores by an "
        "amount that only labelled images from there can tell."
    ),
    "Where the data set names no patients, cells of one person may be in training and test: the scores are optimistic.",
    "It expects one cell in the middle of an image; it does not find cells in a field of view.",
)
_RATES = ("precision", "sensitivity", "specificity")


def front_matter(*, name: str, archs: Iterable[str], scores: Mapping[str, Any], policy: object) -> str:
    """Return the YAML block of Hugging Face; JSON values are YAML values.

    Args:
        name: Of the model.
        archs: Architectures of its networks.
        scores: Its test scores.
        policy: How the split was made.
    """
    metrics = []
    if scores["n"]:
        low, high = scores["accuracy_ci"]
        told = f"accuracy (95 % interval {low:.4f} to {high:.4f})"
        metrics = [{"type": "accuracy", "value": scores["accuracy"], "name": told}]
    result = {
        "task": {"type": "image-classification"},
        "dataset": {"name": f"split {policy}", "type": "image-folder"},
        "metrics": metrics,
    }
    about = {
        "library_name": "hemoscope",
        "pipeline_tag": "image-classification",
        "license": "other",
        "tags": ["blood-cells", "haematology", *sorted(set(archs))],
        "model-index": [{"name": name, "results": [result]}],
    }
    return (
        "---\n" + "\n".join(f"{k}: {json.dumps(v, ensure_ascii=False)}" for k, v in about.items()) + "\n---\n"
    )


def opening(title: str, classes: Sequence[str], intended_use: str, limits: Iterable[str]) -> list[str]:
    """Return the lines of title, intended use and limits."""
    return [
        f"# {title}",
        "",
        f"Recognises {', '.join(map(one_cell, classes))} in images of single cells. Made by hemoscope.",
        "",
        "## Intended use",
        "",
        intended_use,
        "",
        "## Limits",
        "",
        *(f"- {limit}" for limit in limits),
        "",
    ]


def scores_section(scores: Mapping[str, Any], *, data: object, split: Mapping[str, Any]) -> list[str]:
    """Return the lines of the test scores, class by class with their intervals.

    Args:
        scores: Test scores.
        data: Digest of the data.
        split: The card of the split, with its digest and policy.
    """
    source = f"Data `{str(data)[:16]}`, split {split.get('policy')} `{str(split.get('digest'))[:16]}`."
    return ["## Scores on test images", "", *scores_of(scores, source)]


def scores_of(scores: Mapping[str, Any], source: str) -> list[str]:
    """Return the lines of scores, class by class with their intervals, and a sentence on where they come from."""
    low, high = scores["accuracy_ci"]
    rows = [
        f"| {one_cell(name)} | {' | '.join(_with_interval(one, rate) for rate in _RATES)} | {one['support']} |"
        for name, one in scores["classes"].items()
    ]
    return [
        (
            f"Accuracy {percent(scores['accuracy'])} (Wilson 95 % interval {percent(low)} to "
            f"{percent(high)}), {_counted(scores['errors'], 'error')} in {_counted(scores['n'], 'image')}. {source}"
        ),
        "",
        "| class | precision (95 %) | sensitivity (95 %) | specificity (95 %) | images |",
        "| --- | ---: | ---: | ---: | ---: |",
        *rows,
        "",
    ]


def member_row(
    arch: str,
    *,
    recipe: Mapping[str, Any],
    seed: int,
    parameters: int | None,
    pretrained: Mapping[str, Any],
    digest: object,
) -> str:
    """Return the line of one network of `members_section`."""
    size = "n/a" if parameters is None else f"{parameters:,}"
    return (
        f"| {one_cell(arch)} | {one_cell(str(recipe.get('name')))} | {one_cell(str(recipe.get('epochs')))} | {seed} | "
        f"{size} | {one_cell(str(pretrained.get('source')))} | `{str(digest)[:16]}` |"
    )


def members_section(chosen: str, rows: Iterable[str]) -> list[str]:
    """Return the lines of the networks.

    Args:
        chosen: One sentence on how they came together; may be empty.
        rows: Lines of `member_row`.
    """
    return [
        "## Members",
        "",
        *([chosen, ""] if chosen else []),
        "| architecture | recipe | epochs | seed | parameters | pretrained | run |",
        "| --- | --- | ---: | ---: | ---: | --- | --- |",
        *rows,
        "",
    ]


def percent(value: float | None) -> str:
    """Return a fraction in percent, with the sign.

    >>> percent(0.98977), percent(None)
    ('98.98 %', 'n/a')
    """
    return "n/a" if value is None else f"{100 * value:.2f} %"


def one_cell(text: str) -> str:
    r"""Return a name or a sentence for a cell of a table; markup in it is shown and not obeyed.

    >>> print(one_cell("a|<b> [x](y) _z_"))
    a\|&lt;b&gt; \[x\](y) \_z\_
    """
    escaped = re.sub(r"([\\`*_\[\]|~#])", r"\\\1", text.replace("&", "&amp;"))
    return escaped.replace("<", "&lt;").replace(">", "&gt;")


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _with_interval(scores: Mapping[str, Any], rate: str) -> str:
    low, high = scores[f"{rate}_ci"]
    if scores[rate] is None:
        return "n/a"
    return f"{percent(scores[rate])} ({100 * low:.2f} to {100 * high:.2f})"
