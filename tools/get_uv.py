#!/usr/bin/env python3
"""Print the path of uv, putting it into .uv/ first where the machine has none.

Standard library only, any Python 3.8 or newer. pip is asked first, because it knows the mirrors of
its machine; where Python comes without venv or pip, the wheel is taken from PyPI and its digest checked.
"""

import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

INDEX = "https://pypi.org/pypi/uv/json"
HOME = Path(__file__).resolve().parent.parent / ".uv"
SCRIPTS = HOME / ("Scripts" if os.name == "nt" else "bin")
EXE = "uv.exe" if os.name == "nt" else "uv"


def with_pip() -> bool:
    """Make a virtual environment and install uv into it."""
    steps = (
        [sys.executable, "-m", "venv", str(HOME)],
        [str(SCRIPTS / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv"],
    )
    return all(subprocess.run(step, stdout=sys.stderr, check=False).returncode == 0 for step in steps)


def from_pypi() -> None:
    """Take the uv program out of its wheel."""
    with urllib.request.urlopen(INDEX) as answer:
        files = json.load(answer)["urls"]
    machine = {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    marks = {
        "Linux": ("manylinux", machine),
        "Darwin": ("macosx", "arm64" if machine == "aarch64" else machine),
        "Windows": ("win", "amd64" if machine == "x86_64" else "arm64"),
    }[platform.system()]
    wheel = next(
        f for f in files if f["filename"].endswith(".whl") and all(m in f["filename"] for m in marks)
    )
    with urllib.request.urlopen(urllib.parse.urljoin(INDEX, wheel["url"])) as answer:
        data = answer.read()
    if hashlib.sha256(data).hexdigest() != wheel["digests"]["sha256"]:
        sys.exit("the downloaded uv is damaged: its SHA-256 differs; run again")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        name = next(n for n in archive.namelist() if n.endswith("/scripts/" + EXE))
        SCRIPTS.mkdir(parents=True, exist_ok=True)
        (SCRIPTS / EXE).write_bytes(archive.read(name))
    (SCRIPTS / EXE).chmod(0o755)


def main() -> None:
    """Find uv or get it."""
    found = shutil.which("uv")
    if not found:
        own = SCRIPTS / EXE
        if not own.is_file() and not with_pip():
            print("pip could not install uv; taking it from PyPI", file=sys.stderr)
            from_pypi()
        found = str(own)
    print(found)


if __name__ == "__main__":
    main()
