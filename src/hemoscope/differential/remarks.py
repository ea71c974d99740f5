"""What a reader of a count has to know before trusting its figures. One sentence a remark, each with its values, so that it can be said in other words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["SENTENCES", "Remark", "remark"]

SENTENCES = {
    "few_white": "Only {counted} white cells were counted; {enough} or more are customary, and the intervals are wide.",
    "much_review": "{review} of {counted} cells are doubtful to the model and should be looked at by a person.",
    "knows_no_unknown": "This model cannot tell what is no cell it knows; whatever is in the images is counted.",
    "much_unknown": "{unknown} of {seen} images are unlike the cells the model learned from, more than the {share} % expected: stain, "
    "camera or cells differ, and the intervals do not cover that.",
    "unreadable": "{error} files could not be read and are not counted.",
    "not_corrected": "How the model errs on these cells is not known, for it was adapted to them without labels: the counts are as it "
    "predicts, and nothing is corrected. Cells that a person has named tell: hemoscope evaluate MODEL --data DIR",
    "some_untried": "The model was tried on no labelled cell of: {names}. How it errs on these is not known: the counts are as it predicts, "
    "and nothing is corrected. A few labelled cells of each would tell.",
    "little_tried": "The model was tried on fewer than {enough} labelled cells each of: {names}.",
    "much_moved": "Readers moved {moved} of {called} cells, where the model's probabilities let expect {expected}: here it errs more "
    "than where it was tried, and the intervals do not cover that for cells that nobody has looked at.",
}
"""In English, by code; the page's catalog has the same below `remark.`."""


@dataclass(frozen=True, slots=True)
class Remark:
    """A sentence to read before the figures.

    Attributes:
        code: Key of `SENTENCES`.
        values: What stands in it.
        text: It, in English.
    """

    code: str
    values: Mapping[str, int | float | str]
    text: str

    def __str__(self) -> str:
        return self.text


def remark(code: str, **values: int | float | str) -> Remark:
    """Return a remark with its values."""
    return Remark(code, values, SENTENCES[code].format(**values))
