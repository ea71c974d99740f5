"""The tutorial's own commands, in its order, from drawn cells to the page that is signed."""

from __future__ import annotations

import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.reading import DOCS, ROOT, shell_lines

PAGE = DOCS / "tutorial.md"
INSTALLING = {"make sync", "source .venv/bin/activate"}


def test_installing_is_a_target_of_make():
    lines = [line for line in shell_lines(PAGE) if not line.startswith("hemoscope ")]
    assert set(lines) == INSTALLING
    assert re.search(r"^sync:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)


@pytest.mark.slow
def test_every_command_of_the_tutorial_runs_in_its_order(tmp_path: Path):
    made = []
    environment = {
        **os.environ,
        "HEMOSCOPE_CACHE": str(tmp_path / "cache"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    for line in shell_lines(PAGE):
        if line in INSTALLING:
            continue
        verb, *words = shlex.split(line)
        assert verb == "hemoscope"
        done = subprocess.run(
            [sys.executable, "-m", "hemoscope", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        made.append(words[0] if words[0] not in ("data", "bundle") else " ".join(words[:2]))
    assert made[0] == "data synth"
    assert made[-1] == "differential"
    for file in ("split.csv", "report/report.html", "blood.hemo", "smear-17/report.html"):
        assert (tmp_path / file).is_file()
        assert f"`{file}`" in PAGE.read_text("utf-8") or f" {file}" in PAGE.read_text("utf-8")
    with (tmp_path / "cells.csv").open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == 8 * 15
    assert {"pred", "status", "reason"} <= set(rows[0])
    assert {row["status"] for row in rows} <= {"accepted", "review", "unknown"}
    assert "Smear 17" in (tmp_path / "smear-17" / "report.html").read_text("utf-8")
