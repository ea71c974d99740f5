"""The split: exact sizes, one content on one side, one draw whatever the disk's order."""

from __future__ import annotations

import hashlib
import math
import random
from collections import Counter, defaultdict
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hemoscope.data.split as split_module
from hemoscope.data.groups import _repeats
from hemoscope.data.scan.scan import scan
from hemoscope.data.split import content_groups, make_split, read_split, side_sizes, write_split
from hemoscope.errors import ConfigError, SplitError
from hemoscope.records import CellImage, Manifest, Split, SplitRow

PBC = {
    "basophil": 1218,
    "eosinophil": 3117,
    "erythroblast": 1551,
    "ig": 2895,
    "lymphocyte": 1214,
    "monocyte": 1420,
    "neutrophil": 3329,
    "platelet": 2348,
}


def sha(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def cell(path: str, content: str = "", *, pixels: str = "", **more) -> CellImage:
    content = content or path
    return CellImage(
        path=path,
        class_name=path.split("/")[0],
        subtype="",
        width_px=9,
        height_px=9,
        hash=sha(content),
        pixel_hash=sha("pixels of " + (pixels or content)),
        **more,
    )


def manifest_of(images: list[CellImage]) -> Manifest:
    images = sorted(images, key=lambda image: image.path)
    return Manifest(Path("data"), tuple(sorted({i.class_name for i in images})), tuple(images))


def plain(counts: dict[str, int]) -> Manifest:
    return manifest_of([cell(f"{name}/{i:05d}.jpg") for name, n in counts.items() for i in range(n)])


def sizes(split: Split) -> dict[str, int]:
    return {side: sum(counts.values()) for side, counts in split.counts.items()}


@st.composite
def manifests(draw, max_copies: int = 3) -> Manifest:
    """Two to four classes of singles, some with copies inside the class, some across classes."""
    classes = [f"class {letter}" for letter in "abcd"[: draw(st.integers(2, 4))]]
    images: list[CellImage] = []
    for name in classes:
        images += [cell(f"{name}/{i}.png") for i in range(draw(st.integers(8, 60)))]
    for k in range(draw(st.integers(0, 6))):
        original = draw(st.sampled_from(images))
        for c in range(draw(st.integers(1, max_copies - 1))):
            name = draw(st.sampled_from([original.class_name, original.class_name, *classes]))
            copy = cell(f"{name}/copy {k} {c}.png")
            if draw(st.booleans()):
                copy = copy._replace(hash=original.hash)
            else:
                copy = copy._replace(pixel_hash=original.pixel_hash)
            images.append(copy)
    return manifest_of(images)


def groups_by_definition(images: tuple[CellImage, ...]) -> set[frozenset[str]]:
    """Connected components of 'same bytes or same pixels', by plain search."""
    near: dict[str, set[str]] = defaultdict(set)
    for a in images:
        for b in images:
            if a.hash == b.hash or a.pixel_hash == b.pixel_hash:
                near[a.path].add(b.path)
    found = set()
    for start in near:
        seen, queue = {start}, [start]
        while queue:
            for other in near[queue.pop()] - seen:
                seen.add(other)
                queue.append(other)
        found.add(frozenset(seen))
    return found


@given(manifests())
@settings(max_examples=40, deadline=None)
def test_groups_are_the_connected_components_of_same_content(manifest):
    got = content_groups(manifest.images)
    assert {frozenset(i.path for i in group) for group in got} == groups_by_definition(manifest.images)
    assert [g[0].path for g in got] == sorted(g[0].path for g in got)


@given(st.lists(st.sampled_from(["a", "b", "", -1, -2, 0, 2**61 - 1]), max_size=12))
def test_what_repeats_is_found_also_where_other_keys_have_the_same_hash(keys):
    assert hash(-1) == hash(-2)
    assert hash(0) == hash(2**61 - 1)
    want = [(i, keys.index(key)) for i, key in enumerate(keys) if key in keys[:i]]
    assert list(_repeats(keys)) == want


@given(st.integers(3, 100_000))
def test_side_sizes_are_the_papers_rule(n):
    got = side_sizes(n)
    assert got["test"] == math.ceil(Fraction(12, 100) * n)
    assert abs(got["val"] - Fraction(24, 100) * n) <= Fraction(1, 2)
    assert sum(got.values()) == n
    assert min(got.values()) >= 1


def test_side_sizes_of_the_pbc_set_are_the_papers():
    got = [side_sizes(n) for n in PBC.values()]
    assert [size["test"] for size in got] == [147, 375, 187, 348, 146, 171, 400, 282]
    assert [sum(size[side] for size in got) for side in ("train", "val", "test")] == [10_934, 4_102, 2_056]


@given(manifests(), st.integers(0, 2**63))
@settings(max_examples=60, deadline=None)
def test_paper_keeps_every_image_in_exact_sizes_and_groups_together(manifest, seed):
    split = make_split(manifest, policy="paper", seed=seed)
    assert [row.path for row in split.rows] == [image.path for image in manifest.images]
    for name, n in manifest.counts.items():
        assert {side: split.counts[side][name] for side in split.counts} == side_sizes(n), name
    side = {row.path: row.side for row in split.rows}
    for group in groups_by_definition(manifest.images):
        assert len({side[path] for path in group}) == 1, group
    assert (split.policy, split.seed) == ("paper", seed)


@given(manifests(), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_clean_keeps_the_first_of_each_group_and_no_contradiction(manifest, seed):
    split = make_split(manifest, policy="clean", seed=seed)
    class_of = {image.path: image.class_name for image in manifest.images}
    want = {
        min(group)
        for group in groups_by_definition(manifest.images)
        if len({class_of[path] for path in group}) == 1
    }
    assert {row.path for row in split.rows} == want
    for name, n in Counter(class_of[path] for path in want).items():
        assert {side: split.counts[side][name] for side in split.counts} == side_sizes(n), name


@given(manifests(max_copies=2), st.integers(0, 1000), st.randoms())
@settings(max_examples=30, deadline=None)
def test_the_draw_depends_on_the_seed_and_not_on_the_order_of_files(manifest, seed, shuffler):
    images = list(manifest.images)
    shuffler.shuffle(images)
    again = make_split(replace(manifest, images=tuple(images)), policy="paper", seed=seed)
    assert again == make_split(manifest, policy="paper", seed=seed)


def test_another_seed_gives_another_draw_and_the_draw_stays_the_same_for_ever():
    manifest = plain({"a": 20, "b": 20})
    digests = {make_split(manifest, policy="paper", seed=seed).digest for seed in range(20)}
    assert len(digests) == 20
    # Golden: published splits are named by a seed, so a seed must mean the same in every version.
    test = [row.path for row in make_split(manifest, policy="paper", seed=0).side("test")]
    assert test == [
        "a/00006.jpg",
        "a/00013.jpg",
        "a/00015.jpg",
        "b/00004.jpg",
        "b/00008.jpg",
        "b/00017.jpg",
    ]


def drawn_one_by_one(groups, rng, sizes_of) -> list[SplitRow]:
    """The rule as it is said: every group in its turn, with one number of its own, whatever it holds."""
    needs = [Counter(image.class_name for image in group) for group in groups]
    rooms = {}
    for name, n in Counter(image.class_name for group in groups for image in group).items():
        want = sizes_of(n)
        rooms[name] = split_module._Room(want, dict(want), [sum(name in need for need in needs)])
    order = sorted(rng.permutation(len(groups)), key=lambda i: (-len(needs[i]), -len(groups[i])))
    sides = {}
    for i in order:
        sides[i] = split_module._choose({name: rooms[name] for name in sorted(needs[i])}, needs[i], rng)
        for name, count in needs[i].items():
            rooms[name].left[sides[i]] -= count
            rooms[name].groups[0] -= 1
    return [split_module.row_of(image, sides[i]) for i, group in enumerate(groups) for image in group]


@given(
    st.lists(
        st.lists(st.sampled_from("aaabbc"), min_size=1, max_size=12).flatmap(
            lambda names: st.sampled_from([names, names[:1], [names[0]] * len(names)])
        ),
        min_size=1,
        max_size=40,
    ),
    st.integers(0, 2**40),
)
@settings(max_examples=300, deadline=None)
def test_numbers_drawn_at_once_seat_every_image_as_numbers_drawn_one_by_one(names, seed):
    groups = [
        tuple(cell(f"{name}/{i} {k}.png") for k, name in enumerate(group)) for i, group in enumerate(names)
    ]
    want, got = (
        draw(groups, np.random.default_rng(seed), side_sizes)
        for draw in (drawn_one_by_one, split_module._drawn)
    )
    assert got == want


def test_every_image_is_as_likely_as_any_other_to_be_tested():
    manifest = plain({"a": 10, "b": 10})
    draws = 600
    hits = Counter(
        row.path
        for seed in range(draws)
        for row in make_split(manifest, policy="paper", seed=seed).side("test")
    )
    expected = draws * 2 / 10  # ceil(1.2) = 2 of 10
    chi2 = sum((hits[image.path] - expected) ** 2 / expected for image in manifest.images)
    assert chi2 < 45.3  # 0.999 quantile of chi-squared with 20 degrees of freedom


def test_sizes_are_exact_on_a_set_like_pbc_with_its_17_pairs():
    images = list(plain(PBC).images)
    for k, name in enumerate(["basophil"] * 6 + ["eosinophil"] * 6 + ["ig"] * 3 + ["monocyte"]):
        here = [i for i, image in enumerate(images) if image.class_name == name]
        images[here[2 * k + 1]] = images[here[2 * k + 1]]._replace(hash=images[here[2 * k]].hash)
    eosinophil = next(i for i in images if i.path == "eosinophil/03000.jpg")
    crossing = next(k for k, i in enumerate(images) if i.path == "neutrophil/00000.jpg")
    images[crossing] = images[crossing]._replace(pixel_hash=eosinophil.pixel_hash)
    manifest = manifest_of(images)
    for seed in range(3):
        split = make_split(manifest, policy="paper", seed=seed)
        assert sizes(split) == {"train": 10_934, "val": 4_102, "test": 2_056}
        assert list(split.counts["test"].values()) == [147, 375, 187, 348, 146, 171, 400, 282]
    assert len(make_split(manifest, policy="clean", seed=0).rows) == 17_074


@given(
    st.lists(st.lists(st.integers(1, 9), min_size=3, max_size=8), min_size=2, max_size=3),
    st.integers(0, 99),
)
@settings(max_examples=100, deadline=None)
def test_large_groups_leave_no_side_empty(group_sizes, seed):
    images = [
        cell(f"{c}/{g} {k}.png", content=f"{c} {g}")
        for c, groups in enumerate(group_sizes)
        for g, size in enumerate(groups)
        for k in range(size)
    ]
    split = make_split(manifest_of(images), policy="paper", seed=seed)
    assert min(n for counts in split.counts.values() for n in counts.values()) >= 1
    assert len(split.rows) == len(images)


def test_classes_with_fewer_than_three_different_images_are_all_named():
    images = [*plain({"a": 3, "b": 2, "d": 9}).images, *(cell(f"c/{i}.png", content="c") for i in range(5))]
    with pytest.raises(SplitError) as caught:
        make_split(manifest_of(images), policy="paper", seed=0)
    assert "'b' has 2, 'c' has 1" in str(caught.value)
    assert "'a'" not in str(caught.value)


def test_three_images_that_are_shared_by_two_classes_are_enough():
    images = [cell(f"{name}/{i}.png", content=str(i)) for name in "ab" for i in range(3)]
    split = make_split(manifest_of(images), policy="paper", seed=4)
    assert {side: list(counts.values()) for side, counts in split.counts.items()} == {
        "train": [1, 1],
        "val": [1, 1],
        "test": [1, 1],
    }


def test_a_set_without_images_is_refused():
    with pytest.raises(SplitError, match="there is no class"):
        make_split(manifest_of([]), policy="paper", seed=0)


def test_an_unknown_policy_and_a_negative_seed_are_refused():
    with pytest.raises(ConfigError, match="expected policy paper, clean or acquisition, got 'tidy'"):
        make_split(plain({"a": 9, "b": 9}), policy="tidy", seed=0)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="seed of at least 0, got -1"):
        make_split(plain({"a": 9, "b": 9}), policy="paper", seed=-1)


def published() -> Manifest:
    return manifest_of(
        [
            cell(f"{name}/{side} {i}.png", content="twin" if i == 0 else "", given_side=side)
            for name in "ab"
            for side in ("train", "val", "test")
            for i in range(2)
        ]
    )


def test_a_published_split_is_taken_as_it_is(tmp_path):
    manifest = published()
    split = make_split(manifest, policy="paper", seed=3)
    assert (split.policy, split.seed) == ("given", None)
    assert all(row.side == row.path.split("/")[1].split()[0] for row in split.rows)
    write_split(split, tmp_path / "split.csv")
    assert read_split(tmp_path / "split.csv", manifest) == split


@pytest.mark.parametrize(("missing", "want"), [("val", 24 / 88), ("test", 12 / 76)])
def test_the_side_that_a_given_split_lacks_is_drawn_from_its_training_images(missing, want):
    there = "test" if missing == "val" else "val"
    images = [cell(f"{name}/{i:03}.png", given_side="train") for name in "ab" for i in range(100)]
    images += [cell(f"{name}/x{i}.png", given_side=there) for name in "ab" for i in range(7)]
    first = make_split(manifest_of(images), policy="paper", seed=1)
    assert (first.policy, first.seed) == ("given", 1)
    assert first.counts[there] == {"a": 7, "b": 7}
    assert first.counts[missing] == {"a": int(100 * want), "b": int(100 * want)}
    assert sizes(first)["train"] == 200 - 2 * int(100 * want)
    assert make_split(manifest_of(images), policy="clean", seed=1).digest == first.digest
    assert make_split(manifest_of(images), policy="paper", seed=2).digest != first.digest


@given(manifests(), st.integers(0, 2**63), st.integers(4, 12))
@settings(max_examples=40, deadline=None)
def test_groups_stay_on_one_side_under_both_policies(manifest, seed, n_groups):
    rng = random.Random(seed)
    images = [image._replace(group=f"P{rng.randrange(n_groups)}") for image in manifest.images]
    for policy in ("paper", "clean"):
        try:
            split = make_split(manifest_of(images), policy=policy, seed=seed)
        except SplitError:  # too few groups of a class
            continue
        group = {image.path: image.group for image in images}
        sides: dict[str, set[str]] = defaultdict(set)
        for row in split.rows:
            sides[group[row.path]].add(row.side)
        assert all(len(found) == 1 for found in sides.values())


def test_too_few_groups_of_a_class_are_told_as_groups():
    images = [cell(f"{name}/{i}.png", group=f"P{i % 2}") for name in "ab" for i in range(9)]
    with pytest.raises(SplitError, match=r"3 different groups of every class.*'a' has 2, 'b' has 2"):
        make_split(manifest_of(images), policy="paper", seed=0)


def test_clean_keeps_images_that_look_alike_on_one_side_and_paper_does_not():
    rng = random.Random(4)
    images = []
    for i in range(40):
        look = rng.getrandbits(64) | 1
        images += [cell(f"a/{i:02} {k}.png", phash=look ^ (k << 7)) for k in range(3)]
        images += [cell(f"b/{i:02}.png", phash=rng.getrandbits(64) | 1)]
    for seed in range(3):
        torn = Counter()
        for policy in ("paper", "clean"):
            split = make_split(manifest_of(images), policy=policy, seed=seed)
            assert len(split.rows) == 160
            side = {row.path: row.side for row in split.rows}
            torn[policy] = sum(len({side[f"a/{i:02} {k}.png"] for k in range(3)}) > 1 for i in range(40))
        assert torn["clean"] == 0 < torn["paper"]


NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=()), min_size=1, max_size=8
).filter(lambda name: name not in {".", ".."})


def storable(name: str) -> bool:
    """A file name as Python gives it: bytes that are not UTF-8 are lone surrogates DC80 to DCFF."""
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape") == name
    except UnicodeEncodeError:
        return False


class TestFile:
    @given(names=st.sets(NAMES.filter(storable), min_size=6, max_size=12), seed=st.integers(0, 9))
    @settings(max_examples=60, deadline=None)
    def test_names_of_any_characters_come_back(self, tmp_path_factory, names, seed):
        manifest = manifest_of([cell(f"{'ab'[i % 2]}/{name}") for i, name in enumerate(sorted(names))])
        split = make_split(manifest, policy="paper", seed=seed)
        path = tmp_path_factory.mktemp("split") / "split.csv"
        write_split(split, path)
        assert read_split(path, manifest) == replace(split, policy="given", seed=None)
        assert read_split(path, manifest).digest == split.digest

    def test_the_file_is_plain_csv_sorted_by_path(self, tmp_path):
        rows = (
            SplitRow("b/2.png", "b", "SNE", "f" * 64, "val"),
            SplitRow('a/1,"x".png', "a", "", "e" * 64, "train"),
        )
        write_split(Split(rows, "paper", 0), tmp_path / "new" / "split.csv")
        assert (tmp_path / "new" / "split.csv").read_bytes() == (
            "path,class,subtype,hash,split\n"
            f'"a/1,""x"".png",a,,{"e" * 64},train\n'
            f"b/2.png,b,SNE,{'f' * 64},val\n"
        ).encode()
        assert [p.name for p in (tmp_path / "new").iterdir()] == ["split.csv"]

    def written(self, tmp_path: Path, manifest: Manifest) -> tuple[Path, Split]:
        split = make_split(manifest, policy="paper", seed=1)
        write_split(split, tmp_path / "split.csv")
        return tmp_path / "split.csv", split

    def test_windows_line_ends_and_a_byte_order_mark_are_accepted(self, tmp_path):
        manifest = plain({"a": 5, "b": 5})
        path, split = self.written(tmp_path, manifest)
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
        assert read_split(path, manifest).rows == split.rows

    @pytest.mark.parametrize("kind", ["utf-16", "semicolon", "backslash", "nfc", "names of sides"])
    def test_what_windows_excel_and_macos_make_of_a_split_is_read(self, tmp_path, kind):
        images = [cell(f"e\u0301o/{i} Bo\u0308hm.jpg") for i in range(9)]
        images += [cell(f"ly/{i}.jpg") for i in range(9)]
        manifest = manifest_of(images)
        split = make_split(manifest, policy="paper", seed=2)
        write_split(split, tmp_path / "split.csv")
        text = (tmp_path / "split.csv").read_text("utf-8")
        for old, new in {
            "semicolon": [(",", ";")],
            "backslash": [("/", "\\")],
            "nfc": [("e\u0301", "\u00e9"), ("o\u0308", "\u00f6")],
            "names of sides": [(",train\n", ",Train\n"), (",val\n", ",valid\n")],
        }.get(kind, []):
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "split.csv").write_text(text, "utf-16" if kind == "utf-16" else "utf-8-sig")
        assert read_split(tmp_path / "split.csv", manifest).digest == split.digest

    def test_a_foreign_split_needs_path_class_and_split_only(self, tmp_path):
        manifest = plain({"a": 5, "b": 5})
        _, split = self.written(tmp_path, manifest)
        lines = [f"{r.side},{r.path},{r.class_name},me" for r in reversed(split.rows)]
        (tmp_path / "other.csv").write_text("\n".join(["split,path,class,by", *lines]), encoding="utf-8")
        assert read_split(tmp_path / "other.csv", manifest).rows == split.rows

    def test_images_on_no_side_are_allowed(self, tmp_path):
        manifest = plain({"a": 5, "b": 5})
        path, _ = self.written(tmp_path, manifest)
        more = manifest_of([*manifest.images, cell("a/new.png")])
        assert len(read_split(path, more).rows) == 10

    def test_every_problem_is_told_at_once(self, tmp_path):
        twin = cell("a/twin.png", content="a/00000.jpg")
        manifest = manifest_of([*plain({"a": 5, "b": 5}).images, twin])
        lines = [
            "path,class,subtype,hash,split",
            f"a/00000.jpg,a,,{sha('a/00000.jpg')},train",
            f"a/twin.png,a,,{sha('a/00000.jpg')},test",
            "a/00001.jpg,a,,,held out",
            "a/gone.jpg,a,,,train",
            f"a/00002.jpg,a,,{sha('else')},train",
            "a/00003.jpg,b,,,train",
            "b/00000.jpg,b,,,train",
            "b/00000.jpg,b,,,train",
        ]
        (tmp_path / "split.csv").write_text("\n".join(lines), encoding="utf-8")
        with pytest.raises(SplitError) as caught:
            read_split(tmp_path / "split.csv", manifest)
        text = str(caught.value)
        for part in (
            "split.csv has 7 problem(s)",
            "line 4: 'a/00001.jpg' is on side 'held out'; expected train, val or test",
            "line 5: 'a/gone.jpg' is not among the readable images",
            f"line 6: 'a/00002.jpg' has another content: {sha('a/00002.jpg')[:12]}",
            "line 7: 'a/00003.jpg' is of class 'b', but lies in 'a'",
            "line 9: 'b/00000.jpg' is listed more than once",
            "the same content is on two sides: 'a/00000.jpg' (train) and 'a/twin.png' (test)",
            "no image on side 'val'",
            "hemoscope data split DIR --out FILE",
        ):
            assert part in text
        assert len(text.splitlines()) == 9

    @pytest.mark.parametrize("kind", ["hash", "pixel_hash"])
    def test_the_same_bytes_or_the_same_pixels_on_two_sides_are_a_leak(self, tmp_path, kind):
        manifest = plain({"a": 5, "b": 5})
        path, split = self.written(tmp_path, manifest)
        one, other = split.side("train")[0].path, split.side("test")[0].path
        by_path = {image.path: image for image in manifest.images}
        by_path[other] = by_path[other]._replace(**{kind: getattr(by_path[one], kind)})
        if kind == "hash":  # as in a split made without the hash column
            text = path.read_text(encoding="utf-8")
            for row in split.rows:
                text = text.replace(row.hash, "")
            path.write_text(text, encoding="utf-8")
        with pytest.raises(SplitError, match="the same content is on two sides") as caught:
            read_split(path, manifest_of(list(by_path.values())))
        assert "1 problem(s)" in str(caught.value)

    def test_a_group_on_two_sides_is_told_once_but_where_the_data_were_published_so(self, tmp_path):
        manifest = plain({"a": 5, "b": 5})
        path, split = self.written(tmp_path, manifest)
        side = {row.path: row.side for row in split.rows}
        parted = [image._replace(group=image.class_name) for image in manifest.images]
        with pytest.raises(SplitError, match=r"2 problem\(s\)") as caught:
            read_split(path, manifest_of(parted))
        assert "group 'a' is on two sides: 'a/0000" in str(caught.value)
        given = [image._replace(given_side=side[image.path]) for image in parted]
        assert read_split(path, manifest_of(given)).rows == split.rows
        moved = path.read_text("utf-8").replace(",train\n", ",test\n", 1)
        (tmp_path / "moved.csv").write_text(moved, "utf-8")
        with pytest.raises(SplitError, match="group 'a' is on two sides"):
            read_split(tmp_path / "moved.csv", manifest_of(given))
        whole = [image._replace(group=side[image.path]) for image in manifest.images]
        assert read_split(path, manifest_of(whole)).rows == split.rows

    def test_more_than_twenty_problems_are_counted(self, tmp_path):
        manifest = plain({"a": 30, "b": 30})
        path, _ = self.written(tmp_path, manifest)
        with pytest.raises(SplitError) as caught:
            read_split(path, plain({"a": 30, "b": 5}))
        assert "25 problem(s)" in str(caught.value)
        assert "and 5 more" in str(caught.value)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", r"column\(s\) missing: path, class, split; found: none"),
            (b"path,split\n", r"column\(s\) missing: class; found: path, split"),
            (b"path,class,split\na/00000.jpg,a\n", "line 2: 2 values; expected 3"),
            (b"path,class,split\n", "no image on side 'train'"),
            (b"split,path,class,split\ntrain,a/00000.jpg,a,test\n", "more than one column split"),
            (b'path,class,split\n"a/0', "is no CSV file"),
        ],
    )
    def test_what_is_no_split_is_refused(self, tmp_path, content, message):
        (tmp_path / "split.csv").write_bytes(content)
        with pytest.raises(SplitError, match=message):
            read_split(tmp_path / "split.csv", plain({"a": 5, "b": 5}))

    def test_a_missing_file_is_refused(self, tmp_path):
        with pytest.raises(SplitError, match="cannot be read: No such file"):
            read_split(tmp_path / "none.csv", plain({"a": 5, "b": 5}))


@pytest.mark.real
def test_the_real_mini_set_keeps_its_pairs_together(real_cells, tmp_path):
    manifest = scan(real_cells)
    paper = make_split(manifest, policy="paper", seed=random.Random(0).randrange(99))
    side = {row.path: row.side for row in paper.rows}
    assert side["basophil/BA_20201.jpg"] == side["basophil/BA_809918.jpg"]
    assert side["eosinophil/EO_225902.jpg"] == side["neutrophil/BNE_191112.jpg"]
    for name, n in manifest.counts.items():
        assert paper.counts["test"][name] == math.ceil(Fraction(12 * n, 100))
    clean = {row.path for row in make_split(manifest, policy="clean", seed=0).rows}
    assert set(side) - clean == {
        "basophil/BA_809918.jpg",
        "eosinophil/EO_225902.jpg",
        "neutrophil/BNE_191112.jpg",
    }
    write_split(paper, tmp_path / "split.csv")
    assert read_split(tmp_path / "split.csv", manifest).digest == paper.digest


def two_acquisitions(sizes: dict[str, tuple[int, int]]) -> Manifest:
    """Return so many cells of each class on a cream background, and so many on a grey-blue one."""
    images = [
        cell(f"{name}/{kind}{i}.png", background=tone)
        for name, counts in sizes.items()
        for kind, n, tone in zip("ab", counts, ((230, 210, 185), (200, 198, 200)), strict=True)
        for i in range(n)
    ]
    return manifest_of(images)


def test_a_second_acquisition_is_the_test_side_and_nothing_else_is():
    cells = two_acquisitions({"ig": (50, 12), "platelet": (40, 0), "monocyte": (10, 3)})
    split = make_split(cells, policy="acquisition", seed=0)
    second = {image.path for image in cells.images if image.path.split("/")[1][0] == "b"}
    assert {row.path for row in split.side("test")} == second
    assert split.policy == "acquisition"
    assert split.counts["val"] == {"ig": 13, "monocyte": 2, "platelet": 10}
    assert len(split.rows) == len(cells.images)
    assert make_split(cells, policy="acquisition", seed=0).digest == split.digest
    assert make_split(cells, policy="acquisition", seed=1).digest != split.digest


def test_what_is_in_both_acquisitions_is_on_the_test_side():
    cells = two_acquisitions({"ig": (50, 12), "monocyte": (40, 9)})
    images = list(cells.images)
    twin = next(i for i, image in enumerate(images) if image.path == "ig/a7.png")
    other = next(image for image in images if image.path == "ig/b3.png")
    images[twin] = images[twin]._replace(hash=other.hash, pixel_hash=other.pixel_hash)
    split = make_split(manifest_of(images), policy="acquisition", seed=0)
    assert "ig/a7.png" in {row.path for row in split.side("test")}


def test_one_acquisition_or_too_little_of_the_first_is_refused():
    with pytest.raises(SplitError, match="these images are of one"):
        make_split(two_acquisitions({"ig": (50, 0), "monocyte": (40, 0)}), policy="acquisition", seed=0)
    with pytest.raises(SplitError, match="at least 2 different images of every class, outside .* 'ig' has 1"):
        make_split(two_acquisitions({"ig": (1, 12), "monocyte": (40, 9)}), policy="acquisition", seed=0)
