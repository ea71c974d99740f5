"""Kill hemoscope at random moments, go on with the same command, and compare with what was never killed.

Every verb that says it goes on is tried on drawn cells: training, a sweep, prediction in three forms, a
differential count, a bundle and a split. After some kills the command is left to finish; then every
file that it leaves must be the one of an undisturbed run, but for times. All run on one thread: of a sweep a
run that goes on alone gets more of the cores than beside another, and its sums round otherwise.
Usage: python tools/kills.py [--kills 233] [--seed 0] [--work DIR]
"""

import argparse
import csv
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.process import BaseProcess
from pathlib import Path

from hemoscope.bundle.file import read_bundle
from hemoscope.files import sha256_of
from hemoscope.runs import Run

CONTEXT = multiprocessing.get_context("forkserver")
HEAVY = ("cli.app", "differential.smear", "packing.pack", "training.loop")  # imported once
TINY = ["--recipe", "demo", "--epochs", "2", "--device", "cpu", "--set", "precision=fp32"]
OF_A_MOMENT = {"timings", "started_at", "finished_at", "command", "peak_memory_mib", "utilisation", "files"}


def main() -> None:
    """Print a line a verb, and exit 1 if anything differed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=233)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    CONTEXT.set_forkserver_preload([f"hemoscope.{name}" for name in HEAVY])
    work = options.work or Path(tempfile.mkdtemp(prefix="kills-"))
    rng = random.Random(options.seed)
    finish("data", "synth", work / "cells", "--per-class", 12, "--size-px", 64)
    finish("train", "squeezenet1_1", "--data", work / "cells", "--out", work / "runs", *TINY)
    finish("bundle", work / "runs", "--out", work / "one.hemo", "--device", "cpu")
    jobs = verbs(work)
    whole, seconds = {}, {}
    for name, words in jobs.items():
        out = work / "whole" / name
        began = time.monotonic()
        finish(*words(out))
        seconds[name], whole[name] = time.monotonic() - began, content(out)
    kills, finished, wrong = Counter[str](), Counter[str](), []
    names = sorted(jobs)
    while sum(kills.values()) < options.kills:
        name = names[sum(finished.values()) % len(names)]
        out = work / "killed" / f"{name}-{finished[name]}"
        for _ in range(rng.randint(1, 5)):
            kills[name] += killed(jobs[name](out), after_s=rng.uniform(0.0, 1.1 * seconds[name]))
        finish(*jobs[name](out))
        finished[name] += 1
        now = content(out)
        if differ := sorted(k for k in whole[name] | now if whole[name].get(k) != now.get(k)):
            wrong.append(f"{out}: {', '.join(map(str, differ))}")
        else:
            shutil.rmtree(out)
        print(
            f"{sum(kills.values())} kills; {len(wrong)} of {sum(finished.values())} ended otherwise",
            flush=True,
        )
    for name in names:
        print(f"{name:20} {kills[name]:4} kills, finished {finished[name]:3} times")
    print(
        f"{sum(kills.values())} kills; {len(wrong)} of {sum(finished.values())} ended otherwise",
        *wrong,
        sep="\n  ",
    )
    raise SystemExit(bool(wrong))


def verbs(work: Path) -> dict:
    """Return what is tried, by name: from a folder to write in to the words of the command."""
    cells, model = work / "cells", work / "one.hemo"
    return {
        "train": lambda out: ("train", "squeezenet1_1", "--data", cells, "--out", out, "--seed", 1, *TINY),
        "benchmark": lambda out: (
            "benchmark", "--data", cells, "--arch", "squeezenet1_1,mobilenet_v2", "--jobs", 2, "--out", out, *TINY,
        ),
        **{
            f"predict {form}": lambda out, form=form: (
                "predict", model, cells, "--device", "cpu", "--batch-size", 16, "--out", out / f"cells.{form}",
            )
            for form in ("csv", "jsonl", "parquet")
        },
        "differential": lambda out: ("differential", model, cells, "--device", "cpu", "--title", "x", "--out", out),
        "bundle": lambda out: ("bundle", work / "runs", "--device", "cpu", "--out", out / "b.hemo", "--overwrite"),
        "data split": lambda out: ("data", "split", cells, "--out", out / "split.csv"),
    }  # fmt: skip


def finish(*words: object) -> None:
    """Let a command finish; a file that is there already is as good."""
    with tempfile.NamedTemporaryFile("w+") as said:
        process = started(words, said.name)
        process.join()
        text = Path(said.name).read_text("utf-8")
    if process.exitcode and "is there already" not in text:
        raise SystemExit(f"{' '.join(map(str, words))}\n{text}")


def killed(words: tuple, *, after_s: float) -> bool:
    """Start a command and kill it; whether it still ran."""
    process = started(words, os.devnull)
    process.join(after_s)
    ran = process.is_alive()
    process.kill()
    process.join()
    return ran


def started(words: tuple, said: str) -> BaseProcess:
    """Start a command in a process of its own, forked from one that has imported torch and nothing else."""
    process = CONTEXT.Process(target=command, args=(list(map(str, words)), said))
    process.start()
    return process


def command(words: list[str], said: str) -> None:
    """Be the command."""
    from hemoscope.cli import main as hemoscope

    with Path(said).open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = ["hemoscope", *words]
    hemoscope()


def content(out: Path) -> dict:
    """Return what counts of everything below a folder, by name; no file that was only begun may be there."""
    found: dict = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.is_dir() or path.name in (".lock", "report.html"):  # the page has a date
            continue
        if path.name == "run.json":
            run = Run.open(path.parent)
            found[name] = {k: v for k, v in run.card.items() if k not in OF_A_MOMENT}
        elif path.name == "history.csv":
            rows = csv.DictReader(path.read_text("utf-8").splitlines())
            found[name] = [{k: v for k, v in row.items() if k != "images_per_s"} for row in rows]
        elif path.suffix == ".hemo":
            read = read_bundle(path)
            found[name] = (read.card.model_dump(exclude={"created"}), read.selftest)
        elif path.suffix == ".json":
            found[name] = json.loads(path.read_text("utf-8"))
        else:
            found[name] = sha256_of(path)
    return found


if __name__ == "__main__":
    main()
