"""Many images of many classes: seconds and memory of the first command, and of those that come after it.

Usage: python benchmarks/large.py [--images 100000] [--classes 1000] [--keep DIR] [--arch squeezenet1_1]
           [--training whole|start|none]

Thumbnails of 32 px are drawn once: one picture a class, noise for every image. Every command is a process of its
own; its memory is the most that was resident, pages of files that it mapped included.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
from measure import headline, keep, machine, place, table

SIDE_PX = 32
TRAIN = ("--recipe", "demo", "--epochs", "1", "--batch-size", "1024", "--weights", "none")
SIZES = ("--set", f"image_px={SIDE_PX}", "--set", f"canvas_px={SIDE_PX + 4}")


def draw(folder: Path, images: int, classes: int) -> None:
    """Write class folders of JPEG files, as many in each as in any other but for the rest."""
    rng = np.random.default_rng(0)
    for c in range(classes):
        inside = folder / f"class_{c:05d}"
        inside.mkdir(parents=True)
        look = cv2.resize(rng.integers(40, 216, (5, 5, 3), dtype=np.uint8), (SIDE_PX, SIDE_PX)).astype(
            np.int16
        )
        for i in range(images // classes + (c < images % classes)):
            pixels = (look + rng.integers(-40, 41, look.shape, dtype=np.int16)).clip(0, 255).astype(np.uint8)
            _, jpeg = cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, 60))
            (inside / f"{i:06d}.jpg").write_bytes(jpeg.tobytes())


def run(words: list[str], *, until: Callable[[], bool] = lambda: False) -> dict[str, float]:
    """Return seconds, those of the processor and peak memory of one command, which is stopped where `until` says so.

    Raises:
        SystemExit: If it failed.
    """
    with tempfile.TemporaryFile() as said:
        start, stopped, peak = time.perf_counter(), 0.0, 0
        process = subprocess.Popen([sys.executable, "-m", "hemoscope", *words], stdout=said, stderr=said)
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            if not stopped and until():
                stopped = time.perf_counter()
                process.kill()
            peak = max(peak, resident_kib(process.pid))
            time.sleep(0.01)
        seconds = (stopped or time.perf_counter()) - start
        _, status, usage = ended
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode and not stopped:
            said.seek(0)
            sys.exit(f"hemoscope {' '.join(words)} failed:\n{said.read()[-3000:].decode()}")
    cpu_s = usage.ru_utime + usage.ru_stime
    return {"seconds": seconds, "cpu_s": cpu_s, "peak_mib": peak / 2**10}


def resident_kib(pid: int) -> int:
    """Return the most that was resident of a process; what it was forked from counts in its rusage, not here."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text("ascii", "replace"))
    except OSError:
        return 0
    return int(found[1]) if found else 0


@contextmanager
def cells(folder: Path | None, images: int, classes: int) -> Iterator[Path]:
    """Give a folder with `cells` in it, drawn if they are not there; a folder that nobody named is deleted."""
    work = folder or Path(tempfile.mkdtemp(prefix="large."))
    try:
        if not (work / "cells").is_dir():
            draw(work / "part", images, classes)
            (work / "part").rename(work / "cells")
        yield work
    finally:
        if folder is None:
            shutil.rmtree(work)


def looks(work: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """Do every command that only looks at the data, and yield what it is called with what it took."""
    data = str(work / "cells")
    yield "data check, first: every image is read", run(["data", "check", data, "--json"])
    yield "data check again", run(["data", "check", data, "--json"])
    split = ["data", "split", data, "--overwrite", "--out"]
    yield "data split, paper", run([*split, str(work / "paper.csv")])
    yield "data split, clean", run([*split, str(work / "clean.csv"), "--policy", "clean"])


def trainings(work: Path, arch: str, *, whole: bool) -> Iterator[tuple[str, dict[str, float]]]:
    """Train, and do what follows; or only start twice, the second time with a canvas that is there."""
    runs = work / "runs"
    train = ["train", arch, "--data", str(work / "cells"), "--out", str(runs), *TRAIN, *SIZES]

    def began(seed: int) -> Callable[[], bool]:
        return lambda: any(runs.glob(f"{arch}-*-s{seed}-*/run.json"))

    if whole:
        yield "train, one epoch, the canvas built", run(train)
        yield "the same train again: it is done", run(train)
    else:
        yield "train up to its first step, the canvas built", run(train, until=began(0))
    yield "train with another seed, up to its first step", run([*train, "--seed", "1"], until=began(1))
    if whole:
        yield "evaluate the run as JSON", run(["evaluate", str(next(runs.glob("*-s0-*"))), "--json"])


def main() -> None:
    """Measure, print, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--arch", default="squeezenet1_1")
    parser.add_argument("--keep", type=Path, help="Where the images are, or are drawn and stay.")
    parser.add_argument("--training", choices=["whole", "start", "none"], default="whole")
    options = parser.parse_args()
    about = machine()
    with cells(options.keep, options.images, options.classes) as work:
        with tempfile.TemporaryDirectory(dir=work) as cache:
            os.environ["HEMOSCOPE_CACHE"] = cache
            found = {}
            rest = trainings(work, options.arch, whole=options.training == "whole")
            rest = () if options.training == "none" else rest
            for name, took in chain(looks(work), rest):
                print(f"{name}: {took}", file=sys.stderr, flush=True)
                found[name] = took
        shutil.rmtree(work / "runs", ignore_errors=True)
    rows = [
        [name, f"{t['seconds']:.1f}", f"{t['cpu_s']:.1f}", f"{t['peak_mib']:,.0f}"]
        for name, t in found.items()
    ]
    load = round(os.getloadavg()[2], 1)
    text = "\n".join(
        [
            f"# {options.images:,} images of {options.classes:,} classes",
            "",
            f"{headline(about)}.",
            f"JPEG files of {SIDE_PX} px in class folders, whole processes, one of each, files in the system's memory.",
            f"Load of the machine over the last 15 minutes, this work included: {load}.",
            "",
            table(["command", "seconds", "seconds of CPU", "peak memory, MiB"], rows),
        ]
    )
    keep(
        f"large_{options.images}_{place(about)}",
        {"machine": about, "options": vars(options), "load": load, "results": found},
        text,
    )


if __name__ == "__main__":
    main()
