"""Folds: every image is tested on once, one content lies in one fold, and classes are shared out evenly."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hemoscope.data.folds import fold_split, is_fold
from hemoscope.data.split import content_groups, read_split, side_sizes, write_split
from hemoscope.errors import ConfigError, SplitError
from hemoscope.records import Manifest, Split
from tests.data.test_split import cell, manifest_of, manifests, plain


def all_splits(manifest: Manifest, folds: int, seed: int = 0) -> list[Split]:
    return [fold_split(manifest, folds=folds, fold=k, seed=seed) for k in range(1, folds + 1)]


@given(manifests(), st.integers(2, 6), st.integers(0, 5))
@settings(max_examples=40)
def test_every_image_is_tested_on_in_exactly_one_fold(manifest: Manifest, folds: int, seed: int):
    splits = all_splits(manifest, folds, seed)
    tested = [row.path for split in splits for row in split.side("test")]
    assert sorted(tested) == [image.path for image in manifest.images]
    for split in splits:
        assert [row.path for row in split.rows] == [image.path for image in manifest.images]
        assert is_fold(split.policy)


@given(manifests(), st.integers(2, 6))
@settings(max_examples=40)
def test_images_of_one_content_are_on_one_side_in_every_fold(manifest: Manifest, folds: int):
    groups = content_groups(manifest.images)
    for split in all_splits(manifest, folds):
        side = {row.path: row.side for row in split.rows}
        assert all(len({side[image.path] for image in group}) == 1 for group in groups)


def test_patients_are_in_one_fold():
    images = [
        cell(f"{name}/{p}-{i}.png", group=f"p{p}") for name in ("a", "b") for p in range(9) for i in range(3)
    ]
    for split in all_splits(manifest_of(images), 3):
        sides = {(row.path.split("/")[1].split("-")[0], row.side) for row in split.rows}
        assert len(sides) == 9
        assert split.counts["test"] == {"a": 9, "b": 9}


def test_the_patients_with_most_images_come_first_so_that_the_others_make_up_for_them():
    sizes = {"p": 2, "q": 2, "r": 2, "s": 6}
    images = [cell(f"a/{p}-{i}.png", group=p) for p, n in sizes.items() for i in range(n)]
    for seed in range(5):
        assert [split.counts["test"]["a"] for split in all_splits(manifest_of(images), 2, seed)] == [6, 6]


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(7, 90), min_size=2), st.integers(2, 7))
@settings(max_examples=40)
def test_single_images_are_shared_out_evenly_by_class_and_in_all(counts: dict[str, int], folds: int):
    splits = all_splits(plain(counts), folds)
    for name, n in counts.items():
        sizes = [split.counts["test"][name] for split in splits]
        assert set(sizes) <= {n // folds, -(-n // folds)}
    sizes = [len(split.side("test")) for split in splits]
    assert max(sizes) - min(sizes) <= 1


def test_a_content_in_many_copies_is_made_up_for_by_single_images():
    copies = [cell(f"a/copy{i}.png", "one") for i in range(10)]
    manifest = manifest_of([*copies, *plain({"a": 40, "b": 20}).images])
    assert [split.counts["test"] for split in all_splits(manifest, 5)] == [{"a": 10, "b": 4}] * 5


def test_validation_has_the_share_of_training_images_that_it_has_in_a_whole_split():
    share = side_sizes(100)
    split = fold_split(plain({"a": 500, "b": 250}), folds=5, fold=1, seed=0)
    for name, n in {"a": 400, "b": 200}.items():
        assert split.counts["val"][name] == n * share["val"] // (share["val"] + share["train"])


def test_a_fold_depends_on_the_seed_and_not_on_the_order_of_the_disk():
    manifest = plain({"a": 40, "b": 40})
    turned = replace(manifest, images=manifest.images[::-1])
    one = fold_split(manifest, folds=4, fold=2, seed=0)
    assert fold_split(turned, folds=4, fold=2, seed=0) == one
    assert fold_split(manifest, folds=4, fold=2, seed=1).digest != one.digest
    assert len({split.digest for split in all_splits(manifest, 4)}) == 4


@pytest.mark.parametrize("folds", [2, 3])
def test_a_fold_is_a_split_that_training_takes_also_where_the_data_bring_another(tmp_path: Path, folds: int):
    manifest = plain({"a": 9, "b": 4})
    brought = [image._replace(given_side=("train", "test")[i % 2]) for i, image in enumerate(manifest.images)]
    manifest = replace(manifest, images=tuple(brought))
    for split in all_splits(manifest, folds):
        write_split(split, tmp_path / "split.csv")
        assert read_split(tmp_path / "split.csv", manifest).digest == split.digest
        assert all(n for counts in split.counts.values() for n in counts.values())


def test_classes_of_too_few_different_images_are_named():
    images = [*plain({"a": 9, "b": 4}).images, *(cell(f"c/{i}.png", "one") for i in range(9))]
    with pytest.raises(
        SplitError, match=r"at least 5 different images of every class, for 5 folds; 'b' has 4, 'c' has 1"
    ):
        fold_split(manifest_of(images), folds=5, fold=1, seed=0)
    with pytest.raises(SplitError, match="at least 4 different images"):
        fold_split(plain({"a": 3}), folds=2, fold=1, seed=0)


@pytest.mark.parametrize(("folds", "fold", "seed"), [(1, 1, 0), (3, 0, 0), (3, 4, 0), (3, 1, -1)])
def test_numbers_that_make_no_fold_are_refused(folds: int, fold: int, seed: int):
    with pytest.raises(ConfigError, match="at least 2 folds"):
        fold_split(plain({"a": 9}), folds=folds, fold=fold, seed=seed)


def test_every_fold_has_another_validation_side():
    splits = all_splits(plain({"a": 60}), 3)
    chosen = Counter(row.path for split in splits for row in split.side("val"))
    assert len(chosen) > len(splits[0].side("val"))
