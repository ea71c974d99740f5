"""What `stress` wrote, in the report: the right network, and nothing of a folder that is another's or damaged."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from hemoscope.errors import DataError
from hemoscope.report import write_report
from hemoscope.report.broken import read_broken


def network(name: str, *, worst: float = 0.5, background: bool = False) -> dict:
    kinds = {"jpeg": 0.1, "motion": worst}
    return {
        "name": name,
        "clean": {"errors": 1, "accuracy": 0.98},
        "mean_error": (0.1 + worst) / 2,
        "corruptions": [
            {"name": kind, "error": [error / 2] * 4 + [3 * error / 2], "mean_error": error * 0.7}
            for kind, error in kinds.items()
        ],
        "recognises_background": background,
        "says": [f"{name} was <i>asked</i>."],
    }


def written(folder: Path, *networks: dict) -> Path:
    folder.mkdir()
    (folder / "stress.json").write_text(json.dumps({"n": 96, "side": "val", "networks": networks}), "utf-8")
    for name, kind in (("corruptions.jpg", "JPEG"), ("errors.png", "PNG")):
        content = io.BytesIO()
        Image.new("RGB", (8, 8)).save(content, kind)
        (folder / name).write_bytes(content.getvalue())
    return folder


def test_the_page_tells_what_damage_does_to_the_headline_s_network(runs, tmp_path):
    run = runs.add("vgg11")
    folder = written(tmp_path / "stress", network("another"), network(run.name, background=True))
    page = write_report(runs.root, tmp_path / "report", stress=folder).read_text("utf-8")
    section = page[page.index("What would break it?</h2>") : page.index("How it was made</h2>")]
    assert f"{run.name} gets 2.00 % wrong as they are, and 30.00 % under damage" in section
    assert "worst is motion with 35.0 %" in section
    assert "It recognises background" in section
    assert f"{run.name} was &lt;i&gt;asked&lt;/i&gt;." in section
    assert (tmp_path / "report" / "tables" / "damage.csv").is_file()
    numbers = [int(n) for n in re.findall(r"<b>Figure (\d+)\.</b>", page)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert "</b> Wrong answers against severity, a line a kind of damage." in section
    # On a phone a broad picture is wider than the page, and scrolls in its frame.
    assert all('<div class="frame"><img' in figure for figure in section.split('<figure class="picture')[1:])
    plain = write_report(runs.root, tmp_path / "plain").read_text("utf-8")
    assert "hemoscope report --stress" in plain
    assert not (tmp_path / "plain" / "tables" / "damage.csv").exists()


def test_the_vote_is_told_only_where_its_own_members_were_asked(tmp_path):
    asked = [network("a"), network("b"), network("ensemble of 2")]
    folder = written(tmp_path / "stress", *asked)
    assert read_broken(folder, ["a", "b"], ["a", "b", "c"]).network.name == "ensemble of 2"
    assert read_broken(folder, ["a", "c"], ["c", "b"]).network.name == "b"
    assert read_broken(folder, ["a"], ["a", "b"]).network.name == "a"


def test_another_s_folder_and_a_damaged_one_are_refused_with_what_is_wrong(tmp_path):
    folder = written(tmp_path / "stress", network("a"))
    with pytest.raises(DataError, match="is about a, and none of that is in this report"):
        read_broken(folder, ["b"], ["b", "c"])
    (folder / "errors.png").write_bytes(b"<svg onload='alert(1)'>")
    with pytest.raises(DataError, match=r"errors.png is damaged, or no picture"):
        read_broken(folder, ["a"], ["a"])
    (folder / "corruptions.jpg").unlink()
    with pytest.raises(DataError, match=r"corruptions.jpg.*No such file"):
        read_broken(folder, ["a"], ["a"])
    document = json.loads((folder / "stress.json").read_text())
    document["networks"][0]["mean_error"] = 7
    (folder / "stress.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"networks\.0\.mean_error"):
        read_broken(folder, ["a"], ["a"])
    (folder / "stress.json").write_text("[")
    with pytest.raises(DataError, match="not what hemoscope stress --out writes"):
        read_broken(folder, ["a"], ["a"])
    with pytest.raises(DataError, match="No such file"):
        read_broken(tmp_path / "nowhere", ["a"], ["a"])
