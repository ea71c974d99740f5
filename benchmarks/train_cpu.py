"""Training speed and memory on this machine: hemoscope against the plain torchvision script.

Interleaved repeats in fresh processes, medians; results as JSON and Markdown in benchmarks/results/.
Usage: python benchmarks/train_cpu.py [--data DIR] [--repeats 3] [--batches 20]
Without --data it draws synthetic cells of 360 px, the size of the real ones.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import torch

HERE = Path(__file__).parent
ARCHS = ("resnet18", "squeezenet1_1")


def measure(script: str, *words: object) -> dict:
    """Run one measurement in a process of its own."""
    command = [sys.executable, str(HERE / script), *map(str, words)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Measure, print, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batches", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("HEMOSCOPE_CACHE", f"{folder}/cache")
        data = options.data
        if data is None:
            from hemoscope.data.synthetic import write_dataset

            data = Path(folder) / "cells"
            write_dataset(data, per_class=40, size_px=360)
        rows = []
        for arch in ARCHS:
            ours, peers = [], []
            for _ in range(options.repeats):
                ours.append(measure("hemoscope_step.py", data, arch, options.batches))
                peers.append(measure("plain_torchvision.py", data, arch, options.batches))
            rate = statistics.median(r["images_per_s"] for r in ours)
            peer = statistics.median(r["images_per_s"] for r in peers)
            share = statistics.median(r["data_share_of_step"] for r in ours)
            ratios = sorted(a["images_per_s"] / b["images_per_s"] for a, b in zip(ours, peers, strict=True))
            row = {"arch": arch, "hemoscope": rate, "plain": peer, "ratio": rate / peer, "ratios": ratios}
            rows.append(row | {"data_share_of_step": share, "precision": ours[0]["precision"]})
        memory = [
            measure("hemoscope_step.py", data, "squeezenet1_1", 30, times, folder) for times in (1, 4, 16)
        ]
    machine = {
        "processor": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": datetime.now(UTC).date().isoformat(),
    }
    report(rows, memory, machine, options)


def report(rows: list[dict], memory: list[dict], machine: dict, options: argparse.Namespace) -> None:
    """Write the result as JSON and as a Markdown table."""
    lines = [
        "# Training on the CPU",
        "",
        (
            f"{machine['cores']} cores, torch {machine['torch']}, {machine['date']}; medians of {options.repeats} interleaved "
            f"repeats of {options.batches} batches of 32 at 224 px. `python benchmarks/train_cpu.py`"
        ),
        "",
        "| network | hemoscope, images/s | plain torchvision, images/s | ratio (all repeats) | data plane, share of a step |",
        "|---|---:|---:|---:|---:|",
    ]
    for r in rows:
        spread = ", ".join(f"{x:.2f}" for x in r["ratios"])
        lines.append(
            f"| {r['arch']} ({r['precision']}) | {r['hemoscope']:.1f} | {r['plain']:.1f} | {r['ratio']:.2f} ({spread}) "
            f"| {100 * r['data_share_of_step']:.1f} % |"
        )
    lines += ["", "Memory that belongs to the process (not the memory map), SqueezeNet 1.1:", ""]
    lines += ["| images in the canvas | MiB |", "|---:|---:|"]
    lines += [f"| {m['canvas_images']:,} | {m['anonymous_mib']} |" for m in memory]
    out = HERE / "results"
    out.mkdir(exist_ok=True)
    result = {"machine": machine, "training": rows, "memory": memory}
    (out / "train_cpu.json").write_text(json.dumps(result, indent=2) + "\n")
    (out / "train_cpu.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
