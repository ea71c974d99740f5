"""Pictures of the cells that most runs of a folder get wrong, so that somebody can say who is right.

    uv run python benchmarks/wrong_cells.py --runs docs/results/2026-11-past/runs --arch mobilenet_v2 --data data/pbc --out wrong.jpg

Above each cell: its file, what most of those runs take it for, and how many do not take it for what it is labelled.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from hemoscope.report.montage import pictures
from hemoscope.runs import find_runs

COLUMNS = 7
CREDIT = "Images: Acevedo et al. 2020, CC BY 4.0"


class Wrong(NamedTuple):
    """A cell that most runs do not take for what it is labelled."""

    path: str
    taken_for: str
    times: int


def wrong_cells(folder: Path, arch: str | None, side: Literal["val", "test"]) -> list[Wrong]:
    """Return them in the order of their paths."""
    runs = [run for run in find_runs(folder) if arch in (None, run.arch)]
    first, *others = [run.predictions(side) for run in runs]
    assert all(other.paths == first.paths for other in others), "expected runs of one split"
    answers = np.stack([first.pred, *(other.pred for other in others)])  # (runs, images)
    n_wrong = (answers != first.target).sum(axis=0)
    found = []
    for cell in np.flatnonzero(2 * n_wrong > len(runs)):
        mistaken = answers[answers[:, cell] != first.target[cell], cell]
        (taken, _), *_ = Counter(mistaken.tolist()).most_common(1)
        found.append(Wrong(first.paths[cell], first.classes[taken], int(n_wrong[cell])))
    return found


def montage(cells: Sequence[Wrong], data: Path) -> Figure:
    rows = -(-len(cells) // COLUMNS)
    figure = Figure(figsize=(1.25 * COLUMNS, 1.5 * rows + 0.2), layout="constrained")
    pixels = pictures(data, [cell.path for cell in cells])
    axes = figure.subplots(rows, COLUMNS, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, cell in zip(axes.flat, cells, strict=False):
        ax.imshow(pixels[cell.path])
        ax.set_title(
            f"{Path(cell.path).stem}\n{cell.taken_for} ×{cell.times}", fontsize=7, pad=2, parse_math=False
        )
    figure.supxlabel(CREDIT, fontsize=6, color="grey", x=0.995, ha="right")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--arch", help="only runs of this architecture")
    parser.add_argument("--side", choices=("val", "test"), default="val")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="a picture, .jpg or .png")
    args = parser.parse_args()
    cells = wrong_cells(args.runs, args.arch, args.side)
    for cell in cells:
        print(f"{cell.path}\t{cell.taken_for}\t{cell.times}")
    montage(cells, args.data).savefig(args.out, dpi=130, pil_kwargs={"quality": 82})


if __name__ == "__main__":
    main()
