"""Reference cells to hold a doubtful one against: those that people confirmed on signed slides, and a folder's.

Near is near to the model: one minus the mean cosine of the members' features, as its distance to known cells.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from hemoscope.data.camera import evenly
from hemoscope.data.images.decode import IMAGE_SUFFIXES
from hemoscope.errors import HemoscopeError
from hemoscope.server.folds import Folds
from hemoscope.server.judge import Judge, Judged
from hemoscope.server.pictures import Pictures
from hemoscope.server.store.store import Store
from hemoscope.server.store.tables import CellRow, SignatureRow, SlideRow
from hemoscope.server.worker import Worker

__all__ = ["References"]

PER_CLASS = 400  # of signed slides, the latest first
OF_GALLERY = 48  # images a class
NEAREST = 4
_AT_ONCE = 16
_log = logging.getLogger("hemoscope.server")


@dataclass(frozen=True, slots=True)
class _Known:
    """A reference cell."""

    digest: str
    source: str
    features: bytes


class References:
    """The reference cells of one model.

    Args:
        store: Rows.
        folds: Say where cells of signed slides lie.
        model: Digest of the model whose features are compared.
        networks: How many members' features lie side by side.
    """

    def __init__(self, store: Store, folds: Folds, model: str, networks: int) -> None:
        self._store, self._folds, self._model, self._networks = store, folds, model, networks
        self._gallery: defaultdict[str, list[_Known]] = defaultdict(list)
        self._signed: defaultdict[str, list[_Known]] = defaultdict(list)
        self._signatures = -1
        self._lock = threading.Lock()

    def nearest(
        self, features: bytes, classes: list[str], *, but: str = ""
    ) -> dict[str, list[dict[str, Any]]]:
        """Return the nearest reference cells of each class, the nearest first.

        Args:
            features: Of the cell in question.
            classes: Which classes.
            but: Digest of an image that is left out: the cell's own.
        """
        self._refresh()
        with self._lock:
            known = {name: [*self._signed[name], *self._gallery[name]] for name in classes}
        return {
            name: self._of(features, [k for k in each if k.digest != but]) for name, each in known.items()
        }

    def _of(self, features: bytes, known: list[_Known]) -> list[dict[str, Any]]:
        if not known:
            return []
        cosine = _floats([k.features for k in known]) @ _floats([features])[0] / self._networks
        return [
            {"digest": known[i].digest, "distance": round(1 - float(cosine[i]), 6), "source": known[i].source}
            for i in np.argsort(-cosine, kind="stable")[:NEAREST]
        ]

    def _refresh(self) -> None:
        """Read the signed slides again where another was signed."""
        with self._store.read() as session:
            n = session.scalar(select(func.count()).select_from(SignatureRow)) or 0
            if n == self._signatures:
                return
            found: defaultdict[str, list[_Known]] = defaultdict(list)
            slides = session.scalars(
                select(SlideRow)
                .where(SlideRow.model == self._model, SlideRow.status == "signed")
                .order_by(SlideRow.id.desc())
                .limit(50)
            ).all()
            for slide in slides:
                self._add(session, slide, found)
        with self._lock:
            self._signed, self._signatures = found, n

    def _add(self, session: Session, slide: SlideRow, found: defaultdict[str, list[_Known]]) -> None:
        held = self._folds.final(session, slide).state.held
        rows = session.execute(
            select(CellRow.cell, CellRow.digest, CellRow.features).where(CellRow.slide == slide.id)
        )
        for cell, digest, features in rows:
            if cell not in held or not held[cell].reviewed:
                continue
            place = held[cell].place
            if len(found[place]) < PER_CLASS:
                found[place].append(_Known(digest, slide.title, features))

    def fill(self, gallery: Path, classes: list[str], pictures: Pictures, worker: Worker) -> None:
        """Take a folder of class folders in; some images a class, in pieces between the worker's batches.

        They are of one camera, which is measured first. What cannot be read or asked is passed over, and the log has it.
        """
        drawn: dict[str, list[Path]] = {}
        for name in classes:
            files = sorted(p for p in (gallery / name).glob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
            drawn[name] = random.Random(0).sample(files, min(OF_GALLERY, len(files)))
        some = evenly([path for paths in drawn.values() for path in paths])
        try:
            nucleus_px = worker.ask(lambda judge: judge.model.seen_px(some)).result()
        except HemoscopeError as error:
            _log.warning("gallery: %s", type(error).__name__)
            return
        for name, paths in drawn.items():
            for start in range(0, len(paths), _AT_ONCE):
                try:
                    self._take(name, paths[start : start + _AT_ONCE], pictures, worker, nucleus_px)
                except (HemoscopeError, OSError) as error:
                    _log.warning("gallery, some cells of %s: %s", name, type(error).__name__)

    def _take(
        self, name: str, paths: list[Path], pictures: Pictures, worker: Worker, nucleus_px: float | None
    ) -> None:
        contents = list(_read(paths))

        def ask(judge: Judge) -> list[Judged]:
            return judge.at(nucleus_px).judge(contents)

        judged = worker.ask(ask).result()
        known = [
            _Known(pictures.put(content), "gallery", found.features)
            for content, found in zip(contents, judged, strict=True)
            if found.verdict.status != "error"
        ]
        with self._lock:
            self._gallery[name].extend(known)


def _read(paths: list[Path]) -> Iterator[bytes]:
    """Yield what is in the files that can be read."""
    for path in paths:
        try:
            yield path.read_bytes()
        except OSError as error:
            _log.warning("gallery, a file: %s", error.strerror)  # its name is nobody's


def _floats(rows: list[bytes]) -> NDArray[np.float32]:
    """Return features as they are stored as float32, shape (N, F)."""
    return np.stack([np.frombuffer(row, np.float16) for row in rows]).astype(np.float32)
