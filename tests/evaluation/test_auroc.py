"""The macro AUROC against scikit-learn, and its draws against drawing images one by one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from hemoscope.evaluation.auroc import macro_auroc


def drawn(seed: int, n: int = 90, scale: float = 3.0, digits: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    target = np.concatenate([np.arange(3), rng.integers(0, 3, n - 3)])
    logits = rng.normal(size=(n, 3))
    logits[np.arange(n), target] += scale
    return softmax(logits, axis=1).round(digits), target


def by_hand(probs: np.ndarray, target: np.ndarray) -> float:
    return float(np.mean([roc_auc_score(target == c, probs[:, c]) for c in np.unique(target)]))


@pytest.mark.parametrize("digits", [6, 1])  # with one digit most tie
@pytest.mark.parametrize("seed", range(4))
def test_the_area_is_scikit_learns(seed: int, digits: int):
    probs, target = drawn(seed, scale=1.5, digits=digits)
    assert macro_auroc(probs, target, draws=10).value == pytest.approx(by_hand(probs, target))


@pytest.mark.parametrize("digits", [6, 1])
def test_the_draws_are_those_of_images_drawn_within_their_classes(
    digits: int, monkeypatch: pytest.MonkeyPatch
):
    probs, target = drawn(1, digits=digits)
    rng = np.random.default_rng(0)
    each = []
    for _ in range(500):
        taken = np.concatenate(
            [rng.choice(np.flatnonzero(target == c), (target == c).sum()) for c in range(3)]
        )
        each.append(by_hand(probs[taken], target[taken]))
    seen: list[np.ndarray] = []
    monkeypatch.setattr("hemoscope.evaluation.auroc.bca", lambda _, draws, *__, **___: seen.append(draws))
    macro_auroc(probs, target, draws=6000)
    ours = seen[0]
    error = np.std(each) / np.sqrt(500)
    assert ours.mean() == pytest.approx(np.mean(each), abs=4 * error)
    assert ours.std() == pytest.approx(np.std(each), rel=0.15)
    assert np.quantile(ours, [0.05, 0.95]) == pytest.approx(np.quantile(each, [0.05, 0.95]), abs=8 * error)


def test_the_influence_is_what_the_area_loses_without_an_image(monkeypatch: pytest.MonkeyPatch):
    probs, target = drawn(2, n=240)
    seen: list[np.ndarray] = []
    monkeypatch.setattr(
        "hemoscope.evaluation.auroc.bca", lambda _, __, influence, **___: seen.append(influence)
    )
    macro_auroc(probs, target, draws=10)
    value = by_hand(probs, target)
    loss = [value - by_hand(np.delete(probs, i, 0), np.delete(target, i)) for i in range(240)]
    assert np.corrcoef(seen[0], loss)[0, 1] > 0.999
    n = np.bincount(target)[target]
    np.testing.assert_allclose(seen[0], (n - 1) / n * np.array(loss), atol=0.03 * np.ptp(loss))


def test_a_perfect_order_has_no_interval_and_one_class_no_area():
    probs, target = drawn(0, scale=50)
    assert macro_auroc(probs, target).value == 1
    assert np.isnan(macro_auroc(probs, target).low)
    assert np.isnan(macro_auroc(probs, np.zeros(len(target), int)).value)


def test_a_class_without_images_is_left_out():
    probs, target = drawn(3, scale=1.5)
    kept = target != 1
    assert macro_auroc(probs[kept], target[kept], draws=10).value == pytest.approx(
        np.mean([roc_auc_score(target[kept] == c, probs[kept][:, c]) for c in (0, 2)])
    )
