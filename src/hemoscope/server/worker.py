"""The one thread that asks the model: waiting images in batches, and single questions between them.

A slide with many images does not hold up one with few: each round takes some of every slide. A batch's cells are
saved in one transaction; after a kill the images of an unfinished batch still wait.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from sqlalchemy import func, select

from hemoscope.errors import HemoscopeError, StoreError
from hemoscope.review.cells import OPEN, first_place
from hemoscope.server.cameras import Cameras
from hemoscope.server.events import Events
from hemoscope.server.judge import Judge, Judged
from hemoscope.server.metrics import Metrics
from hemoscope.server.pictures import Pictures
from hemoscope.server.problems import ApiError
from hemoscope.server.store.cells import cell_of
from hemoscope.server.store.slides import held_slide, progress_of
from hemoscope.server.store.store import Store
from hemoscope.server.store.tables import CellRow, FileRow, SlideRow

__all__ = ["Worker"]

AT_ONCE = 32  # images of a round; single questions wait no longer than a round takes
PAUSE_S = 1.0
_T = TypeVar("_T")
_log = logging.getLogger("hemoscope.server")


class Worker:
    """One thread beside the server's.

    Args:
        store: Rows.
        pictures: Images.
        judge: The model.
        events: Told of new cells.
        metrics: Counts.
        most: Single questions that may wait.
    """

    def __init__(
        self,
        store: Store,
        pictures: Pictures,
        judge: Judge,
        events: Events,
        metrics: Metrics,
        *,
        most: int,
    ) -> None:
        self._store, self._pictures, self._judge, self._events = store, pictures, judge, events
        self._metrics, self._cameras = metrics, Cameras(store, pictures, judge)
        self._asked: queue.Queue[tuple[Future[Any], Callable[[Judge], Any]]] = queue.Queue(most)
        self._called = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)

    def start(self) -> None:
        """Begin, with what an earlier server left."""
        self._thread.start()

    def stop(self) -> None:
        """End after the batch in hand."""
        self._stop.set()
        self._called.set()
        self._thread.join()

    def wake(self) -> None:
        """Say that images wait."""
        self._called.set()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def ask(self, question: Callable[[Judge], _T]) -> Future[_T]:
        """Put a question to the model between two batches; cancelled before its turn, it is passed over.

        Raises:
            ApiError: If too many wait already.
        """
        future: Future[_T] = Future()
        try:
            self._asked.put_nowait((future, question))
        except queue.Full:
            raise ApiError(
                429, "queue_full", "the model is asked too much at once; try again in a moment", retry_s=2
            ) from None
        self._called.set()
        return future

    def _run(self) -> None:
        while not self._stop.is_set():
            self._called.clear()
            self._answer()
            try:
                self._cameras.measure()
                waiting = self._waiting()
                if waiting:
                    self._predict(waiting)
                else:
                    self._called.wait(PAUSE_S)
            except (HemoscopeError, OSError) as error:
                _log.warning("worker waits: %s", type(error).__name__)
                self._stop.wait(PAUSE_S)
            except Exception:  # noqa: BLE001  the thread must not end; the log has it
                _log.exception("worker")
                self._stop.wait(PAUSE_S)

    def _answer(self) -> None:
        while not self._stop.is_set():
            try:
                future, question = self._asked.get_nowait()
            except queue.Empty:
                return
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(question(self._judge))
            except Exception as error:  # noqa: BLE001  it is the asker's
                future.set_exception(error)

    def _waiting(self) -> dict[float | None, list[FileRow]]:
        """Return the next images of this model's slides by their camera, an equal part of every slide."""
        turn = func.row_number().over(partition_by=FileRow.slide, order_by=FileRow.id)
        with self._store.read() as session:
            ranked = (
                select(FileRow.id, SlideRow.nucleus_px, turn.label("turn"))
                .join(SlideRow, SlideRow.id == FileRow.slide)
                .where(FileRow.status == "waiting", SlideRow.model == self._judge.model.digest)
            )
            if self._judge.model.frames_nuclei:
                ranked = ranked.where(SlideRow.nucleus_px.is_not(None))
            ranked = ranked.subquery()
            found = session.execute(
                select(FileRow, ranked.c.nucleus_px)
                .join(ranked, ranked.c.id == FileRow.id)
                .order_by(ranked.c.turn, FileRow.id)
                .limit(AT_ONCE)
            )
            by_camera: dict[float | None, list[FileRow]] = {}
            for file, nucleus_px in found:
                by_camera.setdefault(nucleus_px, []).append(file)
            return by_camera

    def _predict(self, waiting: Mapping[float | None, Sequence[FileRow]]) -> None:
        """Judge images; those whose file is missing wait on, as it says nothing of the image."""
        missing = 0
        for nucleus_px, waits in waiting.items():
            files = [file for file in waits if self._pictures.path(file.digest).is_file()]
            missing += len(waits) - len(files)
            if not files:
                continue
            began = time.perf_counter()
            judged = self._judged(files, self._judge.at(nucleus_px))
            by_slide: dict[int, list[tuple[FileRow, Judged]]] = {}
            for file, found in zip(files, judged, strict=True):
                by_slide.setdefault(file.slide, []).append((file, found))
            for slide, found in by_slide.items():
                self._save(slide, found)
            self._metrics.predicted(len(files), time.perf_counter() - began)
        if missing:
            _log.error("images are missing in the data folder: %d", missing)
        if missing == sum(map(len, waiting.values())):
            raise StoreError(
                f"{missing:,} images that wait are missing in the data folder; bring it back as it was"
            )

    def _judged(self, files: Sequence[FileRow], judge: Judge) -> list[Judged]:
        paths = [self._pictures.path(file.digest) for file in files]
        try:
            return judge.judge(paths)
        except StoreError:
            raise
        except Exception:  # noqa: BLE001  one image must not stop the others, nor wait for ever
            _log.exception("a batch failed; its images are tried one by one")
        return [found for file in files for found in self._judged_alone(file, judge)]

    def _judged_alone(self, file: FileRow, judge: Judge) -> list[Judged]:
        from hemoscope.predict.model import Verdict

        try:
            return judge.judge([self._pictures.path(file.digest)])
        except Exception as error:  # noqa: BLE001  one image must not stop the others
            _log.warning("an image cannot be judged: %s", type(error).__name__)
            return [
                Judged(Verdict("error", "the model failed on this image; the server's log has the reason"))
            ]

    def _save(self, slide: int, found: Sequence[tuple[FileRow, Judged]]) -> None:
        with self._store.write() as session:
            row = held_slide(session, slide)
            first = row.cells
            for file, judged in found:
                now_there = session.get_one(FileRow, file.id)
                if now_there.status != "waiting":
                    continue
                verdict = judged.verdict
                if verdict.status == "error":
                    now_there.status, now_there.reason = "rejected", verdict.reason
                    continue
                now_there.status = "cell"
                cell = CellRow(
                    slide=slide,
                    cell=row.cells,
                    digest=file.digest,
                    name=file.name,
                    status=verdict.status,
                    pred=verdict.pred,
                    judged=judged.to_json(),
                    features=judged.features,
                )
                session.add(cell)
                row.cells += 1
                row.open += first_place(cell_of(cell)) in OPEN
            session.flush()
            news = progress_of(session, slide)
            last = row.cells
        self._events.tell(slide, "progress", news)
        if last > first:
            self._events.tell(slide, "cells", {"since": first, "cells": last})
