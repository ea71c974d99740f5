"""The example of the Python page, as it stands there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.reading import DOCS, blocks


def test_the_example_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "example"}
    for block in blocks(DOCS / "python.md"):
        if block.language == "python":
            exec(compile(block.text, "python.md", "exec"), names)
    said = capsys.readouterr().out.splitlines()
    assert "errors in" in said[0]
    assert len(said) == 4  # the scores, two verdicts, and what is wrong with a file that is not there
    assert "no-such-file.hemo" in said[-1]
    assert (tmp_path / "report" / "report.html").is_file()
    assert (tmp_path / "blood.hemo").is_file()
