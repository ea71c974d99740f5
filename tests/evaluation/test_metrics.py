import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix as sklearn_confusion_matrix
from sklearn.metrics import precision_recall_fscore_support

from hemoscope.errors import ShapeError
from hemoscope.evaluation.metrics import (
    accuracy,
    confusion_matrix,
    macro_mean,
    one_vs_rest,
    precision,
    sensitivity,
    specificity,
)

CLASSES = 4
LABELS = st.integers(0, CLASSES - 1)
# Two of the four classes only: classes without images or without predictions must occur often.
FEW = st.sampled_from([0, 2])
PAIRS = st.one_of(
    st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=40),
    st.lists(st.tuples(FEW, FEW), min_size=1, max_size=10),
    st.lists(st.tuples(FEW, LABELS), min_size=1, max_size=10),
)


def fraction(hits):
    return np.mean(hits) if hits.size else np.nan


@given(PAIRS)
def test_the_confusion_matrix_counts_images_one_by_one(pairs):
    want = [[pairs.count((t, p)) for p in range(CLASSES)] for t in range(CLASSES)]
    target, pred = zip(*pairs, strict=True)
    got = confusion_matrix(target, pred, CLASSES)
    assert got.tolist() == want
    assert got.dtype == np.int64


@given(PAIRS)
def test_rates_agree_with_counting_images_one_by_one(pairs):
    target, pred = np.array(pairs).T
    confusion = confusion_matrix(target, pred, CLASSES)
    for c in range(CLASSES):
        claimed, members, others = target[pred == c], pred[target == c], pred[target != c]
        np.testing.assert_allclose(precision(confusion)[c], fraction(claimed == c), err_msg=f"class {c}")
        np.testing.assert_allclose(sensitivity(confusion)[c], fraction(members == c), err_msg=f"class {c}")
        np.testing.assert_allclose(specificity(confusion)[c], fraction(others != c), err_msg=f"class {c}")
    assert accuracy(confusion) == pytest.approx(np.mean(target == pred))


@given(PAIRS)
def test_rates_agree_with_scikit_learn(pairs):
    target, pred = np.array(pairs).T
    confusion = confusion_matrix(target, pred, CLASSES)
    labels = list(range(CLASSES))
    np.testing.assert_array_equal(confusion, sklearn_confusion_matrix(target, pred, labels=labels))
    want_precision, want_recall, _, support = precision_recall_fscore_support(
        target, pred, labels=labels, zero_division=np.nan
    )
    np.testing.assert_allclose(precision(confusion), want_precision)
    np.testing.assert_allclose(sensitivity(confusion), want_recall)
    np.testing.assert_array_equal(confusion.sum(axis=1), support)


@given(PAIRS)
def test_the_four_counts_of_a_class_share_out_all_images(pairs):
    target, pred = np.array(pairs).T
    tp, fp, fn, tn = one_vs_rest(confusion_matrix(target, pred, CLASSES))
    np.testing.assert_array_equal(tp + fp + fn + tn, len(pairs))
    assert tp.sum() + fp.sum() == tp.sum() + fn.sum() == len(pairs)


@given(PAIRS)
def test_swapping_target_and_pred_swaps_precision_and_sensitivity(pairs):
    target, pred = np.array(pairs).T
    there, back = confusion_matrix(target, pred, CLASSES), confusion_matrix(pred, target, CLASSES)
    np.testing.assert_array_equal(precision(there), sensitivity(back))


def test_rows_are_true_classes_and_columns_predicted_ones():
    assert confusion_matrix([0], [1], 2).tolist() == [[0, 1], [0, 0]]


def test_undefined_rates_are_nan_and_never_zero():
    confusion = np.array([[2, 1, 0], [1, 3, 0], [0, 0, 0]])
    assert np.isnan(precision(confusion)[2])
    assert np.isnan(sensitivity(confusion)[2])
    assert specificity(confusion)[2] == 1.0
    assert np.isnan(specificity(np.array([[5, 1], [0, 0]]))[0])


def test_a_rate_of_zero_stays_zero():
    confusion = np.array([[0, 2], [3, 0]])
    for rate in (precision, sensitivity, specificity):
        assert rate(confusion).tolist() == [0.0, 0.0]
    assert accuracy(confusion) == 0.0


def test_no_images_give_no_rate_at_all():
    confusion = confusion_matrix([], [], 3)
    assert confusion.tolist() == [[0] * 3] * 3
    assert np.isnan(accuracy(confusion))
    for rate in (precision, sensitivity, specificity):
        assert np.isnan(rate(confusion)).all()


def test_a_macro_mean_is_over_the_classes_with_images_and_undefined_where_one_of_them_is():
    assert macro_mean(np.array([0.5, 1.0, 0.75]), np.array([1, 900, 2])) == 0.75
    assert macro_mean(np.array([0.5, 1.0, 0.0]), np.array([1, 2, 0])) == 0.75
    assert np.isnan(macro_mean(np.array([0.5, np.nan]), np.array([1, 1])))
    assert np.isnan(macro_mean(np.array([0.5, 0.5]), np.array([0, 0])))


def test_small_integer_types_do_not_overflow():
    target = np.full(300, 15, dtype=np.uint8)
    assert confusion_matrix(target, target, 16)[15, 15] == 300
    confusion = np.full((2, 2), 200, dtype=np.uint8)
    assert [count.tolist() for count in one_vs_rest(confusion)] == [[200, 200]] * 4


def test_counting_leaves_its_input_alone():
    confusion = np.array([[2, 1], [0, 3]])
    tp, *_ = one_vs_rest(confusion)
    tp[:] = 0
    assert confusion.tolist() == [[2, 1], [0, 3]]


@pytest.mark.parametrize(
    ("target", "pred", "n_classes", "message"),
    [
        ([0, 1], [0], 2, "got 2 targets and 1 predictions"),
        ([0, 2], [0, 1], 2, r"target must lie in \[0, 2\); got 2 at position 1 \(1 of 2 outside\)"),
        ([0, 1], [-1, 1], 2, r"pred must lie in \[0, 2\); got -1 at position 0"),
        ([0.0, 1.0], [0, 1], 2, "target must hold integer class indices; got float64"),
        ([0, 1], [True, False], 2, "pred must hold integer class indices; got bool"),
        (["ig"], [0], 2, "target must hold integer class indices"),
        ([[0, 1]], [[0, 1]], 2, r"shape \(N,\); got shape \(1, 2\)"),
        ([0], [0], 1, "at least 2 classes; got n_classes=1"),
    ],
)
def test_a_confusion_matrix_refuses_what_is_no_list_of_classes(target, pred, n_classes, message):
    with pytest.raises(ShapeError, match=message):
        confusion_matrix(target, pred, n_classes)


@pytest.mark.parametrize(
    ("confusion", "message"),
    [
        (np.zeros((2, 3), dtype=int), r"shape \(C, C\) with C >= 2; got shape \(2, 3\)"),
        (np.zeros((1, 1), dtype=int), r"got shape \(1, 1\)"),
        (np.zeros(4, dtype=int), r"got shape \(4,\)"),
        (np.full((2, 2), 0.5), "holds counts"),
        (np.array([[1, -1], [0, 1]]), "holds counts"),
    ],
)
@pytest.mark.parametrize("metric", [accuracy, precision, sensitivity, specificity, one_vs_rest])
def test_every_metric_refuses_what_is_no_confusion_matrix(metric, confusion, message):
    with pytest.raises(ShapeError, match=message):
        metric(confusion)


@pytest.mark.parametrize("rates", [np.zeros((2, 2)), np.zeros(0), np.zeros(3), np.float64(1)])
def test_a_macro_mean_refuses_anything_but_one_rate_a_class(rates):
    with pytest.raises(ShapeError, match="one rate and one count a class"):
        macro_mean(rates, np.ones(2, dtype=int))
