"""What every benchmark shares: contenders in processes of their own, the machine, the tables.

A result belongs to one machine, told by all that `machine` says of it: a name such as "AMD EPYC" stands
for processors with and without bf16. What was kept of another one is never put beside it.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results"


def measure(contender: str, *words: object) -> dict:
    """Run one contender in a process group of its own and return the JSON it prints last.

    Raises:
        SystemExit: With what it wrote to standard error, if it failed.
    """
    command = [sys.executable, str(HERE / "contenders" / f"{contender}.py"), *map(str, words)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, process_group=0)
    if done.returncode:
        sys.exit(f"{contender} {' '.join(map(str, words))} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


@contextmanager
def images(folder: Path | None) -> Iterator[Path]:
    """Give a folder of class folders: the one named, or synthetic cells of the real ones' size."""
    with tempfile.TemporaryDirectory() as work:
        os.environ.setdefault("HEMOSCOPE_CACHE", f"{work}/cache")
        if folder is None:
            from hemoscope.data.synthetic import write_dataset

            folder = Path(work) / "cells"
            write_dataset(folder, per_class=40, size_px=360)
        yield folder


def machine() -> dict[str, object]:
    """Return what the numbers were measured on."""
    import torch

    from hemoscope.training.device import Device, choose_device, describe_machine, resolve_precision

    device = choose_device("auto")
    names = (
        "torch",
        "torchvision",
        "timm",
        "lightning",
        "onnxruntime",
        "openvino",
        "opencv-python-headless",
        "pillow",
    )
    return {
        **describe_machine(Device(device, resolve_precision("auto", device))),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in names},
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        **_held_back(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def place(about: dict) -> str:
    """Return what results of this kind of machine are called after: `cpu_avx2`, `h100_80gb_hbm3`.

    `cpu_avx2_held` is a wider processor that was held back.
    """
    if about["device"] == "cpu":
        return f"cpu_{about['capability']}" + ("_held" if about.get("held") else "")
    words = re.findall(r"[a-z0-9]+", about["device_name"].lower())
    return "_".join(word for word in words if word != "nvidia")


def headline(about: dict) -> str:
    """Return one line that describes the machine."""
    versions = ", ".join(f"{name} {v}" for name, v in about["versions"].items() if v != "absent")
    where = (
        f"{about['device_name']} ({about['capability']}), {about['cores']} cores, {about['memory_gib']} GiB"
    )
    held = f"; held back by {about['held']}" if about.get("held") else ""
    return f"{where}{held}; {versions}; {about['date']}"


def earlier(name: str, about: dict) -> dict:
    """Return the results kept under a name, if this very machine measured them; else nothing.

    The day may be another; everything else that `machine` says has to be the same.
    """
    file = RESULTS / f"{name}.json"
    before = json.loads(file.read_text()) if file.exists() else {}
    if not before:
        return {}
    theirs = before.get("machine", {})
    other = sorted(key for key in {*theirs, *about} - {"date"} if theirs.get(key) != about.get(key))
    if other:
        print(f"{file.name} is of another machine ({', '.join(other)}) and gives way", file=sys.stderr)
        return {}
    return before["results"]


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table; the first column is text, the others are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def keep(name: str, result: dict, text: str) -> None:
    """Write NAME.json and NAME.md, and print the text. Of a path only the name is kept."""
    RESULTS.mkdir(exist_ok=True)
    as_json = json.dumps(result, indent=2, default=lambda path: Path(path).name)
    (RESULTS / f"{name}.json").write_text(as_json + "\n")
    (RESULTS / f"{name}.md").write_text(text + "\n")
    print(text)


def _held_back() -> dict[str, str]:
    """Return how this processor was made to look like a smaller one, if it was.

    It is no machine of that kind: its memory and caches are its own, and so are its rows.
    """
    names = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA")
    held = " ".join(f"{name}={os.environ[name]}" for name in names if name in os.environ)
    return {"held": held} if held else {}


def _version(package: str) -> str:
    try:
        return version(package)
    except ImportError:
        return "absent"
