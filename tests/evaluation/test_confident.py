"""Confident learning against its definition image by image, against cleanlab, and on labels that were changed on purpose."""

from __future__ import annotations

import numpy as np
import pytest
from cleanlab.count import compute_confident_joint, estimate_joint, get_confident_thresholds
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_normalized_margin_for_each_label
from hypothesis import given
from hypothesis import strategies as st

from hemoscope.errors import ShapeError
from hemoscope.evaluation.confident import confident_learning


def drawn(seed: int, *, n: int, n_classes: int, sharpness: float, noise: float):
    """Return probabilities, labels of which some are wrong, and the true classes; every class has an image."""
    rng = np.random.default_rng(seed)
    true = np.concatenate([np.arange(n_classes), rng.integers(n_classes, size=n - n_classes)])
    logits = rng.normal(size=(n, n_classes))
    logits[np.arange(n), true] += sharpness
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    wrong = rng.random(n) < noise
    wrong[:n_classes] = False
    label = np.where(wrong, (true + rng.integers(1, n_classes, n)) % n_classes, true)
    return probs, label, true


DRAWS = st.builds(
    drawn,
    st.integers(0, 2**32),
    n=st.integers(12, 60),
    n_classes=st.integers(2, 6),
    sharpness=st.sampled_from([0.5, 2.0, 4.0]),
    noise=st.sampled_from([0.0, 0.1, 0.4]),
)


@given(DRAWS)
def test_every_part_follows_from_its_definition_image_by_image(draw):
    probs, label, _ = draw
    n, n_classes = probs.shape
    got = confident_learning(probs, label)
    thresholds = [np.mean([probs[i, c] for i in range(n) if label[i] == c]) for c in range(n_classes)]
    joint = np.zeros((n_classes, n_classes), int)
    doubted = {}
    for i in range(n):
        others = max(probs[i, c] for c in range(n_classes) if c != label[i])
        assert got.margin[i] == probs[i, label[i]] - others
        sure = [c for c in range(n_classes) if probs[i, c] >= thresholds[c] - 1e-6]
        if not sure:
            assert got.confident[i] == -1
            continue
        is_of = max(sure, key=lambda c: probs[i, c])
        assert got.confident[i] == is_of
        joint[label[i], is_of] += 1
        if is_of != label[i] and others > probs[i, label[i]]:
            doubted[i] = got.margin[i]
    np.testing.assert_allclose(got.thresholds, thresholds)
    np.testing.assert_array_equal(got.joint, joint)
    assert got.suspects.tolist() == sorted(doubted, key=lambda i: doubted[i])


@given(DRAWS)
def test_estimated_images_of_a_label_are_as_many_as_are_labelled_so(draw):
    probs, label, _ = draw
    got = confident_learning(probs, label)
    np.testing.assert_allclose(got.estimated.sum(axis=1), np.bincount(label, minlength=probs.shape[1]))
    off = got.estimated.sum() - np.trace(got.estimated)
    assert got.share == pytest.approx(off / len(label), abs=1e-12)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("n_classes", "sharpness"), [(2, 2.0), (8, 4.0), (8, 6.0)])
def test_it_agrees_with_cleanlab(seed: int, n_classes: int, sharpness: float):
    probs, label, _ = drawn(seed, n=800, n_classes=n_classes, sharpness=sharpness, noise=0.05)
    got = confident_learning(probs, label)
    np.testing.assert_allclose(got.thresholds, get_confident_thresholds(label, probs))
    np.testing.assert_allclose((got.margin + 1) / 2, get_normalized_margin_for_each_label(label, probs))
    # Of several sure classes cleanlab takes the likeliest of all, the paper the likeliest of the sure ones.
    alike = (got.confident == -1) | (got.confident == probs.argmax(axis=1))
    probs, label = probs[alike], label[alike]
    joint = compute_confident_joint(label, probs, thresholds=got.thresholds, calibrate=False)
    kept = got.confident[alike]
    ours = np.zeros_like(joint)
    np.add.at(ours, (label[kept >= 0], kept[kept >= 0]), 1)
    np.testing.assert_array_equal(ours, joint)


@pytest.mark.parametrize("seed", range(4))
def test_suspects_and_the_estimated_joint_are_those_of_cleanlab_where_networks_are_sure(seed: int):
    probs, label, _ = drawn(seed, n=800, n_classes=8, sharpness=8.0, noise=0.05)
    got = confident_learning(probs, label)
    assert len(got.suspects) > 20
    theirs = find_label_issues(label, probs, filter_by="confident_learning", n_jobs=1)
    np.testing.assert_array_equal(np.sort(got.suspects), np.flatnonzero(theirs))
    joint = estimate_joint(label, probs)  # whose counts are whole
    np.testing.assert_allclose(got.estimated, joint * len(label), atol=1.0)


@pytest.mark.parametrize("noise", [0.01, 0.05, 0.2])
def test_labels_changed_on_purpose_are_found_by_answers_that_are_sure(noise: float):
    probs, label, true = drawn(3, n=4000, n_classes=8, sharpness=14.0, noise=noise)
    got = confident_learning(probs, label)
    assert sorted(got.suspects.tolist()) == np.flatnonzero(label != true).tolist()
    np.testing.assert_array_equal(got.confident[got.suspects], true[got.suspects])


def test_right_labels_of_answers_that_are_all_right_have_no_suspect():
    probs, label, true = drawn(0, n=2000, n_classes=8, sharpness=14.0, noise=0.0)
    assert (probs.argmax(axis=1) == true).all()
    got = confident_learning(probs, label)
    assert len(got.suspects) == 0
    assert got.share == 0


def test_the_estimated_share_is_near_the_true_one_where_a_network_is_as_unsure_of_all():
    probs, label, true = drawn(1, n=20_000, n_classes=5, sharpness=12.0, noise=0.1)
    assert confident_learning(probs, label).share == pytest.approx((label != true).mean(), abs=0.01)


def test_of_a_class_that_is_doubted_as_a_whole_one_image_counts_as_right():
    probs = np.array([[0.1, 0.9], [0.2, 0.8], [0.3, 0.7], [0.3, 0.7], [0.2, 0.8]])
    got = confident_learning(probs, np.array([0, 0, 1, 1, 1]))
    np.testing.assert_array_equal(got.joint, [[0, 2], [2, 1]])
    np.testing.assert_allclose(got.estimated, [[2 / 3, 4 / 3], [2, 1]])


def test_a_class_that_nothing_is_labelled_is_suggested_for_nothing():
    probs = np.array([[0.2, 0.1, 0.7], [0.1, 0.3, 0.6], [0.8, 0.1, 0.1]])
    got = confident_learning(probs, np.array([0, 1, 0]))
    assert np.isnan(got.thresholds[2])
    assert (got.confident != 2).all()
    np.testing.assert_array_equal(got.estimated[2], 0)


def test_what_is_no_answer_is_refused():
    with pytest.raises(ShapeError, match="sum to 1"):
        confident_learning([[0.5, 0.6]], [0])
    with pytest.raises(ShapeError, match=r"target must lie in \[0, 2\)"):
        confident_learning([[0.5, 0.5]], [2])
