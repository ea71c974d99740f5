"""A slide of drawn cells put into a store as if a model had judged them, so that a test knows every answer beforehand."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from hemoscope.data.synthetic import draw_cell
from hemoscope.server.pictures import Pictures
from hemoscope.server.store.store import Store
from hemoscope.server.store.tables import CellRow, ModelRow, SlideRow

__all__ = ["CLASSES", "MODEL", "SMEAR", "png_of", "put_slide"]

CLASSES = ("basophil", "eosinophil", "erythroblast", "ig", "lymphocyte", "monocyte", "neutrophil", "platelet")
SMEAR = (2, 7, 5, 6, 52, 17, 118, 11)  # cells of each class in 218
MODEL = "d" * 64
NEAR = {"neutrophil": "ig", "ig": "monocyte", "monocyte": "lymphocyte", "lymphocyte": "erythroblast"}
DRAWN = 24  # different drawings of a class; turned and mirrored for more


@dataclass(frozen=True, slots=True)
class _Judged:
    status: str
    pred: str
    probs: Sequence[float]
    reason: str = ""


@cache
def _drawing(name: str, number: int) -> np.ndarray:
    return draw_cell(name, size_px=160, rng=np.random.default_rng([7, CLASSES.index(name), number]))


def png_of(name: str, number: int) -> bytes:
    """Return the picture of the cell `number` of a class; each number another picture, up to 192."""
    turned = np.rot90(_drawing(name, number % DRAWN), number // DRAWN % 4)
    pixels = turned[:, ::-1] if number // DRAWN >= 4 else turned
    out = io.BytesIO()
    noisy = pixels.copy()
    noisy[0, 0] = (number % 256, number // 256, 0)  # another digest where a drawing comes again
    Image.fromarray(noisy).save(out, "PNG", compress_level=1)
    return out.getvalue()


def _judge(name: str, number: int, rng: np.random.Generator) -> _Judged:
    """Say what the model said: of 20 cells of a class one is unknown, two are doubtful, the others accepted."""
    probs = rng.dirichlet(np.full(len(CLASSES), 0.3)) * 0.04
    here, near = CLASSES.index(name), CLASSES.index(NEAR.get(name, "neutrophil"))
    kind = number % 20
    sure = rng.uniform(0.46, 0.6) if kind in (3, 11) else rng.uniform(0.9, 0.99)
    probs[here] += 0
    probs /= probs.sum() / (1 - sure - (0.3 if kind in (3, 11) else 0))
    first, second = (near, here) if kind == 11 else (here, near)
    probs[first] += sure
    if kind in (3, 11):
        probs[second] += 0.3
    status = "unknown" if kind == 17 else "review" if kind in (3, 11) else "accepted"
    reason = {"review": "the classes are close", "unknown": "unlike every known cell"}.get(status, "")
    return _Judged(status, CLASSES[int(np.argmax(probs))], [float(p) for p in probs / probs.sum()], reason)


def put_slide(
    store: Store,
    pictures: Pictures,
    *,
    title: str = "Smear 17",
    cells: int = 218,
    readings: int = 1,
    known: bool = True,
) -> int:
    """Put a slide into a store; its composition is that of `SMEAR`, scaled.

    Args:
        store: Where to.
        pictures: Where its images go.
        title: Of the slide.
        cells: How many.
        readings: 2: two readers, blind.
        known: Whether the model was tried on labelled cells; one adapted without labels was not.

    Returns:
        The slide.
    """
    rng = np.random.default_rng(3)
    wanted = [round(cells * n / sum(SMEAR)) for n in SMEAR]
    wanted[CLASSES.index("neutrophil")] += cells - sum(wanted)
    order = rng.permutation([(c, i) for c, n in enumerate(wanted) for i in range(n)])
    rows = []
    for cell, (c, i) in enumerate(order.tolist()):
        judged = _judge(CLASSES[c], i, rng)
        ordered = sorted(judged.probs, reverse=True)
        margin = ordered[0] - ordered[1]
        rows.append(
            CellRow(
                cell=cell,
                digest=pictures.put(png_of(CLASSES[c], i)),
                name=f"cell_{cell:04d}.png",
                status=judged.status,
                pred=judged.pred,
                judged={
                    "probs": judged.probs,
                    "shares": [],
                    "margin": margin,
                    "distance": 0.31 if judged.status == "unknown" else 0.05,
                    "candidates": [n for n, p in zip(CLASSES, judged.probs, strict=True) if p >= 0.2],
                    "reason": judged.reason,
                },
                features=b"",
            )
        )
    with store.write() as session:
        session.merge(ModelRow(digest=MODEL, facts=_facts(known=known)))
        session.flush()
        slide = SlideRow(
            title=title, white_count=7.4, readings=readings, blind=readings == 2, model=MODEL, cells=cells,
            open=sum(row.status != "accepted" for row in rows), created="2026-11-27T08:12:00+00:00", by="local",
        )  # fmt: skip
        session.add(slide)
        session.flush()
        for row in rows:
            row.slide = slide.id
        session.add_all(rows)
        return slide.id


def _facts(*, known: bool) -> dict:
    confusion = np.eye(len(CLASSES), dtype=int) * 190
    for name, near in NEAR.items():
        confusion[CLASSES.index(name), CLASSES.index(near)] += 6
    confusion *= known
    return {
        "name": "drawn cells", "digest": MODEL, "classes": list(CLASSES), "networks": ["mobilenet_v2"], "tta": False,
        "n_val": int(confusion.sum()), "confusion": confusion.tolist(), "usually_unknown": [50, 1000], "review_below": 0.8,
        "unknown_above": 0.2, "coverage": 0.95, "error_rate": 0.01,
    }  # fmt: skip
