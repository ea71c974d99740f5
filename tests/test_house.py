"""What CONTRIBUTING says of the house is what import-linter holds."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def contracts() -> dict[str, dict]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return {c["name"]: c for c in tomllib.load(file)["tool"]["importlinter"]["contracts"]}


def test_the_layers_of_contributing_are_those_of_import_linter():
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    block = re.search(r"## Where things are\n\n((?:    .+\n)+)", text)
    assert block
    said = [re.split(r" {2,}", line.strip())[0] for line in block[1].splitlines()]
    held = [line.replace("hemoscope.", "") for line in contracts()["layers"]["layers"]]
    assert said == held
    inside = re.search(r"Inside `data`: (.+?)\. Statistics", text.replace("\n", " "))
    assert inside
    assert re.findall(r"`(.+?)`", inside[1]) == contracts()["layers of data"]["layers"]


def test_every_module_has_a_layer():
    packages = ROOT / "src" / "hemoscope"
    there = {p.stem for p in packages.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()}
    layers = " | ".join(contracts()["layers"]["layers"]).replace("hemoscope.", "").split(" | ")
    assert there - set(layers) == {"__init__", "__main__"}
