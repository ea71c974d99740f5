import pytest

from hemoscope.training.changes import changes, describe, is_papers
from hemoscope.training.recipe import RECIPES, load_recipe


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_built_in_recipe_is_described_by_its_name_alone(recipe):
    assert describe(recipe.model_dump()) == recipe.name
    assert is_papers(recipe.model_dump()) == (recipe.name == "paper")


def test_every_changed_field_is_named_with_the_built_in_value():
    card = load_recipe("paper", ["epochs=4", "crop=random", "image_px=112"]).model_dump() | {"name": "paper"}
    assert {str(change) for change in changes(card)} == {
        "epochs 4 (25)",
        "crop random (center)",
        "image_px 112 (none)",
    }
    assert not is_papers(card)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_precision_that_auto_came_to_is_no_change(precision):
    card = load_recipe("paper").model_dump() | {"precision": precision}
    assert changes(card) == ()
    assert is_papers(card)


def test_fields_that_older_runs_lack_are_no_change():
    card = load_recipe("paper").model_dump()
    del card["schedule"], card["canvas_px"]
    assert changes(card) == ()
    assert is_papers(card)


def test_a_field_that_a_built_in_recipe_got_since_was_not_used_by_older_runs():
    card = load_recipe("robust").model_dump()
    del card["in_blood"], card["instance_norm"]
    assert {str(change) for change in changes(card)} == {"in_blood 0 (0.25)", "instance_norm 0 (0.3)"}


def test_a_recipe_of_ones_own_has_nothing_to_be_changed_from():
    assert describe({"name": "mine", "epochs": 3}) == "mine"
    assert describe({}) == "n/a"


def test_a_field_unknown_here_makes_a_recipe_another_than_the_papers():
    card = load_recipe("paper").model_dump() | {"cutmix": 0.2}
    assert not is_papers(card)
    assert [str(change) for change in changes(card)] == ["cutmix 0.2 (none)"]
