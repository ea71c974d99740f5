"""The parts of an adaptation by themselves: pseudo-labels, batch statistics, the objective, signals, folds."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from hemoscope.adapt.answers import Voted, stand_in
from hemoscope.adapt.batch_norm import norm_layers, recompute, set_momentum
from hemoscope.adapt.fit import set_learning
from hemoscope.adapt.objective import Taught, adaptation_loss
from hemoscope.adapt.plan import fold_of
from hemoscope.adapt.pseudo import PseudoLabels, balanced_weights, drawn, pseudo_labels, smoothed, there
from hemoscope.adapt.recipe import ADAPT, CHECKED_BY, AdaptRecipe, adapt_recipe
from hemoscope.adapt.thresholds import Evidence, thresholds
from hemoscope.adapt.trust import (
    Signals,
    doubts,
    loosened,
    mutual_information,
    neighbourhood_density,
    way_on,
)
from hemoscope.errors import ConfigError, UnknownNameError
from hemoscope.models.build import head_path, skeleton
from hemoscope.models.registry import ARCHITECTURES, Architecture
from hemoscope.training.device import Device

CPU = Device(torch.device("cpu"), "fp32")


class TestPseudoLabels:
    NAMES = ("basophil", "erythroblast", "lymphocyte", "neutrophil")

    def test_a_wrong_answer_among_cells_that_look_alike_is_outvoted(self):
        features = functional.normalize(
            torch.tensor([[1, 0.0], [1, 0.1], [1, 0.2], [0, 1.0], [0.1, 1]]), dim=1
        )
        probs = np.array([[0.2, 0.8], [0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.1, 0.9]])
        mean = (probs[0] + probs[1] + probs[2]) / 3
        np.testing.assert_allclose(smoothed(features, probs, 2)[0], mean)
        np.testing.assert_array_equal(smoothed(features, probs, 0), probs)

    def test_the_surest_share_of_each_class_is_learnt_from_and_at_least_some(self):
        probs = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4], [0.45, 0.55]])
        assert pseudo_labels(probs, [0, 1], share=0.5, least=1).used.tolist() == [
            True,
            True,
            False,
            False,
            True,
        ]
        assert pseudo_labels(probs, [0, 1], share=0.5, least=3).used.tolist() == [
            True,
            True,
            True,
            False,
            True,
        ]

    def test_a_class_that_is_not_there_is_never_given_and_costs_sureness(self):
        probs = np.array([[0.3, 0.6, 0.1], [0.35, 0.0, 0.65], [0.5, 0.0, 0.5]])
        found = pseudo_labels(probs, [0, 2], share=0.5, least=1)
        assert found.target.tolist() == [0, 2, 0]
        assert found.used.tolist() == [False, True, True]

    def test_what_is_common_in_blood_is_there_and_what_is_not_expected_where_it_is_sure(self):
        unsure, sure = np.full((20, 4), 0.25), np.tile(np.array([0.02, 0.94, 0.02, 0.02]), (20, 1))
        assert there(unsure, self.NAMES, sure=0.9) == [2, 3]
        assert there(sure, self.NAMES, sure=0.9) == [1, 2, 3]
        assert there(unsure, self.NAMES, sure=0.9, known=[0]) == [0, 2, 3]
        assert there(unsure, ("a", "b", "c", "d"), sure=0.9) == [0, 1, 2, 3]
        assert there(unsure, ("SNE", "platelet", "Band neutrophils", "b"), sure=0.9) == [0, 2]
        assert there(unsure, ("basophil", "ig", "platelet", "b"), sure=0.9) == [
            0,
            1,
            2,
            3,
        ]  # nothing else would be left

    def test_a_balanced_draw_has_every_class_as_often(self):
        labels = PseudoLabels(np.array([0] * 90 + [1] * 10 + [2]), np.array([True] * 100 + [False]))
        for balance, want in ((1.0, 0.5), (0.0, 0.1)):
            chosen = drawn(labels, 20_000, balance=balance, rng=np.random.default_rng(0))
            assert set(labels.target[chosen]) == {0, 1}
            assert (labels.target[chosen] == 1).mean() == pytest.approx(want, abs=0.02)

    def test_weights_give_every_class_the_same_part(self):
        posterior = np.eye(2)[[0] * 90 + [1] * 10]
        weights = balanced_weights(posterior)
        np.testing.assert_allclose(weights @ posterior, [0.5, 0.5])


class TestBatchNorm:
    @pytest.fixture
    def images(self) -> torch.Tensor:
        return torch.randn(12, 3, 5, 5, generator=torch.Generator().manual_seed(0)) * 3 + 2

    @pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
    def test_a_share_of_the_statistics_is_those_of_the_images(self, images: torch.Tensor, share: float):
        model = nn.Sequential(nn.BatchNorm2d(3))
        recompute(model, images.split(4), share=share, device=CPU)
        means = torch.stack([part.mean(dim=(0, 2, 3)) for part in images.split(4)]).mean(dim=0)
        variances = torch.stack([part.transpose(0, 1).flatten(1).var(dim=1) for part in images.split(4)])
        torch.testing.assert_close(model[0].running_mean, share * means)
        torch.testing.assert_close(model[0].running_var, 1 - share + share * variances.mean(dim=0))
        assert model[0].momentum == 0.1
        assert not model.training
        assert not model[0].training

    def test_layers_that_no_image_reaches_keep_theirs(self, images: torch.Tensor):
        model = nn.Sequential(nn.BatchNorm2d(3))
        model.add_module("aside", nn.BatchNorm2d(3))
        model.aside.running_mean.fill_(7)  # type: ignore[union-attr]
        model.forward = model[0].forward
        recompute(model, [images], share=1.0, device=CPU)
        assert model.aside.running_mean.tolist() == [7, 7, 7]  # type: ignore[union-attr, operator]
        assert model.aside.running_var.tolist() == [1, 1, 1]  # type: ignore[union-attr, operator]

    def test_a_network_without_it_stays_as_it_is(self, images: torch.Tensor):
        model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Dropout())
        before = copy.deepcopy(model.state_dict())
        recompute(model, [images], share=1.0, device=CPU)
        set_momentum(model, 0.02)
        assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


class TestObjective:
    def test_it_is_the_sum_of_two_cross_entropies(self):
        logits = torch.tensor([[2.0, 0.0], [0.5, 1.0], [1.0, 3.0]])
        taught = Taught(torch.tensor([0, 1]), torch.tensor([0]))
        log_p = logits.double().log_softmax(dim=1).numpy()
        e = ADAPT.smoothing
        pseudo = [(1 - e) * log_p[i, i] + e * log_p[i].mean() for i in (0, 1)]
        want = -np.mean(pseudo) - ADAPT.labelled * log_p[2, 0]
        np.testing.assert_allclose(float(adaptation_loss(logits, taught, ADAPT)), want, rtol=1e-5)

    def test_labelled_cells_alone_are_enough(self):
        logits = torch.tensor([[0.0, 0.0]], requires_grad=True)
        loss = adaptation_loss(logits, Taught(torch.zeros(0, dtype=torch.int64), torch.tensor([0])), ADAPT)
        assert float(loss.detach()) == pytest.approx(ADAPT.labelled * np.log(2))


@pytest.mark.slow
@pytest.mark.parametrize("row", ARCHITECTURES, ids=lambda row: row.name)
def test_every_architecture_learns_in_its_normalisation_or_everywhere_but_in_its_head(row: Architecture):
    model = skeleton(row.name, 8)
    head = model.get_submodule(head_path(row, "replace_last"))
    norms = norm_layers(model)
    set_learning(model, head, norm_only=bool(norms), head_learns=False)
    model.train()
    out = model(torch.empty(4, 3, row.input_px, row.input_px, device="meta"))
    logits = out.logits if hasattr(out, "logits") else out
    taught = Taught(
        torch.zeros(4, dtype=torch.int64, device="meta"),
        torch.zeros(0, dtype=torch.int64, device="meta"),
    )
    adaptation_loss(logits, taught, ADAPT).backward()
    assert all(parameter.grad is None for parameter in head.parameters())
    first = next(model.parameters())
    if norms:
        assert all(parameter.grad is not None for parameter in norms[0].parameters())
        assert sum(p.requires_grad for p in model.parameters()) == 2 * len(norms)
    else:
        assert first.grad is not None
    set_learning(model, head, norm_only=False, head_learns=True)
    assert all(parameter.requires_grad for parameter in model.parameters())


class TestSignals:
    good = Signals(500, 0.99, 0.4, 0.6, 0.8, 0.97, 0.1, 1.0, 1.4, 5.0, 4.9)

    def test_a_steady_adaptation_raises_no_doubt(self):
        assert doubts(self.good, ADAPT) == ()

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            ({"seeds_agree": 0.6}, "another seed ends with the same answer for 60.0 % of the cells only"),
            ({"seeds_agree": float("nan")}, "another seed"),
            ({"kept": 0.2}, "only 20.0 % of the answers stayed what they were"),
            ({"information": 0.05}, "hardly differ from cell to cell"),
            ({"sure_before": 0.93}, "sure of these cells (mean probability 93.0 %"),
            ({"density": 5.8}, "falls into no groups: 66.2 % of the other cells"),
            ({"nuclei": 0.1}, "a nucleus is found in 10.0 % of the images only"),
        ],
    )
    def test_each_rule_says_what_it_holds_against_it(self, change: dict[str, float], why: str):
        (reason,) = doubts(replace(self.good, **change), ADAPT)
        assert why in reason

    def test_what_to_do_next_follows_from_what_is_held_against_it(self):
        assert "Ten labelled cells" in way_on(replace(self.good, kept=0.2), ADAPT)
        assert "More labelled cells" in way_on(replace(self.good, kept=0.2, labelled_cells=3), ADAPT)
        assert "Use it as it is" in way_on(replace(self.good, sure_before=0.93), ADAPT)
        for no_cells in ({"nuclei": 0.1}, {"information": 0.05}):
            assert way_on(replace(self.good, **no_cells), ADAPT) == ""

    def test_other_rules_than_the_usual_are_told_with_what_those_hold_against_it(self):
        assert loosened(self.good, ADAPT) == ""
        loose = adapt_recipe(least_kept=0.1)
        told = "It was written by other rules than the usual ones: least_kept 0.1 in place of 0.5."
        assert loosened(self.good, loose) == told
        against = loosened(replace(self.good, kept=0.2), loose)
        assert against.startswith(f"{told} By those it is not to be trusted: only 20.0 % of the answers")

    def test_enough_labels_of_several_classes_decide(self):
        labels = {"labelled_before": 0.5, "labelled": 0.9, "labelled_won": 9, "labelled_lost": 1}
        better = replace(self.good, seeds_agree=0.1, labelled_cells=20, labelled_classes=2, **labels)
        assert doubts(better, ADAPT) == ()
        for change in ({"labelled_cells": 19}, {"labelled_classes": 1}):
            (reason,) = doubts(replace(better, **change), ADAPT)
            assert reason.startswith("another seed ends with the same answer for 10.0 %")
        for change in ({"nuclei": 0.1}, {"information": 0.0}):  # no cells, or one answer to all
            assert len(doubts(replace(better, **change), ADAPT)) == 1
        same = {"labelled_before": (0.1 + 0.2 + 0.3) / 3, "labelled": (0.3 + 0.2 + 0.1) / 3}
        assert same["labelled"] < same["labelled_before"]  # by rounding alone
        assert doubts(replace(better, **same), ADAPT) == ()
        (reason,) = doubts(replace(better, labelled_before=0.9, labelled=0.5), ADAPT)
        assert "on 20 labelled cells" in reason
        assert "is 50.0 % and was 90.0 %: 1 that were right are wrong, 9 the other way round" in reason

    def test_answers_that_are_all_alike_say_nothing_of_the_cells(self):
        assert mutual_information(np.full((10, 4), 0.25)) == pytest.approx(0)
        assert mutual_information(np.eye(4)) == pytest.approx(np.log(4))

    def test_density_is_the_entropy_of_the_neighbours(self):
        same = functional.normalize(torch.ones(5, 3), dim=1)
        assert neighbourhood_density(same) == pytest.approx(np.log(4))
        pairs = torch.eye(3).repeat_interleave(2, dim=0)  # each cell has one neighbour
        assert neighbourhood_density(pairs) == pytest.approx(0, abs=1e-5)


def test_an_answer_counts_as_wrong_wherever_any_other_seed_contradicts_it():
    pred = np.array([0, 1, 2, 0])
    found = stand_in(pred, [np.array([0, 1, 2, 1]), np.array([0, 0, 2, 2])])
    assert (found != pred).tolist() == [False, True, False, True]


def test_folds_hold_every_class_evenly_and_are_of_one_size():
    target = np.repeat([0, 1, 2], [10, 7, 4])
    fold = fold_of(target, 3, seed=1)
    sizes = np.array([np.bincount(fold[target == c], minlength=3) for c in range(3)])
    assert (np.ptp(sizes, axis=1) <= 1).all()
    assert np.ptp(sizes.sum(axis=0)) <= 1


def test_a_recipe_is_changed_in_its_own_fields_and_in_those_that_are_learnt_by():
    recipe = adapt_recipe(["epochs=6"], first=0.4)
    assert (recipe.training.epochs, recipe.first) == (6, 0.4)
    assert recipe.model_copy(update={"training": ADAPT.training, "first": ADAPT.first}) == ADAPT


def test_labels_and_normalisation_alone_have_paces_of_their_own():
    assert ADAPT.for_norm().training.lr == pytest.approx(ADAPT.norm_lr * ADAPT.training.lr)
    labelled = ADAPT.with_labels()
    assert (labelled.training.epochs, labelled.memory) == (ADAPT.labelled_epochs, 0)
    assert labelled.training.lr == pytest.approx(ADAPT.labelled_lr * ADAPT.training.lr)


def test_what_has_no_effect_where_there_are_labels_is_refused():
    assert adapt_recipe(["labelled_epochs=6", "lr=0.01"], with_labels=True).labelled_epochs == 6
    with pytest.raises(ConfigError, match=r"epochs, memory are for cells without labels.*labelled_epochs"):
        adapt_recipe(["epochs=6", "memory=0.5"], with_labels=True)
    assert adapt_recipe(labelled=3.0, with_labels=True).labelled == 3.0  # a field of it


def test_what_has_no_effect_where_there_are_none_is_refused():
    with pytest.raises(ConfigError, match=r"folds, labelled_epochs are for labelled cells.*--labelled"):
        adapt_recipe(["labelled_epochs=6", "folds=5", "epochs=3"])


def test_a_checkpoint_is_of_all_fields_that_a_fit_follows_from():
    """Whoever adds a field to the recipe says whether a fit follows from it."""
    assert {*AdaptRecipe.model_fields} - CHECKED_BY == {
        *(
            "training",
            "bn",
            "bn_rounds",
            "bn_momentum",
            "prior",
            "learns",
            "norm_lr",
            "turns",
            "memory",
            "neighbours",
            "first",
            "last",
        ),
        *(
            "least",
            "balance",
            "sure",
            "smoothing",
            "labelled_epochs",
            "labelled_lr",
            "labelled",
            "labelled_batch",
            "folds",
        ),
    }


def test_few_labels_without_an_error_make_no_probability_surer_than_it_is():
    rng = np.random.default_rng(0)
    probs = rng.dirichlet([6.0, 1.0, 1.0], 400)
    probs = np.sort(probs, axis=1)[:, ::-1]  # every cell is of class 0 and called so
    pred, target = np.zeros(400, np.int64), np.where(np.arange(400) < 320, 0, -1)
    said = Voted(pred, probs)
    found = Evidence(("a", "b", "c"), said, [pred], None, np.ones(400, bool), target, said, {})
    trust, by_labels = thresholds(found, ADAPT)
    assert by_labels
    assert trust.temperature == 1


def test_labels_that_are_enough_to_say_no_are_heard():
    """One of the surest is wrong: no threshold keeps 1 %, whatever other seeds make of the cells without a label."""
    rng = np.random.default_rng(0)
    probs = np.sort(rng.dirichlet([6.0, 1.0, 1.0], 800), axis=1)[:, ::-1]
    pred, target = np.zeros(800, np.int64), np.where(np.arange(800) < 400, 0, -1)
    target[probs[:400, 0].argmax()] = 1
    said, sure = Voted(pred, probs), np.ones(800, bool)
    trust, by_labels = thresholds(
        Evidence(("a", "b", "c"), said, [pred], None, sure, target, said, {}), ADAPT
    )
    assert by_labels
    assert trust.review_below is None
    few = np.where(np.arange(800) < 200, target, -1)
    trust, by_labels = thresholds(Evidence(("a", "b", "c"), said, [pred], None, sure, few, said, {}), ADAPT)
    assert not by_labels
    assert trust.review_below is not None


def test_where_every_labelled_cell_is_unknown_all_are_for_review():
    probs = np.tile([0.8, 0.1, 0.1], (400, 1))
    pred, target = np.zeros(400, np.int64), np.where(np.arange(400) < 2, 0, -1)
    distance = np.where(target == 0, 9.0, np.linspace(0.1, 0.2, 400))
    said = Voted(pred, probs)
    found = Evidence(("a", "b", "c"), said, [pred], distance, np.arange(400) >= 2, target, said, {})
    trust, by_labels = thresholds(found, ADAPT)
    assert not by_labels
    assert trust.unknown_above is not None


def test_every_value_that_does_not_hold_is_told_at_once():
    with pytest.raises(ConfigError, match=r"(?s)epochs: .*got 0.*last: .*got 2"):
        adapt_recipe(["epochs=0", "last=2"])
    with pytest.raises(UnknownNameError, match="aux_weight"):
        adapt_recipe(["aux_weight=1"])  # of training, and nothing here would ask for it
    with pytest.raises(ConfigError, match="KEY=VALUE"):
        adapt_recipe(["epochs"])
