import json
import shutil
import statistics
from collections import Counter

import numpy as np
import pytest

from hemoscope.comparison.compare import compare
from hemoscope.ensemble.vote import vote
from hemoscope.errors import RunError, UnknownNameError
from hemoscope.paper import ENSEMBLE_MEMBERS
from hemoscope.records import Predictions
from hemoscope.report.collect import collect
from hemoscope.runs import CARD, PREDICTIONS
from hemoscope.training.recipe import ADDED_LATER, Recipe, load_recipe

PAPERS = {"name": "paper", "epochs": 25}
SMALL = (30, 40, 20, 25, 30, 20, 35, 25)


def test_seeds_from_before_and_after_a_new_field_are_one_network(runs):
    """Their names and digests agree; only the cards write more fields."""
    new = Recipe(epochs=6).model_dump()
    old = {name: value for name, value in new.items() if name not in ADDED_LATER}
    runs.add("resnet18", seed=0, recipe=old, test=SMALL)
    runs.add("resnet18", seed=1, recipe=new, test=SMALL)
    runs.add("resnet18", seed=2, recipe=new | {"ema": 0.9}, test=SMALL)
    assert [n.label for n in collect(runs.root).networks] == ["ResNet-18 (ema 0.0)", "ResNet-18 (ema 0.9)"]
    assert [len(n.entries) for n in collect(runs.root).networks] == [2, 1]


def test_the_largest_group_of_one_split_is_reported_and_the_rest_named(runs):
    kept = {runs.add(arch, test=SMALL).name for arch in ("resnet18", "vgg19")}
    other = runs.add("alexnet", test=SMALL, split="b").name
    report = collect(runs.root)
    assert {entry.name for entry in report.entries} == kept
    assert [item.name for item in report.left_out] == [other]
    assert "another split" in report.left_out[0].reason


def test_same_split_but_other_images_is_left_out_with_that_reason(runs):
    for seed in (0, 1):
        runs.add("resnet18", test=SMALL, seed=seed)
    folder = runs.add("vgg19", test=SMALL[::-1])
    card = json.loads((folder / CARD).read_text("utf-8"))
    card["split"]["digest"] = collect(runs.root).data.split_digest
    (folder / CARD).write_text(json.dumps(card), "utf-8")
    (left_out,) = collect(runs.root).left_out
    assert (left_out.name, "other images" in left_out.reason) == (folder.name, True)


def test_one_run_under_several_names_votes_once_and_is_one_seed(runs):
    kept = [runs.add("resnet18", test=SMALL, seed=seed).name for seed in (0, 1)]
    for copy in ("zz-copy", "zz-renamed"):
        shutil.copytree(runs.root / kept[1], runs.root / copy)
    report = collect(runs.root)
    assert [entry.name for entry in report.entries] == kept
    assert [member.name for member in report.ensemble.members] == kept
    told = f"the same run as {kept[1]};"
    assert {item.name: item.reason.startswith(told) for item in report.left_out} == {
        "zz-copy": True,
        "zz-renamed": True,
    }
    for seed in (0, 1):  # as many as the copies, and of other images
        runs.add("vgg19", test=SMALL, seed=seed, split="b")
    runs.add("vgg19", test=SMALL, seed=2, split="b")
    assert {entry.arch for entry in collect(runs.root).entries} == {"vgg19"}


def test_unfinished_failed_and_damaged_runs_are_left_out_with_the_reason(runs):
    runs.add("resnet18", test=SMALL)
    runs.add("vgg11", test=SMALL, done=False)
    runs.add("vgg13", test=SMALL, done=False, status="failed", reason="the loss is NaN in epoch 2")
    (runs.add("vgg16", test=SMALL) / PREDICTIONS).write_bytes(b"damaged")
    card = runs.add("vgg19", test=SMALL) / CARD
    card.write_text(json.dumps(json.loads(card.read_text("utf-8")) | {"split": {"policy": "paper"}}), "utf-8")
    reasons = {item.name.split("-")[0]: item.reason for item in collect(runs.root).left_out}
    assert "not finished" in reasons["vgg11"]
    assert "the loss is NaN in epoch 2" in reasons["vgg13"]
    assert "cannot be read" in reasons["vgg16"]
    assert "lacks split.digest" in reasons["vgg19"]


def test_no_readable_run_is_refused_with_every_reason(runs):
    (runs.add("vgg16", test=SMALL) / PREDICTIONS).write_bytes(b"damaged")
    with pytest.raises(RunError, match=r"at least 1 finished run.*vgg16.*cannot be read"):
        collect(runs.root)


def test_the_best_single_run_is_chosen_on_validation_not_on_test(runs):
    classes, target = ("a", "b"), np.array([0, 1] * 10)

    def side(name: str, wrong: int) -> Predictions:
        pred = np.where(np.arange(20) < wrong, 1 - target, target)
        paths = tuple(f"{name}/{i:02d}" for i in range(20))
        return Predictions(classes, paths, target, np.eye(2)[pred] * 0.8 + 0.1, pred)

    good_on_val = runs.add("resnet18", predictions={"val": side("v", 1), "test": side("t", 5)})
    runs.add("vgg19", predictions={"val": side("v", 4), "test": side("t", 0)})
    assert collect(runs.root).best.name == good_on_val.name


def test_seeds_of_one_recipe_make_one_network_with_mean_and_sample_deviation(runs):
    for seed in (0, 1, 2):
        runs.add("resnet18", test=SMALL, seed=seed, error_rate=0.1)
    (network,) = collect(runs.root).networks
    accuracies = [float(np.mean(e.test.pred == e.test.target)) for e in network.entries]
    assert network.summary.mean[-1] == pytest.approx(statistics.mean(accuracies))
    assert network.summary.sd is not None
    assert network.summary.sd[-1] == pytest.approx(statistics.stdev(accuracies))
    assert [entry.label for entry in network.entries] == [f"ResNet-18, seed {i}" for i in (0, 1, 2)]


def test_recipes_of_one_architecture_are_told_apart_by_what_differs(runs):
    for epochs in (4, 8):
        runs.add("resnet18", test=SMALL, epochs=epochs, name=f"r{epochs}")
    assert {n.label for n in collect(runs.root).networks} == {"ResNet-18 (epochs 4)", "ResNet-18 (epochs 8)"}


def test_recipes_of_other_names_are_told_apart_by_these(runs):
    recipe = {"epochs": 6, "batch_size": 32, "lr": 0.001, "weights": "imagenet"}
    for name in ("paper", "best"):
        runs.add("resnet18", test=SMALL, name=name, recipe={**recipe, "name": name, "lr": len(name) / 1000})
    assert {n.label for n in collect(runs.root).networks} == {
        "ResNet-18 (recipe paper)",
        "ResNet-18 (recipe best)",
    }


def test_runs_of_one_recipe_beside_others_are_told_apart_by_both(runs):
    for i, (name, changes) in enumerate((("paper", []), ("robust", []), ("paper", ["lr=0.01"]))):
        recipe = load_recipe(name, changes).model_dump()
        runs.add("resnet18", test=SMALL, name=f"r{i}", recipe=recipe)
    assert {n.label for n in collect(runs.root).networks} == {
        "ResNet-18 (recipe paper, lr 0.001)",
        "ResNet-18 (recipe paper, lr 0.01)",
        "ResNet-18 (recipe robust)",
    }


def test_networks_come_in_the_order_of_the_papers_table_4_then_by_name(runs):
    for arch in ("wide_resnet50_2", "my_net", "alexnet", "resnet18"):
        runs.add(arch, test=SMALL)
    assert [n.arch for n in collect(runs.root).networks] == [
        "alexnet",
        "resnet18",
        "wide_resnet50_2",
        "my_net",
    ]


@pytest.mark.parametrize("how", ["majority", "soft"])
def test_the_ensembles_errors_are_those_of_a_vote_taken_image_by_image(runs, how):
    for arch in ("resnet18", "vgg19", "alexnet", "vgg11"):
        runs.add(arch, test=SMALL, error_rate=0.3)
    report = collect(runs.root, vote=how)
    assert report.ensemble is not None
    assert report.ensemble_leads
    members = [entry.test for entry in report.ensemble.members]
    wrong: list[tuple[str, str, float]] = []
    tied = 0
    for i, path in enumerate(members[0].paths):
        mean = np.mean([m.probs[i] for m in members], axis=0)
        votes = Counter(int(m.pred[i]) for m in members)
        leaders = [c for c, n in votes.items() if n == max(votes.values())]
        tied += len(leaders) > 1
        said = max(leaders if how == "majority" else range(8), key=lambda c: (mean[c], -c))
        if said != members[0].target[i]:
            wrong.append((path, report.data.classes[said], float(mean[said])))
    assert len(wrong) > 5
    assert tied == report.ensemble.tied > 0
    assert report.ensemble.scores.errors == len(wrong)
    got = [(m.path, m.pred, m.prob) for m in report.mistakes]
    assert [m.prob for m in report.mistakes] == sorted((m.prob for m in report.mistakes), reverse=True)
    assert {g[:2] for g in got} == {w[:2] for w in wrong}
    assert sorted(g[2] for g in got) == pytest.approx(sorted(w[2] for w in wrong), abs=1e-6)
    counts = Counter((m.true, m.pred) for m in report.mistakes)
    assert {(c.true, c.pred): c.count for c in report.confusions} == dict(counts)


def test_auto_takes_the_four_with_the_fewest_validation_errors(runs):
    for rank, arch in enumerate(("alexnet", "vgg11", "vgg13", "vgg16", "vgg19", "resnet18")):
        runs.add(arch, test=SMALL, error_rate=0.05 * (rank + 1))
    report = collect(runs.root)
    assert report.ensemble is not None
    ranked = sorted(report.entries, key=lambda e: (e.val.pred != e.val.target).sum())
    assert {m.name for m in report.ensemble.members} == {e.name for e in ranked[:4]}
    assert "test images played no part" in report.ensemble.chosen


def test_runs_that_were_evaluated_together_vote_as_they_did_there_and_all_of_them(runs):
    for rank, arch in enumerate(("alexnet", "vgg11", "vgg13", "vgg16", "vgg19", "resnet18")):
        together = {"evaluated": {"vote": "soft"}}
        runs.add(arch, test=SMALL, error_rate=0.05 * (rank + 1), **together)
    ensemble = collect(runs.root).ensemble
    assert ensemble is not None
    assert (ensemble.how, len(ensemble.members)) == ("soft", 6)
    assert ensemble.scores.errors == vote([m.test for m in ensemble.members], how="soft").n_errors
    assert "Ensemble of 6, soft" in {one.label for one in compare(runs.root, draws=50).subjects}
    asked = collect(runs.root, vote="majority").ensemble
    assert asked is not None
    assert asked.how == "majority"


def test_named_members_are_runs_or_architectures(runs):
    first = runs.add("resnet18", test=SMALL, seed=0).name
    second = runs.add("resnet18", test=SMALL, seed=1).name
    vgg = runs.add("vgg19", test=SMALL).name
    by_arch = collect(runs.root, members="vgg19, resnet18").ensemble
    by_name = collect(runs.root, members=f"{second},vgg19").ensemble
    assert by_arch is not None
    assert by_name is not None
    assert [m.name for m in by_arch.members] == [vgg, first]
    assert [m.name for m in by_name.members] == [second, vgg]


def test_of_several_recipes_the_papers_own_makes_its_ensemble_and_not_the_first_by_name(runs):
    for arch in ENSEMBLE_MEMBERS:
        runs.add(arch, test=SMALL, name=f"{arch}-a", seed=0, recipe=PAPERS | {"epochs": 3})
        runs.add(arch, test=SMALL, name=f"{arch}-b", seed=1, recipe=PAPERS | {"precision": "fp32"})
        runs.add(arch, test=SMALL, name=f"{arch}-c", seed=2, recipe=PAPERS | {"precision": "fp32"})
    for members in ("paper", ",".join(ENSEMBLE_MEMBERS)):
        ensemble = collect(runs.root, members=members).ensemble
        assert ensemble is not None
        assert [m.name for m in ensemble.members] == [f"{arch}-b" for arch in ENSEMBLE_MEMBERS]
        assert "Not with the paper's recipe" not in ensemble.chosen


@pytest.mark.parametrize("members", ["paper", "vgg19,wide_resnet50_2,resnet34"])
def test_several_recipes_of_which_none_is_the_papers_are_refused_with_the_choices(runs, members):
    for arch in ENSEMBLE_MEMBERS:
        runs.add(arch, test=SMALL, recipe=PAPERS)
    for arch in ("vgg19", "resnet34"):
        shutil.rmtree(next(runs.root.glob(f"{arch}-*")))
        for epochs in (3, 4):
            runs.add(arch, test=SMALL, name=f"{arch}-{epochs}", recipe=PAPERS | {"epochs": epochs})
    with pytest.raises(RunError) as refused:
        collect(runs.root, members=members)
    message = str(refused.value)
    assert "vgg19 was trained in 2 ways and none is the paper's recipe unchanged" in message
    assert "resnet34 was trained in 2 ways" in message
    assert "vgg19-3 (paper, changed: epochs 3 (25)), vgg19-4 (paper, changed: epochs 4 (25))" in message


def test_two_weights_for_the_papers_recipe_are_no_clear_choice(runs):
    for sha256 in ("1" * 64, "2" * 64):
        runs.add("vgg19", test=SMALL, name=f"v{sha256[0]}", recipe=PAPERS, weights={"sha256": sha256})
    runs.add("alexnet", test=SMALL)
    with pytest.raises(RunError, match=r"2 are the paper's recipe unchanged; there are v1 \(paper\), v2"):
        collect(runs.root, members="vgg19,alexnet")


def test_the_papers_architectures_with_one_other_recipe_vote_and_the_difference_is_said(runs):
    for arch in ENSEMBLE_MEMBERS:
        runs.add(arch, test=SMALL, recipe=PAPERS | {"epochs": 3 if arch == "vgg19" else 25})
    ensemble = collect(runs.root, members="paper").ensemble
    assert ensemble is not None
    assert ensemble.chosen.endswith("Not with the paper's recipe: VGG-19: paper, changed: epochs 3 (25).")


def side_with_errors(name: str, wrong: set[int], n: int = 20, sure: float = 0.8) -> Predictions:
    target = np.arange(n) % 2
    pred = np.where(np.isin(np.arange(n), list(wrong)), 1 - target, target)
    probs = np.eye(2)[pred] * (2 * sure - 1) + (1 - sure)
    return Predictions(("a", "b"), tuple(f"{name}/{i:02d}" for i in range(n)), target, probs, pred)


@pytest.mark.parametrize(
    ("val_errors", "ensemble_leads"),
    [
        ([{0}, {1, 2}, {1, 2}], False),  # together 1 and 2 are wrong, the best alone only 0
        ([{0, 1}, {2, 3}, {4, 5}], True),  # together nothing is wrong
        ([{0}, {0}, {0}], False),  # equal in errors and in loss: the single run is simpler
    ],
)
def test_the_headline_is_what_validation_prefers_whatever_test_says(runs, val_errors, ensemble_leads):
    test_errors = [{0, 1, 2}, {3}, {3}] if not ensemble_leads else [{0}, {1, 2}, {1, 2}]
    for arch, on_val, on_test in zip(("resnet18", "vgg19", "alexnet"), val_errors, test_errors, strict=True):
        sides = {"val": side_with_errors("v", on_val), "test": side_with_errors("t", on_test)}
        runs.add(arch, predictions=sides)
    report = collect(runs.root)
    assert report.ensemble is not None
    assert report.ensemble_leads == ensemble_leads
    leader = report.ensemble.scores if ensemble_leads else report.best.scores
    assert report.headline is leader
    assert len(report.mistakes) == sum(c.count for c in report.confusions) == leader.errors
    assert report.judged_label == ("Ensemble of 3" if ensemble_leads else report.best.label)


def test_with_equal_validation_errors_the_lower_log_loss_leads(runs):
    sides = {"test": side_with_errors("t", {0})}
    runs.add("resnet18", predictions=sides | {"val": side_with_errors("v", {0}, sure=0.9)})
    runs.add("vgg19", predictions=sides | {"val": side_with_errors("v", {1}, sure=0.9)})
    report = collect(runs.root, vote="soft")
    assert report.ensemble is not None
    # Of the two images on which they disagree, the tie goes to class a: one of them is wrong.
    assert report.ensemble.val_errors == report.best.val.n_errors == 1
    assert report.ensemble_leads == (report.ensemble.val_loss < report.best.val_loss)
    assert report.ensemble_leads


def test_an_unknown_member_or_vote_is_refused_with_the_close_names(runs):
    for arch in ("resnet18", "vgg19"):
        runs.add(arch, test=SMALL)
    with pytest.raises(UnknownNameError, match="did you mean resnet18"):
        collect(runs.root, members="resnet81,vgg19")
    with pytest.raises(UnknownNameError, match="unknown vote"):
        collect(runs.root, vote="loud")  # pyright: ignore[reportArgumentType]
    with pytest.raises(RunError, match="the paper's ensemble"):
        collect(runs.root, members="paper")


@pytest.mark.parametrize("members", ["auto", "resnet18", "top"])
def test_one_run_makes_no_ensemble_and_says_so(runs, members):
    runs.add("resnet18", test=SMALL)
    report = collect(runs.root, members=members)
    assert report.ensemble is None
    assert "an ensemble of one is that run" in report.no_ensemble
    assert report.headline.errors == report.best.scores.errors


@pytest.mark.parametrize(("how", "pred", "val_errors"), [("majority", "a", 1), ("soft", "b", 0)])
def test_two_hesitant_votes_beat_a_sure_one_only_in_a_majority(runs, how, pred, val_errors):
    for arch, prob_a in (("resnet18", 0.51), ("vgg19", 0.51), ("alexnet", 0.02)):
        probs = np.array([[prob_a, 1 - prob_a]] * 2)
        target, said = np.array([1, 0]), probs.argmax(axis=1)
        sides = {s: Predictions(("a", "b"), ("1.png", "2.png"), target, probs, said) for s in ("val", "test")}
        first = sides["val"].take([0])  # one image of class b
        runs.add(arch, predictions={"val": first, "test": sides["test"]})
    ensemble = collect(runs.root, vote=how).ensemble
    assert ensemble is not None
    assert [ensemble.predictions.classes[c] for c in ensemble.predictions.pred] == [pred, pred]
    assert ensemble.val_errors == val_errors


def test_confusions_come_most_frequent_first_with_their_share_of_the_true_class(runs):
    target = np.array([0] * 10 + [1] * 10)
    pred = np.where(np.isin(np.arange(20), (0, 10, 11, 12)), 1 - target, target)
    paths = tuple(f"{i:02d}.png" for i in range(20))
    said = Predictions(("a", "b"), paths, target, np.eye(2)[pred], pred)
    runs.add("resnet18", predictions={"val": said, "test": said})
    got = [(c.true, c.pred, c.count, c.share) for c in collect(runs.root).confusions]
    assert got == [("b", "a", 3, 0.3), ("a", "b", 1, 0.1)]
