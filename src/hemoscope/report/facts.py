"""What is known about the data set and split of a report, and which data set it is.

A data set is told by what the runs recorded: class names and file names. Nothing is read from disk
here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

from hemoscope import paper
from hemoscope.records import SIDES, Predictions

__all__ = ["CREDIT", "DataFacts", "DataKind", "data_facts"]

DataKind = Literal["pbc", "bloodmnist", "synthetic", "other"]
CREDIT = "Acevedo et al. 2020, CC BY 4.0"
_TITLES: Mapping[DataKind, str] = {
    "pbc": "PBC, peripheral blood cells",
    "bloodmnist": "BloodMNIST, peripheral blood cells",
    "synthetic": "Synthetic blood cells",
}
_PBC_FILE = re.compile(r"[A-Z]+_[1-9]\d*\.jpg")
_DRAWN_FILE = re.compile(r"[A-Z]+_0\d*\.jpg")  # no number of the original data set begins with 0


@dataclass(frozen=True, slots=True)
class DataFacts:
    """Data set and split of one report.

    Attributes:
        kind: Which data set it is.
        title: What a headline calls it.
        root: Where the images were when the runs were made.
        digest: Identity of the data.
        classes: Class names in target order.
        counts: Images a side and class.
        left_out: (path, what) of files that training left out.
        second_acquisition: Images of the second acquisition a class; None where nobody looked.
        policy: How the split was made.
        split_digest: Identity of the split.
        split_seed: Seed of the draw.
        groups: How many groups, such as patients, the images are of, where a list names them; else 0.
        groups_on_two_sides: How many of them have images on more than one side of the split.
        seen_before: Of cells that were only scored, how many were on each side of the networks' split, by their bytes;
            None where that is not known.
        trained_on: Of such cells, the digest of the data that the networks were trained on; empty where not known.
        bundle: The bundle whose networks scored them; empty where none did.
    """

    kind: DataKind
    title: str
    root: str
    digest: str
    classes: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    left_out: tuple[tuple[str, str], ...]
    second_acquisition: Mapping[str, int] | None
    policy: str
    split_digest: str
    split_seed: int | None
    groups: int = 0
    groups_on_two_sides: int = 0
    seen_before: Mapping[str, int] | None = None
    trained_on: str = ""
    bundle: str = ""

    @property
    def credit(self) -> str:
        """Whose images they are; empty where unknown."""
        return CREDIT if self.kind in ("pbc", "bloodmnist") else ""


def data_facts(cards: Sequence[Mapping[str, Any]], test: Predictions) -> DataFacts:
    """Return what the run cards of one split say about their data.

    Args:
        cards: At least one run card.
        test: Test predictions of one of the runs, for file names and, where the card has no counts,
            the test sizes.
    """
    card = cards[0]
    data, split = card["data"], card["split"]
    root = str(data.get("root", ""))
    kind = _kind(data, test, root)
    known = (c["data"].get("second_acquisition") for c in cards)
    scored = [c.get("evaluated") or {} for c in cards]
    counted = {name: int((test.target == i).sum()) for i, name in enumerate(test.classes)}
    return DataFacts(
        kind=kind,
        title=_TITLES.get(kind) or PurePath(root).name or "Cells",
        root=root,
        digest=str(data.get("digest", "")),
        classes=test.classes,
        counts=data.get("counts") or {"test": counted},
        left_out=tuple((str(p.get("path", "")), str(p.get("what", ""))) for p in data.get("left_out") or ()),
        second_acquisition=next((found for found in known if found), None),
        policy=str(split.get("policy", "")),
        split_digest=str(split["digest"]),
        split_seed=split.get("seed"),
        groups=data.get("groups") or 0,
        groups_on_two_sides=data.get("groups_on_two_sides") or 0,
        seen_before=_seen_before([one.get("seen_before") for one in scored]),
        trained_on=str(((scored[0].get("trained_on") or {}).get("data") or {}).get("digest", "")),
        bundle=str(scored[0].get("bundle") or ""),
    )


def _seen_before(seen: Sequence[Mapping[str, int] | None]) -> Mapping[str, int] | None:
    """Return the most of any network; None where it is not known of all."""
    known = [one for one in seen if one]
    if len(known) < len(seen):
        return None
    return {side: max(one.get(side, 0) for one in known) for side in SIDES}


def _kind(data: Mapping[str, Any], test: Predictions, root: str) -> DataKind:
    if data.get("synthetic"):
        return "synthetic"
    names = [path.rpartition("/")[2] for path in test.paths]
    if names and all(_DRAWN_FILE.fullmatch(name) for name in names):
        return "synthetic"
    if test.classes != paper.CLASSES:
        return "other"
    if root.lower().endswith(".npz"):
        return "bloodmnist"
    return "pbc" if names and all(_PBC_FILE.fullmatch(name) for name in names) else "other"
