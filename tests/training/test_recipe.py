"""Recipes: the paper's numbers, changes by name, and everything wrong told at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from hemoscope.errors import ConfigError, UnknownNameError
from hemoscope.paper import RECIPE
from hemoscope.training.recipe import Recipe, load_recipe


def test_the_default_is_the_papers_recipe():
    recipe = load_recipe()
    assert recipe.epochs == RECIPE.epochs == 25
    assert (recipe.lr, recipe.momentum, recipe.batch_size) == (0.001, 0.9, 32)
    rates = [recipe.lr_at(epoch) for epoch in range(1, 26)]
    assert rates == [1e-3] * 7 + [1e-4] * 7 + [1e-5] * 7 + [1e-6] * 4
    assert (recipe.rotation_deg, recipe.hflip, recipe.vflip, recipe.crop) == (60, True, True, "center")


def test_changes_reach_any_field():
    recipe = load_recipe("paper", ["epochs=3", "weights=none", "hflip=false", "image_px=None", "lr=1e-2"])
    assert (recipe.epochs, recipe.weights, recipe.hflip, recipe.lr) == (3, "none", False, 0.01)


def test_a_toml_file_is_a_recipe_named_after_it(tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text('epochs = 2\nsampler = "balanced"\n')
    recipe = load_recipe(str(path), ["epochs=4"])
    assert (recipe.name, recipe.epochs, recipe.sampler) == ("mine", 4, "balanced")


@pytest.mark.parametrize(
    ("name", "changes", "error", "match"),
    [
        ("papre", [], UnknownNameError, "did you mean paper"),
        ("paper", ["epoch=3"], UnknownNameError, "did you mean epochs"),
        ("paper", ["epochs"], ConfigError, "expected --set KEY=VALUE"),
        ("paper", ["epochs=0", "lr=-1"], ConfigError, r"(?s)epochs:.*lr:"),
        ("paper", ["weights=imagnet"], ConfigError, "weights: Input should be 'imagenet' or 'none'"),
        ("paper", ["lr=inf", "weight_decay=nan"], ConfigError, r"(?s)lr: .*weight_decay: "),
        ("nowhere.toml", [], ConfigError, "there is none"),
        ("paper", ["small_px=40"], ConfigError, r":\n  small_px and small_epochs: [\w ,]+ 40 and 0$"),
        ("paper", ["canvas_px=40"], ConfigError, r":\n  canvas_px: [\w ,]+ 40, image_px None$"),
    ],
)
def test_what_does_not_hold_is_refused(name: str, changes: list[str], error: type[Exception], match: str):
    with pytest.raises(error, match=match):
        load_recipe(name, changes)


def test_a_broken_toml_file_is_refused(tmp_path: Path):
    (tmp_path / "bad.toml").write_text("epochs = = 2")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_recipe(str(tmp_path / "bad.toml"))
    (tmp_path / "odd.toml").write_text("epocs = 2")
    with pytest.raises(ConfigError, match="epocs"):
        load_recipe(str(tmp_path / "odd.toml"))


def test_a_recipe_cannot_be_changed_in_place():
    with pytest.raises(ValueError, match="frozen"):
        Recipe().epochs = 3  # type: ignore[misc]


def test_the_fast_recipe_s_rate_falls_from_the_paper_s_to_near_nothing():
    recipe = load_recipe("fast")
    rates = [recipe.lr_at(epoch) for epoch in range(1, recipe.epochs + 1)]
    assert rates[0] == 0.001
    assert rates == sorted(rates, reverse=True)
    assert rates[3] == pytest.approx(0.0005)  # half-way
    assert 0 < rates[-1] < 0.0001
    assert (recipe.batch_size, recipe.precision) == (32, "auto")


def test_an_option_added_later_changes_no_older_run_s_name():
    assert not {"canvas_px", "schedule"} & set(Recipe().identity)
    assert load_recipe("fast").identity["schedule"] == "cosine"


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ([], "paper"),
        (["precision=fp32"], "paper"),  # `auto` becomes one of these anyway
        (["epochs=10"], "paper.epochs10"),
        (["lr=0.01", "weights=none", "hflip=false"], "paper.lr0.01.weightsnone.hflipFalse"),
        (["lr=0.01", "weights=none", "hflip=false", "epochs=3"], "paper.4changes"),
        (["schedule=cosine", "warmup=0.3"], "paper.schedulecosine"),  # which has no warm-up
        (["schedule=warm_cosine", "warmup=0.3"], "paper.schedulewarm_cosine.warmup0.3"),
    ],
)
def test_a_changed_recipe_says_so_in_its_label(changes: list[str], label: str):
    assert load_recipe("paper", changes).label == label


@pytest.mark.parametrize(
    ("file", "name"), [("mine", "mine"), ("my-recipe (2)", "my_recipe_2_"), ("細胞", "_")]
)
def test_a_recipe_of_one_s_own_is_called_what_its_file_is(tmp_path: Path, file: str, name: str):
    path = tmp_path / f"{file}.toml"
    path.write_text("epochs = 2\n")
    assert load_recipe(str(path), ["lr=0.5"]).label == name
