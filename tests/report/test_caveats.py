import json
import shutil

import numpy as np
import pytest

from hemoscope.comparison.compare import compare
from hemoscope.comparison.words import sentences
from hemoscope.report import write_report
from hemoscope.report.collect import collect
from hemoscope.training.recipe import Recipe
from tests.report.conftest import PBC, Side

SMALL = (30, 40, 20, 25, 30, 20, 35, 25)


def drawn_file(class_name: str, i: int) -> str:
    return f"{class_name}/{'SNE' if class_name == 'neutrophil' else 'BA'}_{i + 1:06d}.jpg"


def plain_file(class_name: str, i: int) -> str:
    return f"{class_name}/crop{i}.png"


def said(report) -> dict[str, str]:
    return {caveat.title: caveat.text for caveat in report.caveats}


def test_real_cells_are_known_by_their_names_and_come_with_the_patients_caveat(runs):
    runs.add("resnet18", test=SMALL)
    report = collect(runs.root)
    assert report.data.kind == "pbc"
    assert "optimistic" in said(report)["Splits by patient are impossible."]
    assert report.data.credit == "Acevedo et al. 2020, CC BY 4.0"


def test_drawn_cells_are_called_synthetic_and_get_no_credit(runs):
    runs.add("resnet18", test=SMALL, rename=drawn_file)
    report = collect(runs.root)
    assert report.data.kind == "synthetic"
    assert "These are not real cells." in said(report)
    assert report.data.credit == ""
    assert not any("paper" in text for text in said(report).values())


def test_cells_of_another_source_are_not_taken_for_the_papers(runs):
    runs.add("resnet18", test=SMALL, rename=plain_file)
    report = collect(runs.root)
    assert report.data.kind == "other"
    assert "The split does not separate patients." in said(report)


def test_groups_that_a_list_names_are_said_to_be_kept_apart(runs):
    card = collect(runs.add("resnet18", test=SMALL, rename=plain_file)).entries[0].card
    runs.add("vgg19", test=SMALL, rename=plain_file, data=card["data"] | {"groups": 12})
    told = said(collect(runs.root / sorted(p.name for p in runs.root.iterdir())[1]))
    assert told["The split keeps groups apart."].startswith("The images are of 12 groups")
    assert "The split does not separate patients." not in told


def test_groups_that_a_given_split_parts_are_counted(runs):
    card = collect(runs.add("resnet18", test=SMALL, rename=plain_file)).entries[0].card
    data = card["data"] | {"groups": 12, "groups_on_two_sides": 3}
    told = said(collect(runs.add("vgg19", test=SMALL, rename=plain_file, data=data)))
    assert told["The split does not keep groups apart."].startswith(
        "Of 12 groups, such as patients or slides, 3 have"
    )
    assert "The split keeps groups apart." not in told


def test_without_validation_images_nothing_is_said_to_be_chosen_by_them(runs, tmp_path):
    test = Side(PBC, SMALL, "test").predict(np.random.default_rng(0), 0.1)
    for arch in ("resnet18", "vgg19"):
        runs.add(arch, test=SMALL, predictions={"val": test.take([]), "test": test})
    told = said(collect(runs.root))["What the intervals cover."]
    assert "There are no validation images to choose by" in told
    assert "given" not in told
    assert "chosen on validation" not in write_report(runs.root, tmp_path / "out").read_text("utf-8")
    (first, *_) = sentences(compare(runs.root, draws=100))
    assert first.startswith("Without validation images none is preferred")


def evaluated(runs, seen, **card):
    own = collect(runs.add("resnet18", test=SMALL)).entries[0].card
    card = {"split": own["split"] | {"policy": "evaluated"}, "evaluated": {"seen_before": seen, **card}}
    folder = runs.root / "resnet18-paper-s0-scored"
    shutil.copytree(runs.root / own["name"], folder)
    (folder / "run.json").write_text(json.dumps({**own, **card}), "utf-8")
    return said(collect(folder))


def test_of_cells_that_were_only_scored_it_is_said_how_many_are_new(runs):
    told = evaluated(runs, {"train": 0, "val": 0, "test": 7})["Other cells than those of the training."]
    assert told.startswith(f"None of the {sum(SMALL):,} cells scored here")
    assert told.endswith("7 are of their own test images.")


def test_a_card_that_does_not_know_what_was_seen_claims_nothing(runs):
    told = evaluated(runs, None)
    assert "is not known" in told["These cells may be those of the training."]
    assert "Other cells than those of the training." not in told


def test_the_second_acquisition_is_counted_a_class(runs):
    folder = runs.add("resnet18", test=SMALL)
    card = collect(folder).entries[0].card
    runs.add(
        "vgg19",
        test=SMALL,
        data=card["data"] | {"second_acquisition": {"ig": 151, "monocyte": 50, "platelet": 0}},
    )
    text = said(collect(runs.root))["A second acquisition is a possible shortcut."]
    assert text.startswith("201 images")
    assert "ig 151, monocyte 50)" in text


def test_eight_views_are_said_with_what_they_cost(runs):
    recipe = Recipe(views=8).model_dump()
    runs.add("resnet18", test=SMALL, recipe=recipe, timings={"test_s": 12.4})
    runs.add("vgg19", test=SMALL)
    text = said(collect(runs.root))["Scores are over eight views."]
    n = sum(SMALL)
    assert text.startswith("Each final prediction of ResNet-18 is the mean over the eight")
    assert f"(ResNet-18 12 s for {n:,} test images)" in text


@pytest.mark.parametrize(("epochs", "short"), [(24, True), (25, False)])
def test_fewer_epochs_than_the_papers_25_are_said(runs, epochs, short):
    runs.add("resnet18", test=SMALL, epochs=epochs)
    assert ("Fewer epochs than the paper." in said(collect(runs.root))) == short


def test_random_and_approximated_weights_are_said_with_the_networks_they_concern(runs):
    runs.add("resnet18", test=SMALL, weights={"source": "none"})
    runs.add("vgg19", test=SMALL, weights={"source": "imagenet", "note": "16-bit copy of the original"})
    texts = said(collect(runs.root))
    assert texts["Trained from scratch."].startswith("ResNet-18 started from random weights")
    assert texts["About the pretrained weights of VGG-19."] == "16-bit copy of the original"


def test_the_number_of_seeds_is_said(runs):
    runs.add("resnet18", test=SMALL, seed=0)
    assert "One seed." in said(collect(runs.root))
    runs.add("resnet18", test=SMALL, seed=1)
    assert said(collect(runs.root))["Several seeds, one split."].startswith("2 seeds a network")


def test_validation_is_only_credited_with_members_that_it_chose(runs):
    for arch in ("resnet18", "vgg19", "alexnet", "vgg11"):
        runs.add(arch, test=SMALL)
    everyone = said(collect(runs.root))["What the intervals cover."]
    runs.add("vgg13", test=SMALL)
    chosen = said(collect(runs.root))["What the intervals cover."]
    assert "members of the ensemble were" not in everyone
    named = said(collect(runs.root, members="resnet18,vgg19"))["What the intervals cover."]
    assert "members of the ensemble were chosen on the validation" in chosen
    assert "members of the ensemble were chosen" not in named
    assert "The members of the ensemble were given" in named
