"""A search reads no test image, goes on where it was stopped, and writes its winner as a recipe that trains."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hemoscope.cluster import connect
from hemoscope.errors import ConfigError, UnknownNameError
from hemoscope.runs import DONE, PREDICTIONS
from hemoscope.sweep.space import Choice, Range, parse_space, write_recipe
from hemoscope.sweep.tune import Trial, search
from hemoscope.training.recipe import RECIPES, Recipe, load_recipe
from hemoscope.training.run import prepare

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)

BASE = Recipe(weights="none", epochs=2, batch_size=16, image_px=32, precision="fp32")


@pytest.fixture
def on_this_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    connect("local")
    yield
    ray.shutdown()


def test_a_range_is_drawn_as_its_field_asks():
    space = parse_space(
        [
            "lr=0.001..0.1",
            "rotation_deg=0..180",
            "batch_size=8..16",
            "hflip=true,false",
            "schedule=step,cosine",
        ],
        BASE,
    )
    assert space == {
        "lr": Range(0.001, 0.1, whole=False, log=True),
        "rotation_deg": Range(0, 180, whole=False, log=False),
        "batch_size": Range(8, 16, whole=True, log=False),
        "hflip": Choice((True, False)),
        "schedule": Choice(("step", "cosine")),
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lr", "expected --search FIELD="),
        ("lr=0.1..0.001", r"expected LOW\.\.HIGH"),
        ("hflip=0..1", "of a field that is a number"),
        ("batch_size=1.5..4", r"expected LOW\.\.HIGH"),
        ("batch_size=1..4", "batch_size: Input should be greater than or equal to 2, got 1"),
        ("schedule=step,stairs", "schedule: .*got 'stairs'"),
    ],
)
def test_what_does_not_hold_is_refused_before_any_trial(text: str, words: str):
    with pytest.raises(ConfigError, match=words):
        parse_space([text], BASE)


def test_a_field_that_is_none_is_answered_with_those_there_are():
    with pytest.raises(UnknownNameError, match="recipe field"):
        parse_space(["rate=0.1,0.2"], BASE)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_written_recipe_is_read_as_the_same(recipe: Recipe, tmp_path: Path):
    path = tmp_path / "best.toml"
    path.write_text(write_recipe(recipe), "utf-8")
    assert load_recipe(str(path)) == recipe


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_optuna_does_not_take_is_refused(discs: Path, tmp_path: Path, seed: int):
    space = parse_space(["lr=0.01,0.02"], BASE)
    with pytest.raises(ConfigError, match=f"expected the seed of a search from 0 to 4294967295; got {seed}"):
        search("resnet18", BASE, space, prepare(discs), out=tmp_path, trials=1, seed=seed)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.usefixtures("on_this_machine", "one_thread")
def test_the_winner_is_the_best_on_validation_and_no_trial_reads_the_test_side(
    discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    told: list[Trial] = []
    space = parse_space(["lr=0.02,1e30"], BASE)  # the second diverges
    options = {"out": tmp_path, "trials": 3, "device_name": "cpu"}
    best, found = search(
        "resnet18", BASE, space, prepare(discs), on_trial=lambda trial, _: told.append(trial), **options
    )
    assert len(told) == len(found) == 3
    assert best.lr == found[0].values["lr"] == 0.02
    assert [trial.val_accuracy for trial in found] == sorted((t.val_accuracy for t in told), reverse=True)
    assert all(("diverged" in trial.reason) == (trial.values["lr"] == 1e30) for trial in found)
    assert load_recipe(str(tmp_path / "best.toml")) == best
    assert best.label == "tuned"  # of no built-in recipe is it a change
    assert not list((tmp_path / "runs").rglob(PREDICTIONS))
    assert not list((tmp_path / "runs").rglob(DONE))

    again, same = search("resnet18", BASE, space, prepare(discs), **options)
    assert (again, same) == (best, found)
    assert not capsys.readouterr().out
    with pytest.raises(ConfigError, match="holds another search"):
        search("alexnet", BASE, space, prepare(discs), **options)


SEARCH = """
import sys
from pathlib import Path
from hemoscope.cluster import connect
from hemoscope.sweep.space import parse_space
from hemoscope.sweep.tune import search
from hemoscope.training.recipe import Recipe
from hemoscope.training.run import prepare

recipe, cells, out = sys.argv[1:]
base = Recipe.model_validate_json(recipe)
connect("local")
space = parse_space(["lr=0.01,0.02,0.03,0.04"], base)
search("resnet18", base, space, prepare(Path(cells)), out=Path(out), trials=5, device_name="cpu",
       on_trial=lambda trial, n: print(n, trial.values["lr"], file=sys.__stdout__, flush=True))
print("best", flush=True)
"""


@pytest.mark.long
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["killed", "Ctrl-C"])
def test_a_search_that_is_stopped_goes_on(discs: Path, tmp_path: Path, how: signal.Signals):
    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", SEARCH, BASE.model_dump_json(), str(discs), str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            env={k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"},
        )

    first = start()
    assert first.stdout is not None
    before = [first.stdout.readline() for _ in range(2)]
    first.send_signal(how)
    assert first.wait() != 0
    assert not (tmp_path / "best.toml").exists()
    first.stdout.close()
    assert all(before)
    second = start()
    told, _ = second.communicate()
    assert second.returncode == 0
    assert told.splitlines()[-1] == "best"
    assert (tmp_path / "best.toml").is_file()
    text = (tmp_path / "search.txt").read_text("utf-8")
    (tmp_path / "search.txt").write_text(re.sub(r"trials: \d+", "trials: 99", text))
    third = start()
    third.communicate()
    assert third.returncode != 0  # it would go on with as many as it began with
