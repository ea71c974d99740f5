import inspect
import itertools
import math
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hemoscope.ensemble.vote as vote_module
from hemoscope.ensemble.choose import MAX_SUBSETS, choose_members, paper_members
from hemoscope.ensemble.vote import align, vote
from hemoscope.errors import ConfigError, RunError, UnknownNameError
from hemoscope.paper import ENSEMBLE_MEMBERS
from hemoscope.records import Predictions

CLASSES = ("basophil", "ig", "neutrophil")
HOWS = ("majority", "soft")
STRATEGIES = ("top", "greedy", "exhaustive")


def member(probs, target, pred=None, paths=None, classes=CLASSES):
    probs = np.asarray(probs, dtype=np.float64).reshape(len(target), len(classes))
    return Predictions(
        classes=tuple(classes),
        paths=tuple(paths or (f"{i:03}.jpg" for i in range(len(target)))),
        target=np.array(target, dtype=np.int64),
        probs=probs,
        pred=probs.argmax(axis=1) if pred is None else np.array(pred, dtype=np.int64),
    )


# Sixteenths: means tie often, and fractions.Fraction gives the exact answer.
SIXTEENTHS = st.tuples(st.integers(0, 16), st.integers(0, 16)).map(
    lambda cut: [min(cut) / 16, abs(cut[1] - cut[0]) / 16, 1 - max(cut) / 16]
)


@st.composite
def members(draw, max_members=5, max_images=6):
    n = draw(st.integers(1, max_images))
    classes = st.integers(0, 2)
    target = draw(st.lists(classes, min_size=n, max_size=n))
    rows = st.lists(SIXTEENTHS, min_size=n, max_size=n)
    said = st.one_of(st.none(), st.lists(classes, min_size=n, max_size=n))
    return [member(draw(rows), target, draw(said)) for _ in range(draw(st.integers(1, max_members)))]


def vote_by_definition(pool, how):
    """Return (mean, pred) of each image in exact arithmetic, one image at a time."""
    answer = []
    for i in range(len(pool[0])):
        mean = [sum(Fraction(m.probs[i, c]) for m in pool) / len(pool) for c in range(3)]
        count = [sum(int(m.pred[i]) == c for m in pool) if how == "majority" else 0 for c in range(3)]
        answer.append((mean, min(range(3), key=lambda c: (-count[c], -mean[c], c))))
    return answer


def value_by_definition(pool, how):
    """Return (errors, log-loss) of an ensemble in exact arithmetic up to the logarithm."""
    target = pool[0].target
    answer = vote_by_definition(pool, how)
    errors = sum(pred != t for (_, pred), t in zip(answer, target, strict=True))
    losses = [-math.log(max(mean[t], 1e-15)) for (mean, _), t in zip(answer, target, strict=True)]
    return errors, math.fsum(losses) / len(losses)


@given(members(), st.sampled_from(HOWS))
def test_a_vote_agrees_with_its_definition_image_by_image(pool, how):
    got = vote(pool, how=how)
    for i, (mean, pred) in enumerate(vote_by_definition(pool, how)):
        assert got.pred[i] == pred, f"image {i}"
        np.testing.assert_allclose(got.probs[i], [float(p) for p in mean], atol=1e-14)
    np.testing.assert_array_equal(got.target, pool[0].target)


@given(members(), st.sampled_from(HOWS), st.integers(1, 40))
def test_a_vote_in_blocks_of_images_is_the_same_vote(pool, how, in_hand):
    want = vote(pool, how=how)
    chosen = {s: choose_members(named(pool), strategy=s, how=how, size=3) for s in STRATEGIES}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vote_module, "_IN_HAND", in_hand)
        got = vote(pool, how=how)
        again = {s: choose_members(named(pool), strategy=s, how=how, size=3) for s in STRATEGIES}
    for name in ("target", "probs", "pred"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name), err_msg=name)
    assert again == chosen


def test_a_vote_holds_no_more_than_a_block_of_all_members_at_once():
    n, classes, k = 40_000, 64, 6
    rng = np.random.default_rng(0)
    names = [f"class {c}" for c in range(classes)]
    pool = [
        member(rng.random((n, classes)), [0] * n, classes=names, paths=[f"{i:06}" for i in range(n)])
        for _ in range(k)
    ]
    one = 8 * n * classes
    tracemalloc.start()
    vote(pool)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < one + 0.5 * k * one, "the answer, and less than half of what all members hold"


@pytest.mark.parametrize("how", HOWS)
def test_exhaustive_choice_holds_no_more_than_a_block_of_all_candidates_at_once(how):
    n, classes, k = 4_000, 64, 5
    rng = np.random.default_rng(0)
    names = [f"class {c}" for c in range(classes)]
    paths = [f"{i:06}" for i in range(n)]
    pool = [member(rng.random((n, classes)), [0] * n, classes=names, paths=paths) for _ in range(k)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vote_module, "_IN_HAND", 2**14)
        tracemalloc.start()
        choose_members(named(pool), strategy="exhaustive", size=2, how=how)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 0.5 * k * 8 * n * classes, "less than half of what all candidates hold"


@given(st.data(), st.sampled_from(HOWS))
def test_the_order_of_members_and_of_images_does_not_matter(data, how):
    pool = data.draw(members(max_members=6))
    shuffled = [m.take(data.draw(st.permutations(range(len(m))))) for m in data.draw(st.permutations(pool))]
    want, got = vote(pool, how=how), vote(shuffled, how=how)
    assert got.paths == want.paths
    for name in ("target", "probs", "pred"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name), err_msg=name)


@pytest.mark.parametrize("how", HOWS)
def test_the_order_of_members_does_not_matter_where_floating_sums_depend_on_it(how):
    assert 0.1 + 0.2 + 0.3 != 0.3 + 0.2 + 0.1
    columns = np.array([[0.1, 0.3, 0.6], [0.2, 0.2, 0.6], [0.3, 0.1, 0.6], [0.4, 0.4, 0.2]])
    pool = [member([row], [0], pred=[i % 2]) for i, row in enumerate(columns)]
    outcomes = {
        (tuple(got.probs[0]), int(got.pred[0]))
        for order in itertools.permutations(pool)
        for got in [vote(order, how=how)]
    }
    assert len(outcomes) == 1


@given(members(max_members=1), st.sampled_from(HOWS))
def test_an_ensemble_of_one_is_its_member(pool, how):
    got = vote(pool, how=how)
    np.testing.assert_array_equal(got.probs, pool[0].probs)
    np.testing.assert_array_equal(
        got.pred, pool[0].pred if how == "majority" else pool[0].probs.argmax(axis=1)
    )
    assert got.paths == pool[0].paths


def test_an_ensemble_of_one_float32_network_keeps_its_probabilities():
    logits = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32) * 4
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert probs.dtype == np.float32
    got = vote([member(probs, [0] * 200)]).probs
    large = probs >= 3e-8
    assert 0 < np.count_nonzero(~large) < 10
    np.testing.assert_array_equal(got[large], probs[large])
    np.testing.assert_allclose(got, probs, rtol=0, atol=2.0**-48)


def test_a_majority_overrules_one_confident_member():
    pool = [member([p], [1]) for p in ([0.98, 0.02, 0], [0.4, 0.6, 0], [0.4, 0.6, 0])]
    assert vote(pool).pred.tolist() == [1]
    assert vote(pool, how="soft").pred.tolist() == [0]


def test_two_against_two_goes_to_the_larger_mean_probability():
    pool = [member([p], [1]) for p in ([0.6, 0.4, 0], [0.6, 0.4, 0], [0.1, 0.9, 0], [0.1, 0.9, 0])]
    assert vote(pool).pred.tolist() == [1]


def test_a_tie_never_goes_to_a_class_outside_it():
    # Class 2 has the largest mean, 0.44, but one vote; 0 and 1 have two each.
    rows = ([0.5, 0.05, 0.45], [0.5, 0.05, 0.45], [0.05, 0.5, 0.45], [0.0, 0.55, 0.45], [0.3, 0.3, 0.4])
    pool = [member([row], [0], pred=[said]) for row, said in zip(rows, (0, 0, 1, 1, 2), strict=True)]
    got = vote(pool)
    assert got.probs.argmax() == 2
    assert got.pred.tolist() == [1]


def test_a_tie_in_votes_and_means_goes_to_the_lowest_index():
    pool = [member([[0.25, 0, 0.75]], [0]), member([[0.75, 0, 0.25]], [0])]
    for order in (pool, pool[::-1]):
        assert vote(order).pred.tolist() == [0]
        assert vote(order, how="soft").pred.tolist() == [0]


def test_a_class_nobody_votes_for_cannot_win_at_probability_zero():
    pool = [member([[1.0, 0, 0]], [2], pred=[2]), member([[1.0, 0, 0]], [2], pred=[2])]
    assert vote(pool).pred.tolist() == [2]  # the votes decide, even against the probabilities


def test_aligned_members_share_paths_in_order():
    one = member([[1, 0, 0], [0, 1, 0]], [0, 1], paths=["b.jpg", "a.jpg"])
    two = member([[0, 1, 0], [1, 0, 0]], [1, 0], paths=["a.jpg", "b.jpg"])
    first, second = align([one, two])
    assert first.paths == second.paths == ("a.jpg", "b.jpg")
    np.testing.assert_array_equal(first.probs, second.probs)
    assert first.target.tolist() == [1, 0]


def test_members_with_missing_images_are_all_named():
    row = [0.5, 0.5, 0]
    pool = [
        member([row] * 3, [0] * 3, paths=["a", "b", "c"]),
        member([row] * 1, [0] * 1, paths=["b"]),
        member([row] * 3, [0] * 3, paths=["b", "c", "d"]),
    ]
    with pytest.raises(RunError) as caught:
        vote(pool, names=["vgg19", "resnet34", "alexnet"])
    for part in (
        "vgg19 lacks 1 of 4, for example 'd'",
        "resnet34 lacks 3 of 4, for example 'a'",
        "alexnet lacks 1 of 4, for example 'a'",
        "share one split",
    ):
        assert part in str(caught.value)


def test_members_that_disagree_about_the_truth_are_refused_with_an_example():
    pool = [member([[1, 0, 0]] * 3, [0, 1, 2]), member([[1, 0, 0]] * 3, [0, 2, 1])]
    with pytest.raises(
        RunError, match=r"member 2 and member 1 differ on 2 of 3 .* '001\.jpg': neutrophil against ig"
    ):
        align(pool)


def test_members_of_other_classes_are_refused():
    pool = [member([[1, 0, 0]], [0]), member([[1, 0, 0]], [0], classes=("ig", "basophil", "neutrophil"))]
    with pytest.raises(
        RunError, match="member 2 knows ig, basophil, neutrophil and member 1 knows basophil, ig"
    ):
        align(pool)


def test_an_image_predicted_twice_is_refused():
    with pytest.raises(RunError, match="vgg19 must predict every image once; it holds 'a' more than once"):
        align([member([[1, 0, 0]] * 3, [0] * 3, paths=["b", "a", "a"])], names=["vgg19"])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -0.1, 1.5])
def test_what_is_no_probability_is_refused(bad):
    with pytest.raises(RunError, match="member 1 must hold probabilities from 0 to 1"):
        align([member([[bad, 0, 0]], [0])])


@pytest.mark.parametrize(("target", "pred"), [([3], [0]), ([0], [3]), ([-1], [0]), ([0], [-1])])
def test_class_indices_out_of_range_are_refused(target, pred):
    with pytest.raises(RunError, match="class indices below 3"):
        align([member([[1, 0, 0]], target, pred)])


def test_an_ensemble_of_nobody_is_refused():
    for refuse in (lambda: align([]), lambda: vote([]), lambda: choose_members({}, strategy="top")):
        with pytest.raises(RunError, match="at least 1 member; got none"):
            refuse()


def test_unknown_votes_and_strategies_are_refused_with_the_known_ones():
    one = member([[1, 0, 0]], [0])
    with pytest.raises(UnknownNameError, match=r"unknown vote 'hard'.*Known: majority, soft"):
        vote([one], how="hard")
    with pytest.raises(UnknownNameError, match="unknown vote 'hard'"):
        choose_members({"a": one}, strategy="top", how="hard")
    with pytest.raises(UnknownNameError, match="unknown member selection 'gredy'; did you mean greedy"):
        choose_members({"a": one}, strategy="gredy")


# Choosing -----------------------------------------------------------------------------------------


def named(pool):
    return {f"run{i}": m for i, m in enumerate(pool)}


def subsets(val, size):
    return [s for m in range(1, min(size, len(val)) + 1) for s in itertools.combinations(sorted(val), m)]


@given(members(max_members=5, max_images=8), st.integers(1, 5), st.sampled_from(HOWS))
def test_exhaustive_choice_is_the_best_of_all_subsets(pool, size, how):
    val = named(pool)
    values = {s: value_by_definition([val[n] for n in s], how) for s in subsets(val, size)}
    got = choose_members(val, strategy="exhaustive", size=size, how=how)
    fewest = min(errors for errors, _ in values.values())
    lowest = min(loss for errors, loss in values.values() if errors == fewest)
    # Losses nearer than rounding are one loss; among those fewer members, then earlier names.
    tied = [s for s, (errors, loss) in values.items() if errors == fewest and loss < lowest + 1e-10]
    assert got.members == min(tied, key=lambda s: (len(s), s))
    assert got.val_errors == fewest
    assert got.val_log_loss == pytest.approx(lowest, abs=1e-10)
    assert got.n_considered == len(values)


@given(members(max_members=5, max_images=8), st.integers(1, 5), st.sampled_from(HOWS))
def test_top_choice_ranks_single_members(pool, size, how):
    val = named(pool)

    def rank(name):
        errors, loss = value_by_definition([val[name]], how)
        return errors, round(loss, 10), name

    got = choose_members(val, strategy="top", size=size, how=how)
    assert got.members == tuple(sorted(val, key=rank)[:size])
    errors, loss = value_by_definition([val[n] for n in got.members], how)
    assert (got.val_errors, got.n_considered) == (errors, len(val))
    assert got.val_log_loss == pytest.approx(loss, abs=1e-10)


@given(members(max_members=5, max_images=8), st.integers(1, 5), st.sampled_from(HOWS))
def test_greedy_choice_adds_whoever_helps_most_until_nobody_does(pool, size, how):
    val = named(pool)
    chosen, best, tried = [], (math.inf, math.inf), 0
    while len(chosen) < min(size, len(val)):
        trials = []
        for name in sorted(set(val) - set(chosen)):
            errors, loss = value_by_definition([val[n] for n in (*chosen, name)], how)
            trials.append(((errors, round(loss, 10)), name))
        tried += len(trials)
        value, name = min(trials)
        if value >= best:
            break
        chosen.append(name)
        best = value
    got = choose_members(val, strategy="greedy", size=size, how=how)
    assert got.members == tuple(chosen)
    assert got.val_errors == best[0]
    assert got.n_considered == tried


@given(members(max_members=5), st.sampled_from(STRATEGIES), st.sampled_from(HOWS))
def test_the_announced_validation_errors_are_those_of_the_vote(pool, strategy, how):
    val = named(pool)
    got = choose_members(val, strategy=strategy, size=3, how=how)
    assert got.val_errors == vote([val[n] for n in got.members], how=how).n_errors
    assert (got.strategy, got.how) == (strategy, how)


@given(st.data(), st.sampled_from(STRATEGIES))
def test_the_order_of_the_runs_does_not_matter_to_the_choice(data, strategy):
    val = named(data.draw(members()))
    again = {name: val[name] for name in data.draw(st.permutations(list(val)))}
    assert choose_members(again, strategy=strategy) == choose_members(val, strategy=strategy)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_twins_tie_and_the_earlier_name_wins(strategy):
    rows, target = [[0.7, 0.2, 0.1], [0.3, 0.6, 0.1]], [0, 1]
    val = {name: member(rows, target) for name in ("c", "a", "b")}
    assert choose_members(val, strategy=strategy, size=1).members == ("a",)


@pytest.mark.parametrize("strategy", ["greedy", "exhaustive"])
def test_a_twin_adds_nothing_and_stays_out(strategy):
    rows, target = [[0.7, 0.2, 0.1], [0.3, 0.6, 0.1]], [0, 1]
    val = {name: member(rows, target) for name in "abc"}
    assert choose_members(val, strategy=strategy, size=3).members == ("a",)


def test_one_member_goes_before_two_with_earlier_names_that_do_as_well():
    # The mean of a and b is c, image by image.
    a = [[0.75, 0.0, 0.25], [0.25, 0.5, 0.25]]
    b = [[0.25, 0.5, 0.25], [0.75, 0.0, 0.25]]
    c = [[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]]
    val = {name: member(rows, [0, 0]) for name, rows in (("a", a), ("b", b), ("c", c))}
    assert value_by_definition([val["a"], val["b"]], "majority") == value_by_definition(
        [val["c"]], "majority"
    )
    assert choose_members(val, strategy="exhaustive").members == ("c",)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_log_losses_that_differ_by_rounding_alone_are_a_tie(strategy):
    rng = np.random.default_rng(1)
    true = rng.uniform(0.5, 1, 300)
    rows = np.stack([true, 1 - true, np.zeros(300)], axis=1)
    for _ in range(10):  # the same losses, added in another order
        there, back = member(rows, [0] * 300), member(rng.permutation(rows), [0] * 300)
        assert choose_members({"a": there, "b": back}, strategy=strategy, size=1).members == ("a",)
        assert choose_members({"a": back, "b": there}, strategy=strategy, size=1).members == ("a",)


def test_log_loss_decides_among_equal_errors():
    unsure, sure = [[0.5, 0.4, 0.1]], [[0.9, 0.1, 0.0]]
    val = {"a": member(unsure, [0]), "b": member(sure, [0])}
    got = choose_members(val, strategy="top", size=1)
    assert got.members == ("b",)
    assert got.val_log_loss == pytest.approx(-math.log(0.9))


def test_a_certain_mistake_costs_a_finite_log_loss():
    got = choose_members({"a": member([[1.0, 0, 0]], [2])}, strategy="top")
    assert got.val_errors == 1
    assert got.val_log_loss == pytest.approx(-math.log(1e-15))


def test_exhaustive_search_finds_three_weak_members_that_the_best_one_hides_from_greedy():
    # a, b and c fail on different images; d fails less often than each, once with each of them.
    target = [0] * 12
    right, wrong, worse = [0.5625, 0.4375, 0], [0.4375, 0.5625, 0], [0.0, 1.0, 0]

    def failing_on(images, how_badly):
        return member([how_badly if i in images else right for i in range(12)], target)

    val = {
        "a": failing_on({0, 1, 2, 3}, wrong),
        "b": failing_on({4, 5, 6, 7}, wrong),
        "c": failing_on({8, 9, 10, 11}, wrong),
        "d": failing_on({0, 4, 8}, worse),
    }
    exhaustive = choose_members(val, strategy="exhaustive", size=3)
    assert (exhaustive.members, exhaustive.val_errors) == (("a", "b", "c"), 0)
    greedy = choose_members(val, strategy="greedy", size=3)
    assert (greedy.members[0], greedy.val_errors) == ("d", 2)
    assert choose_members(val, strategy="top", size=2).members[0] == "d"


@pytest.mark.parametrize("how", HOWS)
def test_a_choice_over_many_candidates_agrees_with_voting_each_subset(how):
    rng = np.random.default_rng(3)
    target = rng.integers(0, 3, 60)
    val = {}
    for k in range(9):
        logits = rng.normal(size=(60, 3))
        logits[np.arange(60), target] += 1.5
        probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        val[f"run{k}"] = member(probs.astype(np.float32), target)
    got = choose_members(val, strategy="exhaustive", size=4, how=how)
    errors = {s: vote([val[n] for n in s], how=how).n_errors for s in subsets(val, 4)}
    assert got.val_errors == errors[got.members] == min(errors.values())
    assert got.n_considered == len(errors) == 9 + 36 + 84 + 126


def test_a_search_too_large_is_refused_with_the_size_that_fits():
    one = member([[1.0, 0, 0]], [0])
    val = {f"run{i:02}": one for i in range(60)}
    assert math.comb(60, 5) > MAX_SUBSETS > sum(math.comb(60, m) for m in range(1, 5))
    with pytest.raises(ConfigError) as caught:
        choose_members(val, strategy="exhaustive", size=5)
    total = sum(math.comb(60, m) for m in range(1, 6))
    assert f"60 runs up to size 5 make {total:,}" in str(caught.value)
    assert "size at most 4, fewer runs, or strategy greedy" in str(caught.value)


def test_selection_cannot_see_a_test_side():
    parameters = inspect.signature(choose_members).parameters
    assert list(parameters) == ["val", "strategy", "size", "how"]


@pytest.mark.parametrize("size", [0, -1])
def test_an_ensemble_of_no_size_is_refused(size):
    with pytest.raises(ConfigError, match=f"at least 1 member; got size={size}"):
        choose_members({"a": member([[1.0, 0, 0]], [0])}, strategy="top", size=size)


def test_choosing_without_validation_images_is_refused():
    with pytest.raises(RunError, match="0 validation images"):
        choose_members({"a": member([], [])}, strategy="top")


def test_choosing_names_the_run_that_lacks_images():
    val = {
        "vgg19": member([[1.0, 0, 0]], [0], paths=["a"]),
        "alexnet": member([[1.0, 0, 0]], [0], paths=["b"]),
    }
    with pytest.raises(RunError, match="vgg19 lacks 1 of 2, for example 'b'"):
        choose_members(val, strategy="greedy")


def test_the_paper_s_members_come_in_the_paper_s_order():
    runs = {arch: f"{arch}-paper-s0" for arch in sorted((*ENSEMBLE_MEMBERS, "alexnet"))}
    assert paper_members(runs) == tuple(f"{arch}-paper-s0" for arch in ENSEMBLE_MEMBERS)


def test_the_paper_s_members_that_are_missing_are_all_listed():
    with pytest.raises(
        RunError, match=r"no run of vgg19, wide_resnet101_2\. .* --arch vgg19,wide_resnet101_2"
    ):
        paper_members({"wide_resnet50_2": "w", "resnet34": "r"})
