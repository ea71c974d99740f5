"""Everything one running server consists of, made in order and stopped in reverse."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy import func, select

from hemoscope.differential.reference import ReferenceTable
from hemoscope.files import lock_folder
from hemoscope.review.exports.loinc import Codes, read_codes
from hemoscope.server.counts import Counts
from hemoscope.server.events import Events
from hemoscope.server.guard import Guard, secret_of
from hemoscope.server.intake import Intake
from hemoscope.server.judge import Judge
from hemoscope.server.limits import Failures
from hemoscope.server.metrics import Metrics
from hemoscope.server.pictures import Pictures
from hemoscope.server.readings import Readings
from hemoscope.server.references import References
from hemoscope.server.settings import Settings
from hemoscope.server.store.folder import bind
from hemoscope.server.store.migrate import migrate
from hemoscope.server.store.store import Store
from hemoscope.server.store.tables import FileRow, ModelRow
from hemoscope.server.uploads import Uploads
from hemoscope.server.users import Users
from hemoscope.server.worker import Worker

__all__ = ["Site", "open_site"]


@dataclass(frozen=True)
class Site:
    """The parts of a server.

    Attributes:
        begun: The latest slides, by what their clients called the requests.
    """

    settings: Settings
    store: Store
    users: Users
    guard: Guard
    failures: Failures
    pictures: Pictures
    events: Events
    metrics: Metrics
    readings: Readings
    uploads: Uploads
    intake: Intake
    worker: Worker
    references: References
    codes: Codes
    facts: dict
    begun: dict[str, int] = field(default_factory=dict)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to work on what waits."""
        self.events.begin(loop)
        self.intake.start()
        self.worker.start()
        if self.settings.gallery is not None:
            threading.Thread(
                target=self.references.fill,
                args=(self.settings.gallery, self.facts["classes"], self.pictures, self.worker),
                name="gallery",
                daemon=True,
            ).start()

    def stop(self) -> None:
        """End after what is in hand; what waits is found by the next start."""
        self.events.close()
        self.intake.stop()
        self.worker.stop()


@contextmanager
def open_site(
    settings: Settings, judge: Judge, reference: ReferenceTable, codes: Codes | None = None
) -> Iterator[Site]:
    """Open store and folder, and give the parts of a server; LOINC codes by default those that come with hemoscope.

    Raises:
        RunError: If another server has the folder.
        StoreError: If the store does not answer, is from a newer version, belongs to another folder, or another server
            has it.
        ConfigError: If the table does not know a class of the model.
    """
    facts = judge.facts()
    reference.of(facts["classes"])
    settings.data.mkdir(parents=True, exist_ok=True)
    with lock_folder(settings.data):
        store = Store(settings.store_url)
        try:
            with store.held():
                migrate(store)
                bind(store, settings.data)
                with store.write() as session:
                    session.merge(ModelRow(digest=facts["digest"], facts=facts))
                yield _site(settings, judge, reference, store, codes or read_codes(), facts)
        finally:
            store.close()


def _site(
    settings: Settings, judge: Judge, reference: ReferenceTable, store: Store, codes: Codes, facts: dict
) -> Site:
    capacity = settings.capacity
    users = Users(store, session_s=capacity.session_s)
    pictures, events = Pictures(settings.data), Events(capacity.streams)
    uploads = Uploads(store, settings.data, capacity, facts["digest"])
    readings = Readings(store, events, Counts(reference), uploads)

    def waiting() -> float:
        with store.read() as session:
            return float(session.scalar(select(func.count()).where(FileRow.status == "waiting")) or 0)

    metrics = Metrics(waiting=waiting, streams=lambda: float(events.streams))
    worker = Worker(store, pictures, judge, events, metrics, most=capacity.asked)
    intake = Intake(store, uploads, pictures, events, capacity, wake_worker=worker.wake)
    uploads.wake = intake.called.set
    return Site(
        settings=settings,
        store=store,
        users=users,
        guard=Guard(users, settings, secret_of(settings.data)),
        failures=Failures(capacity.failures, capacity.failure_s),
        pictures=pictures,
        events=events,
        metrics=metrics,
        readings=readings,
        uploads=uploads,
        intake=intake,
        worker=worker,
        references=References(store, readings.folds, facts["digest"], len(facts["networks"])),
        codes=codes,
        facts=facts,
    )
