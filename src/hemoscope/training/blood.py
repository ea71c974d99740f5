"""How common the classes are in healthy blood, and how far a network's answers are to lean to that."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hemoscope.data.class_map import meaning
from hemoscope.records import FloatArray

__all__ = ["PERCENT", "RARE", "lean"]

PERCENT = {"neutrophil": 60.0, "lymphocyte": 30.0, "monocyte": 6.0, "eosinophil": 3.5}
"""Of the white cells: the middles of `differential/reference.toml`."""

RARE = 3.0
"""Of every other class. Less would say that the patient is healthy, and the rare classes are what is looked for."""


def lean(classes: Sequence[str], power: float) -> FloatArray:
    """Return what to add to the logits of classes that were learnt as equally common, shape (C,), 0 as a mean.

    Where neutrophils or lymphocytes, nine tenths of the white cells, are no class by their names, answers lean nowhere: a class of
    another name may be these. Classes of one meaning, such as band and segmented neutrophils, have its share together.

    Args:
        classes: Their names, C of them.
        power: 0 leans nowhere; with 1 answers take the classes to be as common as they are in healthy blood.

    >>> lean(["neutrophil", "lymphocyte", "basophil"], 0.25).round(3)
    array([ 0.307,  0.134, -0.442])
    """
    named = [meaning(name) or "" for name in classes]
    if not {"neutrophil", "lymphocyte"} <= {*named}:
        return np.zeros(len(classes))
    logs = power * np.log([PERCENT[name] / named.count(name) if name in PERCENT else RARE for name in named])
    return logs - logs.mean()
