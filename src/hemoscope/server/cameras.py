"""Which camera took a slide's cells: measured once, before the first of them is judged, and kept with the slide.

An answer must not depend on what came before it. So a slide's cells wait until all that was sent of it has been taken
in, or as many images as `predict` looks at, and all cells of the slide are judged alike, those that come later too.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from hemoscope.data.camera import LOOKED_AT, evenly
from hemoscope.server.judge import Judge
from hemoscope.server.pictures import Pictures
from hemoscope.server.store.store import Store
from hemoscope.server.store.tables import FileRow, SlideRow, UploadRow

__all__ = ["Cameras"]

SETTLE_S = 1.0  # a browser begins one file after the other: after so long without news there are no more
PATIENCE_S = 30.0  # the same where a file was begun and not finished; its browser may be gone
_log = logging.getLogger("hemoscope.server")
_State = tuple[int, int, int]


class Cameras:
    """Measures the cameras of the slides that wait; asked by the worker's thread alone.

    Args:
        store: Rows.
        pictures: Images.
        judge: The model. One that frames no nuclei has nothing to measure.
        clock: Seconds from anywhere.
    """

    def __init__(
        self, store: Store, pictures: Pictures, judge: Judge, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store, self._pictures, self._judge, self._clock = store, pictures, judge, clock
        self._news: dict[int, tuple[_State, float]] = {}  # how far a slide has come, and since when

    def measure(self) -> None:
        """Measure the camera of every slide of this model that has none yet, and is ready."""
        if not self._judge.model.frames_nuclei:
            return
        with self._store.read() as session:
            ready = [
                (slide, cells)
                for slide, cells, n in self._unmeasured(session)
                if cells or n >= LOOKED_AT or self._settled(session, slide, n)
            ]
        for slide, cells in ready:
            self._measure(slide, judged=cells > 0)
            self._news.pop(slide, None)

    def _unmeasured(self, session: Session) -> list[tuple[int, int, int]]:
        """Return slides without a camera whose images wait: the slide, its cells, and how many wait."""
        found = session.execute(
            select(SlideRow.id, SlideRow.cells, func.count(FileRow.id))
            .join(FileRow, FileRow.slide == SlideRow.id)
            .where(
                FileRow.status == "waiting",
                SlideRow.model == self._judge.model.digest,
                SlideRow.nucleus_px.is_(None),
            )
            .group_by(SlideRow.id, SlideRow.cells)
        )
        return [(slide, cells, n) for slide, cells, n in found]

    def _settled(self, session: Session, slide: int, n: int) -> bool:
        """Whether nothing more of a slide seems to come."""
        coming = session.execute(
            select(UploadRow.status, UploadRow.received).where(
                UploadRow.slide == slide, UploadRow.status.in_(("open", "whole"))
            )
        ).all()
        state = (n, len(coming), sum(received for _, received in coming))
        before, since = self._news.get(slide, (None, 0.0))
        if state != before or any(status == "whole" for status, _ in coming):
            self._news[slide] = (state, self._clock())
            return False
        return self._clock() - since >= (PATIENCE_S if coming else SETTLE_S)

    def _measure(self, slide: int, *, judged: bool) -> None:
        with self._store.read() as session:
            digests = session.scalars(
                select(FileRow.digest)
                .where(FileRow.slide == slide, FileRow.status == "waiting")
                .order_by(FileRow.id)
            ).all()
        # Cells that were judged before cameras were measured look as at home; more of the slide go with them.
        looked_at = [] if judged else [self._pictures.path(digest) for digest in evenly(digests)]
        if not all(path.is_file() for path in looked_at):
            _log.error("images of slide %d are missing in the data folder", slide)
            return
        found = self._judge.model.seen_px(looked_at)
        with self._store.write() as session:
            session.get_one(SlideRow, slide).nucleus_px = found
