"""Kill the review page's server at random moments of a scripted session, and see that nothing acknowledged is lost.

A client begins slides, sends images and archives in pieces, moves and confirms cells, writes notes, takes back, signs and
revises, and writes down every answer it got. The server is killed (SIGKILL) after a random time, started again on the
same folder and store, and everything that was ever answered is looked for; then the session goes on, uploads from the
byte where they stood. With `--victim postgresql` the server lives, and PostgreSQL is killed under it: until that is back
every refusal must say that the store does not answer. Usage, in the repository's root:
python -m tools.kill_review [--kills 100] [--store sqlite|postgresql] [--victim server|postgresql] [--seed 0] [--out TABLE.md]
"""

import argparse
import multiprocessing
import os
import platform
import random
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from multiprocessing.process import BaseProcess
from pathlib import Path

import httpx

from tools.postgres import Postgres, new_database, running_postgres
from tools.review_session import Session

CONTEXT = multiprocessing.get_context("forkserver")
HEAVY = (
    "hemoscope.server.app",
    "hemoscope.predict.model",
    "tests.server.small_model",
    "hemoscope.differential.smear",
)


def serve(data: str, store: str, port: int) -> None:
    """Serve until killed; in a process of its own."""
    import torch

    from hemoscope.differential.reference import read_reference
    from hemoscope.server.judge import Judge
    from hemoscope.server.serve import listen
    from hemoscope.server.serve import serve as run
    from hemoscope.server.settings import Settings
    from hemoscope.server.site import open_site
    from tests.server.small_model import make_small_model

    torch.set_num_threads(1)
    settings = Settings(Path(data), port=port, store=store)
    with listen(settings) as held, open_site(settings, Judge(make_small_model()), read_reference()) as site:
        run(site, held, on_ready=lambda: None)


def started(data: Path, store: str, port: int) -> BaseProcess:
    """Start a server and wait until it answers."""
    process = CONTEXT.Process(target=serve, args=(str(data), store, port), daemon=True)
    process.start()
    ready(process, port)
    return process


def ready(process: BaseProcess, port: int) -> None:
    """Wait until a server answers and has its store."""
    while process.is_alive():
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.02)
    raise SystemExit(f"the server ended with {process.exitcode} before it was ready")


def main() -> None:
    """Print and write the table, and exit 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--store", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--victim", choices=("server", "postgresql"), default="server")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    CONTEXT.set_forkserver_preload(list(HEAVY))
    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kill-review-"))) / "data"
        store, postgres = "", None
        if "postgresql" in (options.store, options.victim):
            options.store, postgres = "postgresql", stack.enter_context(running_postgres())
            store = new_database(postgres.url, "review")
        victim = postgres if options.victim == "postgresql" else None
        killed, session = run(data, store, victim, options)
    lines = told(options, killed, session)
    print("\n".join(lines))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", "utf-8")
    raise SystemExit(bool(session.lost))


def run(
    data: Path, store: str, victim: Postgres | None, options: argparse.Namespace
) -> tuple[Counter[str], Session]:
    """Kill so many times, the server or what it keeps its rows in; return at what they were killed, and the session."""
    rng = random.Random(options.seed)
    port = free_port()
    session = Session(f"http://127.0.0.1:{port}", data, random.Random(options.seed + 1))
    killed = Counter[str]()
    server = started(data, store, port)
    while sum(killed.values()) < options.kills:
        session.check()
        worker = session.go_on()
        time.sleep(rng.uniform(0.0, 2.5))
        killed[session.doing] += 1
        if victim is None:
            server.kill()
            server.join()
            worker.join()
            server = started(data, store, port)
        else:
            victim.kill()
            worker.join()
            victim.start()
            ready(server, port)
        if sum(killed.values()) % 10 == 0:
            print(
                f"{sum(killed.values())} kills, {session.asked} facts looked for, {len(session.lost)} lost",
                flush=True,
            )
    session.check()
    session.finish()
    server.kill()
    server.join()
    return killed, session


def free_port() -> int:
    """Return a port that nobody listens at."""
    import socket

    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def told(options: argparse.Namespace, killed: Counter[str], session: Session) -> list[str]:
    """Return the table."""
    from importlib.metadata import version

    return [
        f"`python -m tools.kill_review --store {options.store} --victim {options.victim} --kills {options.kills} --seed {options.seed}`",
        f"on {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, SQLAlchemy {version('sqlalchemy')}.",
        "",
        "| killed while the client was | kills |",
        "|---|---:|",
        *[f"| {doing} | {n} |" for doing, n in sorted(killed.items())],
        f"| in all | {sum(killed.values())} |",
        "",
        "| acknowledged, and looked for after every kill | in the end |",
        "|---|---:|",
        *[f"| {what} | {n} |" for what, n in session.acknowledged().items()],
        f"| looked for in all, again after each kill | {session.asked:,} |",
        f"| lost or changed | {len(session.lost)} |",
        *[f"\n{lost}" for lost in session.lost[:20]],
    ]


if __name__ == "__main__":
    main()
