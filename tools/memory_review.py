"""The review server's memory as commands come: those of many slides, performed in threads, without HTTP and the model.

Usage, in the repository's root: python -m tools.memory_review [--slides 24] [--commands 800]
"""

import argparse
import random
import re
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hemoscope.differential.reference import read_reference
from hemoscope.review.commands import read_command
from hemoscope.server.counts import Counts
from hemoscope.server.events import Events
from hemoscope.server.guard import Reader
from hemoscope.server.pictures import Pictures
from hemoscope.server.readings import Asked, Readings
from hemoscope.server.settings import Capacity
from hemoscope.server.store.migrate import migrate
from hemoscope.server.store.store import Store
from hemoscope.server.uploads import Uploads
from tests.page.drawn_slide import CLASSES, put_slide

CELLS, AT_ONCE, THREADS = 20, 3, 16


def main() -> None:
    """Print the private memory after every hundredth command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slides", type=int, default=24)
    parser.add_argument("--commands", type=int, default=800)
    options = parser.parse_args()
    rng = random.Random(0)
    with tempfile.TemporaryDirectory(prefix="memory-review-") as folder:
        store = Store(f"sqlite:///{folder}/review.sqlite")
        migrate(store)
        pictures = Pictures(Path(folder))
        bases = {put_slide(store, pictures, cells=CELLS): 0 for _ in range(options.slides)}
        locks = {slide: threading.Lock() for slide in bases}
        uploads = Uploads(store, Path(folder), Capacity())
        readings = Readings(store, Events(1), Counts(read_reference()), uploads)

        def one(_: int) -> None:
            slide = rng.choice(list(bases))
            cells = rng.sample(range(CELLS), AT_ONCE)
            command = read_command({"kind": "place", "cells": cells, "to": rng.choice(CLASSES)})
            with locks[slide]:
                asked = Asked(command, 1, bases[slide], 1, Reader("local", "administrator"))
                bases[slide] = readings.perform(slide, asked).entry.seq

        with ThreadPoolExecutor(THREADS) as pool:
            for hundred in range(options.commands // 100):
                list(pool.map(one, range(100)))
                print(f"{100 * (hundred + 1)} commands: {private_mib():.0f} MiB", flush=True)
        store.close()


def private_mib() -> float:
    """Return this process's memory that no file backs."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")


if __name__ == "__main__":
    main()
