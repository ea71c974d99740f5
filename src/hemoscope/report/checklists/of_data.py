"""Answers on images, classes and the split."""

from __future__ import annotations

from collections.abc import Mapping

from hemoscope.model_card import INTENDED_USE
from hemoscope.records import SIDES
from hemoscope.report.checklists.answer import MANY_CLASSES, Answer, at, card_of
from hemoscope.report.collect import Report
from hemoscope.runs import EVALUATED

__all__ = ["OF_DATA"]

_NAMES = {"train": "training", "val": "validation", "test": "test"}
_DRAWN = "ceil(0.12 n) images of each class of n to test, round(0.24 n) to validation, the rest to training, drawn by a seed"
_DRAWN_POLICIES = ("paper", "clean")
_POLICIES = {
    "paper": _DRAWN,
    "clean": f"{_DRAWN}, without duplicates",
    "given": "as a list or the folders of the data give it",
}
_DISJOINT = {
    "paper": "Images of the same bytes or pixels, and those of a named group, are on one side.",
    "clean": "Images of the same bytes or pixels, those that look alike, and those of a named group, are on one side.",
    "given": "Images of the same bytes or pixels on two sides are refused, unless the folders of the data divide them so.",
}


def _classes(report: Report) -> str:
    classes = report.data.classes
    named = "named in Table 1 of the report" if len(classes) > MANY_CLASSES else ", ".join(classes)
    return f"{len(classes)} classes: {named}."


def _credit(report: Report) -> str | None:
    if report.data.kind == "synthetic":
        return "The cells were drawn by a program; they are no blood."
    if not report.data.credit:
        return None
    return f"{report.data.title}: {report.data.credit}, as class and file names tell."


def _counts(report: Report) -> str:
    counts = at(card_of(report), "data.counts")
    told = [f"{sum(counts[side].values()):,} {_NAMES[side]}" for side in SIDES if side in counts]
    return f"Images: {', '.join(told)}."


def _class_counts(report: Report) -> str:
    counts: Mapping[str, Mapping[str, int]] = at(card_of(report), "data.counts")
    sides = [side for side in SIDES if side in counts]
    if len(report.data.classes) > MANY_CLASSES:
        return "Images of each class on each side: Table 1 of the report."
    told = [
        f"{name} {' / '.join(f'{counts[side].get(name, 0):,}' for side in sides)}"
        for name in report.data.classes
    ]
    return f"Images of each class, {' / '.join(_NAMES[side] for side in sides)}: {', '.join(told)}."


def _left_out(report: Report) -> str:
    n = len(at(card_of(report), "data.left_out"))
    which = f"{n:,} file{'s' if n > 1 else ''}, named with the reason in the report," if n else "No file"
    duplicates = " The split leaves duplicates out." if at(card_of(report), "split.policy") == "clean" else ""
    return f"{which} {'were' if n > 1 else 'was'} left out as faulty; nothing was imputed.{duplicates}"


def _split(report: Report) -> str | None:
    split = card_of(report)["split"]
    policy = split["policy"]
    if policy == EVALUATED:
        return None
    seed = f", seed {split['seed']}" if split.get("seed") is not None else ""
    how = f": {_POLICIES[policy]}" if policy in _POLICIES else ""
    return f"Split {policy!r}{seed}{how}; digest {split['digest']}."


def _roles(report: Report) -> str | None:
    if at(card_of(report), "split.policy") == EVALUATED:
        return None
    return (
        "Training images fit the networks, validation images choose among them, test images are reported on."
    )


def _one_data_set(report: Report) -> str | None:
    if at(card_of(report), "split.policy") not in _DRAWN_POLICIES:
        return None
    digest = at(card_of(report), "data.digest")
    return f"None but chance: training and test images were drawn from one data set (digest {digest})."


def _external(report: Report) -> str | None:
    if at(card_of(report), "split.policy") != EVALUATED:
        return None
    data = report.data
    if data.digest == data.trained_on:
        return (
            f"The images scored are of the data set of the training (digest {data.digest}): no external data."
        )
    which = f"The images scored have the digest {data.digest}"
    if data.seen_before is None:
        return f"{which}; which of them were in the training is not known."
    if any(data.seen_before.values()):
        told = ", ".join(f"{n:,} {_NAMES[side]}" for side, n in data.seen_before.items() if n)
        return f"{which}; among them are images of the split of the training: {told}."
    return f"The images scored are of another data set than those of the training (digest {data.digest})."


def _image_sides(report: Report) -> str:
    low, high = at(card_of(report), "data.short_sides_px")
    return f"The shorter sides of the images have {low} to {high} px."


def _second_acquisition(report: Report) -> str:
    found = at(card_of(report), "data.second_acquisition")
    told = ", ".join(f"{name} {n:,}" for name, n in found.items() if n)
    return f"{sum(found.values()):,} images are of a second acquisition{f': {told}' if told else ''}."


OF_DATA: dict[str, Answer] = {
    "intended_use": Answer(lambda _: INTENDED_USE),
    "classes": Answer(_classes),
    "credit": Answer(_credit),
    "data_digest": Answer(
        lambda report: f"Digest of the images: {at(card_of(report), 'data.digest')}.", ("data.digest",)
    ),
    "counts": Answer(_counts, ("data.counts",)),
    "class_counts": Answer(_class_counts, ("data.counts",)),
    "left_out": Answer(_left_out, ("data.left_out",)),
    "split": Answer(_split, ("split.policy",)),
    "disjoint": Answer(lambda report: _DISJOINT.get(at(card_of(report), "split.policy")), ("split.policy",)),
    "roles": Answer(_roles, ("split.policy",)),
    "one_data_set": Answer(_one_data_set, ("split.policy", "data.digest")),
    "external": Answer(_external, ("split.policy", "data.digest")),
    "image_sides": Answer(_image_sides, ("data.short_sides_px",)),
    "second_acquisition": Answer(_second_acquisition, ("data.second_acquisition",)),
}
