"""Where a file cannot be written whole, as on a full disk, a verb says so and leaves nothing half-written.

The system's limit on the size of a file stands for the disk: the same call fails, on any machine.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import save_file
from torchvision.models import get_model

pytest.importorskip("resource", reason="this system has no limit on the size of a file")

LIMITED = (
    "import resource, signal, sys\n"
    "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)\n"
    "sys.argv = ['hemoscope', *sys.argv[2:]]\n"
    "from hemoscope.cli import main\n"
    "main()\n"
)
TINY = ["--recipe", "demo", "--epochs", "1", "--device", "cpu"]


def hemoscope(limit: int, *words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    # -B: the limit would cut compiled modules short, too
    command = [sys.executable, "-B", "-c", LIMITED, str(limit), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, timeout=900)


def files(folder: Path) -> set[str]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix() for path in found}


def test_a_limit_on_the_size_of_a_file_is_told_with_the_place(tmp_path: Path):
    refused = hemoscope(200, "data", "synth", "cells", "--per-class", 1, "--size-px", 64, cwd=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.endswith(f"hemoscope: {(tmp_path / 'cells').resolve()}: File too large\n")
    assert files(tmp_path) == set()


@pytest.mark.long
def test_a_full_disk_is_a_sentence_and_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HEMOSCOPE_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("HEMOSCOPE_CACHE", str(tmp_path / "cache"))
    free, small, tiny = 2**31, 2**20, 2**12
    assert (
        hemoscope(free, "data", "synth", "cells", "--per-class", 8, "--size-px", 64, cwd=tmp_path).returncode
        == 0
    )
    save_file(get_model("squeezenet1_1", weights=None).state_dict(), tmp_path / "squeezenet1_1.safetensors")
    steps = [
        (small, ("train", "squeezenet1_1", "--data", "cells", *TINY), "runs"),
        (tiny, ("report", "runs", "--out", "report"), "report"),
        (small, ("bundle", "runs", "--out", "b/one.hemo", "--device", "cpu"), "b"),
        (tiny, ("predict", "b/one.hemo", "cells", "--device", "cpu", "--out", "p/x.parquet"), "p"),
        (tiny, ("differential", "b/one.hemo", "cells", "--device", "cpu", "--out", "d"), "d"),
        (tiny, ("data", "split", "cells", "--out", "s/split.csv"), "s"),
        (small, ("weights", "import", "squeezenet1_1.safetensors"), "weights"),
    ]
    for limit, words, out in steps:
        before = files(tmp_path / out)
        refused = hemoscope(limit, *words, cwd=tmp_path)
        assert refused.returncode == 1, (words, refused.stderr)
        assert "Traceback" not in refused.stderr, refused.stderr
        assert refused.stderr.strip(), words
        left = files(tmp_path / out) - before
        assert not [name for name in left if name.endswith((".part", ".hemo", ".html"))], left
        assert "DONE" not in {Path(name).name for name in left}
        done = hemoscope(free, *words, cwd=tmp_path)
        assert done.returncode == 0, (words, done.stderr)
