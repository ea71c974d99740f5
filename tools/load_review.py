"""Many clients at once at the review page's server: upload, review, and compare with what each of them did.

Each client has a slide of its own but for ten that share one. A client knows what its slide must look like from its own
commands alone; in the end the server's state has to be that. Whatever is refused with 429 is tried again; anything else
that is refused, and is no conflict on the shared slide, is a failure.
Usage, in the repository's root: python -m tools.load_review MODEL CELLS [--clients 50] [--seconds 60]
"""

import argparse
import io
import os
import platform
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter, defaultdict
from pathlib import Path

import httpx
import numpy as np

SHARING = 10
AT_ONCE = 10  # images of one archive
MOST = 200  # of a slide
CLASSES = ("basophil", "eosinophil", "erythroblast", "ig", "lymphocyte", "monocyte", "neutrophil", "platelet")


class Tally:
    """What all clients saw."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.statuses = Counter[str]()
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)
        self.failures: list[str] = []


class Client(threading.Thread):
    """One browser."""

    def __init__(
        self, address: str, files: list[bytes], tally: Tally, until: float, n: int, shared: int = 0
    ) -> None:
        super().__init__(daemon=True)
        self.http = httpx.Client(base_url=f"{address}/api/v1", timeout=120)
        self.files, self.tally, self.until, self.shared = files, tally, until, shared
        self.rng, self.n = random.Random(n), n
        self.slide, self.seq, self.window = shared, 0, f"w{n}"
        self.places: dict[str, str] = {}
        self.before: list[dict[str, str]] = []
        self.sent, self.done = 0, Counter[str]()

    def run(self) -> None:
        """Work until the time is over, then compare."""
        try:
            self.http.headers["X-CSRF-Token"] = self.http.get("/session").json()["csrf"]
            if not self.shared:
                self.slide = self.ask("POST", "slide", "/slides", json={"title": f"load {self.n}"})["id"]
            while time.monotonic() < self.until:
                if self.sent < MOST and not self.shared:
                    self.send()
                self.review()
            if not self.shared:
                self.compare()
        except Exception as error:  # noqa: BLE001  whatever it is, it is a failure of this run
            with self.tally.lock:
                self.tally.failures.append(f"client {self.n}: {type(error).__name__}: {error}")

    def ask(self, method: str, kind: str, path: str, **more) -> dict:
        """Return the answer, after 429 again and again; an empty one for a conflict."""
        while True:
            began = time.monotonic()
            answer = self.http.request(method, path, **more)
            with self.tally.lock:
                self.tally.statuses[f"{kind} {answer.status_code}"] += 1
                self.tally.seconds[kind].append(time.monotonic() - began)
            if answer.status_code == 429:
                time.sleep(int(answer.headers["retry-after"]) * self.rng.uniform(0.5, 1))
                continue
            if answer.status_code == 409 and self.shared:
                return {}
            if answer.status_code >= 400:
                raise AssertionError(f"{kind}: {answer.status_code} {answer.text[:200]}")
            return answer.json()

    def send(self) -> None:
        """Send some images that the slide does not have yet, and wait for their cells."""
        start = (self.n * MOST + self.sent) % len(self.files)
        some = [self.files[(start + i) % len(self.files)] for i in range(AT_ONCE)]
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for i, content in enumerate(some):
                archive.writestr(f"{self.sent + i:05d}.jpg", content)
        content = buffer.getvalue()
        begun = self.ask(
            "POST", "begin", f"/slides/{self.slide}/uploads", json={"name": "a.zip", "bytes": len(content)}
        )
        half = len(content) // 2
        for offset, piece in ((0, content[:half]), (half, content[half:])):
            self.ask("PUT", "bytes", f"/uploads/{begun['upload']}", params={"offset": offset}, content=piece)
        self.sent += AT_ONCE
        while True:
            progress = self.ask("GET", "slide", f"/slides/{self.slide}")["progress"]
            if progress["predicted"] + progress["rejected"] == progress["total"]:
                break
            time.sleep(0.5)
        for cell in self.ask(
            "GET", "cells", f"/slides/{self.slide}/cells", params={"since": len(self.places)}
        )["cells"]:
            first = {"accepted": cell["pred"], "review": "review", "unknown": "unidentified"}[cell["status"]]
            self.places[str(cell["cell"])] = first
            for page in self.before:
                page[str(cell["cell"])] = first
            self.http.get(f"/images/{cell['digest']}", params={"px": 96})

    def review(self) -> None:
        """Give some commands, and apply each to what this client knows."""
        for _ in range(self.rng.randint(3, 10)):
            if self.shared:
                self.catch_up()
            if not self.places:
                time.sleep(0.2)
                return
            if self.before and self.rng.random() < 0.2 and not self.shared:
                self.command({"kind": "undo"})
                continue
            cells = self.rng.sample(sorted(self.places), min(self.rng.randint(1, 5), len(self.places)))
            self.command({"kind": "place", "cells": [int(c) for c in cells], "to": self.rng.choice(CLASSES)})
            time.sleep(self.rng.uniform(0.05, 0.3))  # a person looks

    def command(self, command: dict) -> None:
        """Give one command; a conflict changes nothing."""
        body = {"revision": 1, "base": self.seq, "reading": 1, "command": command, "client": self.window}
        answer = self.ask("POST", "command", f"/slides/{self.slide}/commands", json=body)
        if not answer:
            self.done["conflicts"] += 1
            return
        self.done[command["kind"]] += 1
        self.seq = answer["seq"]
        if command["kind"] == "undo":
            self.places = self.before.pop()
        else:
            self.before.append(dict(self.places))
            self.places |= {str(cell): command["to"] for cell in command["cells"]}

    def catch_up(self) -> None:
        """See what others did on the shared slide."""
        state = self.ask("GET", "state", f"/slides/{self.slide}/state", params={"reading": 1})
        self.places, self.seq = state["places"], state["seq"]

    def compare(self) -> None:
        """The server's state is what this client did."""
        state = self.ask("GET", "state", f"/slides/{self.slide}/state", params={"reading": 1})
        if state["places"] != self.places or state["seq"] != self.seq:
            raise AssertionError("the server's state is not what this client did")


def main() -> None:
    """Start a server, let the clients work, print the figures, and exit 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("cells", type=Path)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--store", default="")
    options = parser.parse_args()
    files = [path.read_bytes() for path in sorted(options.cells.rglob("*.jpg"))]
    with tempfile.TemporaryDirectory(prefix="load-review-") as folder:
        command = [
            sys.executable,
            "-m",
            "hemoscope",
            "serve",
            str(options.model),
            "--port",
            "0",
            "--data-folder",
            folder,
        ]
        server = subprocess.Popen([*command, "--store", options.store], stdout=subprocess.PIPE, text=True)
        assert server.stdout
        address = server.stdout.readline().strip().rstrip("/")
        try:
            tally, clients, memory = load(address, files, options, server.pid)
        finally:
            server.terminate()
            server.wait()
    print("\n".join(told(options, tally, clients, memory)))
    raise SystemExit(bool(tally.failures))


def load(address: str, files: list[bytes], options: argparse.Namespace, pid: int):
    """Return what the clients saw, the clients, and the server's memory by the second."""
    tally = Tally()
    shared = shared_slide(address, files)
    until = time.monotonic() + options.seconds
    sharing = min(SHARING, options.clients // 2)
    clients = [
        Client(address, files, tally, until, n, shared if n < sharing else 0) for n in range(options.clients)
    ]
    memory = [resident_mib(pid)]
    for client in clients:
        client.start()
    while any(client.is_alive() for client in clients):
        time.sleep(1)
        memory.append(resident_mib(pid))
    check_shared(address, shared, clients, tally)
    return tally, clients, memory


def shared_slide(address: str, files: list[bytes]) -> int:
    """Return a slide with cells that several clients review."""
    maker = Client(address, files, Tally(), 0, 999)
    maker.http.headers["X-CSRF-Token"] = maker.http.get("/session").json()["csrf"]
    maker.slide = maker.ask("POST", "slide", "/slides", json={"title": "shared"})["id"]
    for _ in range(4):
        maker.send()
    return maker.slide


def check_shared(address: str, slide: int, clients: list[Client], tally: Tally) -> None:
    """Every command that was answered is in the log, and the state is what the log says."""
    with httpx.Client(base_url=f"{address}/api/v1", timeout=120) as http:
        entries = http.get(f"/slides/{slide}/log").json()["entries"]
        state = http.get(f"/slides/{slide}/state").json()["places"]
    by_window = Counter(entry["client"] for entry in entries)
    for client in clients:
        if client.shared and by_window[client.window] != client.done["place"]:
            tally.failures.append(
                f"client {client.n}: {client.done['place']} answered, {by_window[client.window]} in the log"
            )
    places = {str(cell): to for entry in entries for cell, _, to in entry["changes"]}
    if not places.items() <= state.items():
        tally.failures.append("the shared slide is not what its log says")


def resident_mib(pid: int) -> float:
    """Return the memory of a process."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    return int(found[1]) / 1024 if found else float("nan")


def told(options: argparse.Namespace, tally: Tally, clients: list[Client], memory: list[float]) -> list[str]:
    """Return the figures."""
    done = sum((client.done for client in clients), Counter[str]())
    lines = [
        f"`python -m tools.load_review {options.model.name} CELLS --clients {options.clients} --seconds {options.seconds:g}`",
        f"on {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; clients and server on one machine.",
        "",
        "| asked for | answers | median | 95 % | slowest | by status |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for kind, seconds in sorted(tally.seconds.items()):
        statuses = ", ".join(
            f"{k.split()[1]}: {n}" for k, n in sorted(tally.statuses.items()) if k.split()[0] == kind
        )
        middle, most, slowest = 1000 * np.quantile(seconds, [0.5, 0.95, 1])
        lines.append(
            f"| {kind} | {len(seconds):,} | {middle:.0f} ms | {most:.0f} ms | {slowest:.0f} ms | {statuses} |"
        )
    sent = sum(client.sent for client in clients)
    lines.append("")
    lines.append(
        f"{sent:,} images sent; {done['place']:,} placements and {done['undo']:,} undos answered; {done['conflicts']:,} "
        "conflicts on the shared slide told, and nothing overwritten."
    )
    tenths = ", ".join(f"{np.median(part):.0f}" for part in np.array_split(memory[1:], 10))
    lines.append(
        f"Memory of the server: {memory[0]:.0f} MiB before, then in each tenth of the time {tenths} MiB, {max(memory):.0f} MiB at most."
    )
    return [*lines, f"Failures: {len(tally.failures)}.", *tally.failures[:20]]


if __name__ == "__main__":
    main()
