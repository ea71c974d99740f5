"""Images per second of several contenders: measured in turns, kept as they come, shown beside each other.

A contender's label ends in the precision it computes in, and what it prints has to agree.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence

from measure import headline, measure

Results = dict[str, dict[str, list[dict]]]  # of every network and contender, one record a repeat


def precisions(about: dict) -> list[str]:
    """Return the precisions to measure in: the one the machine computes in by itself, and fp32."""
    return list(dict.fromkeys((about["precision"], "fp32")))


def untold(about: dict) -> str:
    """Return the precision of a script that says nothing of it: torch's convolutions on CUDA take TF32."""
    return "tf32" if about["device"] == "cuda" else "fp32"


def repeat(found: dict[str, list[dict]], contenders: Mapping[str, Sequence[object]], *words: object) -> None:
    """Measure each contender once and append what it says.

    Raises:
        SystemExit: If one computed in another precision than its label says.
    """
    records = {label: measure(str(name), *words, *more) for label, (name, *more) in contenders.items()}
    for label, record in records.items():
        if record["precision"] != precision_of(label):
            sys.exit(f"{label} computed in {record['precision']}")
        found.setdefault(label, []).append(record)


def precision_of(label: str) -> str:
    """Return the precision a label ends in."""
    return label.rsplit(" ", 1)[1]


def rates(found: dict[str, list[dict]], label: str) -> list[float]:
    """Return a contender's images per second, one a repeat."""
    return [record["images_per_s"] for record in found[label]]


def medians(found: dict[str, list[dict]], labels: Sequence[str]) -> list[str]:
    """Return the median rate of each contender, as text."""
    return [f"{statistics.median(rates(found, label)):.1f}" for label in labels]


def ratio(found: dict[str, list[dict]], ours: str, theirs: str) -> str:
    """Return the ratio of two contenders' medians, and the range of the repeats' own ratios."""
    a, b = rates(found, ours), rates(found, theirs)
    each = [x / y for x, y in zip(a, b, strict=True)]
    return f"{statistics.median(a) / statistics.median(b):.2f} ({min(each):.2f} to {max(each):.2f})"


def labels_of(results: Results) -> list[str]:
    """Return the contenders that every network was measured with, in order."""
    first = next(iter(results.values()))
    return [label for label in first if all(label in found for found in results.values())]


def intro(about: dict, results: Results) -> list[str]:
    """Return what stands over a table: the machine, how often, on what, how quiet it was."""
    lists = [records for found in results.values() for records in found.values()]
    counts = sorted({len(records) for records in lists})
    others = [record["other_cores"] for records in lists for record in records if "other_cores" in record]
    quiet = [cores for cores in others if cores is not None]
    load = (
        f" Other processes took {statistics.median(quiet):.2f} cores, at most {max(quiet):.2f}."
        if quiet
        else ""
    )
    return [
        f"{headline(about)}.",
        (
            f"Medians of {' or '.join(map(str, counts))} interleaved repeats on {about['data'] or 'drawn cells'}; in brackets the smallest and largest ratio of one "
            f"repeat. Each contender in a process of its own.{load}"
        ),
    ]
