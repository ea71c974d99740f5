"""A slide as it leaves the house, for the tests of exports."""

from __future__ import annotations

from hemoscope.differential.facts import ModelFacts
from hemoscope.differential.reference import read_reference
from hemoscope.review.count import count
from hemoscope.review.exports.report import Report
from hemoscope.review.signing import sign
from hemoscope.review.state import start
from tests.review.slides import AT, CLASSES, SHARP, cells_of, give

COUNTS = {"neutrophil": 121, "lymphocyte": 60, "monocyte": 12, "eosinophil": 6, "basophil": 1, "ig": 4, "erythroblast": 30, "platelet": 9}  # fmt: skip
TITLE = "Smear | 7 ^ & ~ \\ <b> ü"
MODEL = ModelFacts("demo", "a" * 64, ("resnet18",), 822)


def report(
    *commands, cells=None, revision=1, signed=True, white_count=12.4, reason="", confusion=SHARP, **rest
) -> Report:
    cells = cells_of(COUNTS) if cells is None else cells
    log = []
    state = give(start(CLASSES, cells, white_count=white_count), *commands, log=log)
    found = count(cells, state, confusion, read_reference(), usually_unknown=(20, 2000))
    signature = (
        sign(state, log, name="Ada Müller", at=AT, revision=revision, reason=reason) if signed else None
    )
    return Report(
        "42", TITLE, revision, AT, found, read_reference(), MODEL, tuple(cells), state, signature, **rest
    )
