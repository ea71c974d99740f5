"""A store: SQLite or PostgreSQL behind one pair of transactions, to read and to write.

A write is on the disk when its block has ended: SQLite in WAL with full synchronisation, PostgreSQL as it
comes. Where the store cannot be reached the block raises a `StoreError` that says so, and nothing of it is kept.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from hemoscope.errors import ConfigError, StoreError

__all__ = ["Store", "StoreFullError"]

BUSY_MS = 30_000
_LOCK = 0x68656D6F  # the key of PostgreSQL's advisory lock, the same for every hemoscope
# A machine that is gone gives the lock back after a minute, not after the two hours of most systems.
_KEEPALIVE = {"tcp_keepalives_idle": 30, "tcp_keepalives_interval": 10, "tcp_keepalives_count": 3}
_FULL = ("disk is full", "No space left", "could not extend file")


class StoreFullError(StoreError):
    """The disk under the store has no room left."""


class Store:
    """Rows behind a URL.

    Attributes:
        engine: SQLAlchemy's.
        is_sqlite: Whether the store is a file.
    """

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        # SQLite's readers see one moment as it comes; PostgreSQL's would see a new one at each statement.
        self._reading = (
            self.engine
            if self.is_sqlite
            else self.engine.execution_options(isolation_level="REPEATABLE READ")
        )
        self._writing = self.engine.execution_options(hemoscope_write=True)
        # SQLite has one writer; threads that wait here take turns, those that wait there sleep.
        self._turn = threading.Lock() if self.is_sqlite else nullcontext()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Give a session all of whose statements see the same moment, also where others write meanwhile.

        Raises:
            StoreError: If the store cannot be reached.
        """
        with _told(), Session(self._reading, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Give a session whose changes are on the disk after the block, or none of them.

        Raises:
            StoreError: If the store cannot be reached or is full.
        """
        with (
            self._turn,
            _told(),
            Session(self._writing, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the store for one server; the lock ends with the connection that has it.

        An SQLite store is held by the lock on its data folder.

        Raises:
            StoreError: If another server has it, or it cannot be reached.
        """
        if self.is_sqlite:
            yield
            return
        with _told():
            connection = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            with _told():
                for setting, value in _KEEPALIVE.items():
                    connection.execute(text(f"SET {setting} = {value}"))
                if not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK}):
                    raise StoreError(
                        "the store is in use by another server; stop that one, or name another --store"
                    )
            yield
        finally:
            with suppress(DBAPIError):
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})
            connection.invalidate()
            connection.close()

    def check(self) -> None:
        """Ask the store whether it answers.

        Raises:
            StoreError: If it does not.
        """
        with self.read() as session:
            session.execute(text("SELECT 1"))

    def close(self) -> None:
        """Let go of every connection."""
        self.engine.dispose()


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.drivername in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.get_backend_name() not in ("sqlite", "postgresql"):
            raise ConfigError(
                f"expected a store at sqlite:///FILE or postgresql://USER@HOST/NAME, got {parsed.drivername}"
            )
        sqlite = parsed.get_backend_name() == "sqlite"
        # A statement that waits for ever would hold the page with it.
        options: dict[str, Any] = (
            {"connect_args": {"timeout": BUSY_MS / 1000}}
            if sqlite
            else {"pool_pre_ping": True, "pool_size": 10, "max_overflow": 20, "pool_timeout": 20}
        )
        if not sqlite:
            options["connect_args"] = {"connect_timeout": 5}
        engine = create_engine(parsed, **options)
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigError(
            f"expected a store at sqlite:///FILE or postgresql://USER@HOST/NAME: {error}"
        ) from None
    if sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY_MS}"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Any) -> None:
    # A transaction that begins by reading and then writes could find another's rows between.
    writes = connection.get_execution_options().get("hemoscope_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (OperationalError, PoolTimeout) as error:
        raise _store_error(error) from error
    except DBAPIError as error:
        if error.connection_invalidated or any(words in str(error.orig) for words in _FULL):
            raise _store_error(error) from error
        raise


def _store_error(error: Exception) -> StoreError:
    if any(words in str(error) for words in _FULL):
        return StoreFullError(
            "the disk under the store is full; nothing was changed. Make room and try again"
        )
    return StoreError("the store does not answer; nothing was changed. Try again when it is back")
