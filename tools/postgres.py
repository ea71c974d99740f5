"""A PostgreSQL server of one's own, for as long as a block lasts: on a free port, in a folder that goes with it."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

BINARIES = (
    *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True),
    Path("/usr/local/bin"),
    Path("/usr/bin"),
)


class NoPostgresError(Exception):
    """There is no PostgreSQL here, or it does not start; the message says why."""


def binaries() -> Path:
    """Return the folder of initdb and postgres."""
    for folder in BINARIES:
        if (folder / "initdb").is_file() and (folder / "postgres").is_file():
            return folder
    raise NoPostgresError(
        "no PostgreSQL here: expected initdb and postgres in /usr/lib/postgresql/*/bin; .ci/run installs them"
    )


class Postgres:
    """A PostgreSQL server in a folder of its own.

    Attributes:
        url: Without a database's name: `postgresql://hemoscope@127.0.0.1:PORT`.
    """

    def __init__(self, folder: Path, *, fsync: bool = True) -> None:
        self._folder, self._fsync = folder, fsync
        self._found = binaries()
        who = _another_user()
        self._options = {"user": who[0], "group": who[1], "extra_groups": []} if who else {}
        if who:
            shutil.chown(folder, *who)
        self._port = _free_port()
        self.url = f"postgresql://hemoscope@127.0.0.1:{self._port}"
        self._server: subprocess.Popen | None = None
        words = ["-U", "hemoscope", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]
        _run([self._found / "initdb", "-D", folder / "data", *words], self._options)

    def start(self) -> None:
        """Start it, also again after it was killed, and wait until it answers.

        Raises:
            NoPostgresError: If it ends instead.
        """
        settings = (
            "listen_addresses=127.0.0.1",
            f"unix_socket_directories={self._folder}",
            f"fsync={'on' if self._fsync else 'off'}",
        )
        log = self._folder / "log"
        with log.open("wb") as out:
            self._server = subprocess.Popen(
                [
                    *(self._found / "postgres", "-D", self._folder / "data", "-p", str(self._port)),
                    *(word for setting in settings for word in ("-c", setting)),
                ],
                stdout=out,
                stderr=out,
                cwd="/",
                **self._options,
            )
        _wait(self._server, self._port, log)

    def kill(self) -> None:
        """Kill all its processes (SIGKILL)."""
        if self._server is not None:
            for pid in (self._server.pid, *_children(self._server.pid)):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._server.wait()

    def stop(self) -> None:
        """Stop it, if it runs."""
        if self._server is not None and self._server.poll() is None:
            self._server.send_signal(signal.SIGINT)  # fast shutdown
            self._server.wait()


@contextmanager
def running_postgres(*, fsync: bool = True) -> Iterator[Postgres]:
    """Give a new server, to be killed and started again."""
    folder = Path(tempfile.mkdtemp(prefix="hemoscope-pg-"))
    server = None
    try:
        server = Postgres(folder, fsync=fsync)
        server.start()
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgres(*, fsync: bool = True) -> Iterator[str]:
    """Give the URL of a new server without its database's name: `postgresql://hemoscope@127.0.0.1:PORT`."""
    with running_postgres(fsync=fsync) as server:
        yield server.url


def new_database(server: str, name: str) -> str:
    """Create an empty database and return its URL."""
    import psycopg
    import psycopg.sql

    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))
    return f"{server}/{name}"


def _another_user() -> tuple[int, int] | None:
    """Who runs the server; PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return found.pw_uid, found.pw_gid
    raise NoPostgresError("PostgreSQL refuses to run as root, and there is no user postgres or nobody")


def _children(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def _run(command: list, options: dict) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False, **options)
    if done.returncode:
        raise NoPostgresError(f"{command[0]} failed: {done.stderr.strip()[-300:]}")


def _wait(server: subprocess.Popen, port: int, log: Path) -> None:
    while server.poll() is None:
        if _answers(port):
            return
        time.sleep(0.1)
    raise NoPostgresError(f"postgres ended: {log.read_text(errors='replace')[-300:]}")


def _answers(port: int) -> bool:
    import psycopg

    try:
        psycopg.connect(f"postgresql://hemoscope@127.0.0.1:{port}/postgres", connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True
