"""A PostgreSQL server of one's own, for as long as a block lasts: on a free port, in a folder that goes with it."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def postgres(*, fsync: bool = True) -> Iterator[str]:
    """Give the URL of a new server without its database's name: `postgresql://hemoscope@127.0.0.1:PORT`."""
    found = binaries()
    folder = Path(tempfile.mkdtemp(prefix="hemoscope-pg-"))
    who = _another_user()
    if who:
        shutil.chown(folder, *who)
    options = {"user": who[0], "group": who[1], "extra_groups": []} if who else {}
    port, data, log = _free_port(), folder / "data", folder / "log"
    server = None
    try:
        _run(
            [
                found / "initdb",
                "-D",
                data,
                "-U",
                "hemoscope",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--no-locale",
                "--no-sync",
            ],
            options,
        )
        with log.open("wb") as out:
            server = subprocess.Popen(
                [
                    found / "postgres",
                    "-D",
                    data,
                    "-p",
                    str(port),
                    "-c",
                    "listen_addresses=127.0.0.1",
                    "-c",
                    f"unix_socket_directories={folder}",
                    "-c",
                    f"fsync={'on' if fsync else 'off'}",
                ],
                stdout=out,
                stderr=out,
                cwd="/",
                **options,
            )
        _wait(server, port, log)
        yield f"postgresql://hemoscope@127.0.0.1:{port}"
    finally:
        if server is not None:
            server.send_signal(2)  # SIGINT: fast shutdown
            server.wait()
        shutil.rmtree(folder, ignore_errors=True)


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
