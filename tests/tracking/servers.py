"""Real servers of MLflow in processes of their own, on 127.0.0.1; each is waited for, and ends with the test."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


@dataclass
class Server:
    """A process and those that it started.

    Attributes:
        url: Where it answers.
        process: It leads a group of its own.
    """

    url: str
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """End it at once, without a word."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def mlflow(*words: object, log: Path, port: int = 0) -> Iterator[Server]:
    """Start `mlflow WORDS --host 127.0.0.1 --port PORT` and wait until it is healthy."""
    port = port or free_port()
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # MLflow looks for uvicorn
    command = [sys.executable, "-m", "mlflow", *map(str, words), "--host", "127.0.0.1", "--port", str(port)]
    with log.open("ab") as out:
        process = subprocess.Popen(
            [*command, "--workers", "1"],
            stdout=out,
            stderr=out,
            cwd=log.parent,
            env={**os.environ, **QUIET, "PATH": path},
            start_new_session=True,
        )
    server = Server(f"http://127.0.0.1:{port}", process)
    try:
        while not healthy(server.url):
            assert process.poll() is None, log.read_text("utf-8", "replace")
            time.sleep(0.1)
        yield server
    finally:
        server.kill()


def healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=60) as answer:
            return answer.status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def free_port() -> int:
    """Return a port at which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]
