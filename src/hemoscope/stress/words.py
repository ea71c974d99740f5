"""What the background tests say of a network, in sentences that a person without statistics can use."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hemoscope.evaluation.paired import mcnemar
from hemoscope.stress.result import (
    NOT_ASKED,
    Stressed,
    Subject,
    constant_share,
    recognises_background,
    share_right,
)

__all__ = ["sentences", "told_by_background"]

_LEVEL = 0.05


def told_by_background(found: Stressed, subject: Subject) -> bool:
    """Whether a network is right about hidden cells more often than any constant answer."""
    pred = subject.preds["hidden", 0]
    asked = pred != NOT_ASKED
    return recognises_background(pred[asked] == found.target[asked], found.target[asked])


def sentences(found: Stressed, subject: Subject) -> Iterator[str]:
    """Yield one sentence a background test."""
    if not found.usable.any():
        yield "No cell was found in these images, so nothing is said of the background."
        return
    yield _hidden(found, subject)
    for test, where in (
        ("other-class-ground", "On the background of another class"),
        ("second-acquisition", "On the background of the second acquisition"),
    ):
        yield from _moved(found, subject, test, where)
    if found.no_second:
        yield f"No cell was put on a second acquisition: {found.no_second}."
    yield from _grey(found, subject)


def _hidden(found: Stressed, subject: Subject) -> str:
    pred = subject.preds["hidden", 0]
    asked = pred != NOT_ASKED
    share, low, high = share_right(pred[asked] == found.target[asked])
    chance = constant_share(found.target[asked])
    most = int(np.bincount(pred[asked]).argmax())
    says = (pred[asked] == most).mean()
    told = (
        f"With the cell hidden it is right in {_percent(share)} of {int(asked.sum()):,} cells (95 % interval {_percent(low)} "
        f"to {_percent(high)}); always the same answer would be right in {_percent(chance)}"
    )
    if told_by_background(found, subject):
        return f"{told}: it recognises background."
    return f"{told}: nothing shows that it recognises background. It calls {_percent(says)} of them {found.classes[most]}."


def _moved(found: Stressed, subject: Subject, test: str, where: str) -> Iterator[str]:
    """Compare cells on another background with the same cells cut out and put back on their own."""
    own, other = subject.preds["own-ground", 0], subject.preds[test, 0]
    asked = other != NOT_ASKED
    if not asked.any():
        return
    before, after = own[asked] == found.target[asked], other[asked] == found.target[asked]
    lost, won = int((before & ~after).sum()), int((after & ~before).sum())
    p = float(mcnemar(lost, won))
    verdict = "the background counts" if p < _LEVEL else "no difference that chance would not make"
    yield (
        f"{where} it is right in {_percent(after.mean())} of {int(asked.sum()):,} cells, put back on their own in "
        f"{_percent(before.mean())} ({lost} lost, {won} won, p = {p:.2g}): {verdict}."
    )


def _grey(found: Stressed, subject: Subject) -> Iterator[str]:
    pred, clean = subject.preds["grey-cell", 0], subject.preds["clean", 0]
    asked = pred != NOT_ASKED
    if asked.any():
        right = [(one[asked] == found.target[asked]).mean() for one in (pred, clean)]
        yield f"With the cell turned grey it is right in {_percent(right[0])}, in its colours in {_percent(right[1])}."


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
