"""The audit: duplicates, contradictions, tones and sizes are counted as they are, and nothing is made up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hemoscope.data.near as near_module
from hemoscope.data.acquisitions import second_acquisition
from hemoscope.data.audit import Audit, audit
from hemoscope.data.groups import near_duplicates
from hemoscope.data.near import NEAR_BITS, TURNED_BITS, near, orientations
from hemoscope.data.scan.scan import scan
from hemoscope.data.split import make_split
from hemoscope.errors import SplitError
from hemoscope.records import CellImage, Manifest, Problem

CREAM, GREY_BLUE = (255, 229, 203), (226, 219, 228)


def cell(path: str, *, content: str = "", pixels: str = "", phash: int | None = None, **more) -> CellImage:
    index = sum(ord(c) * 257**k for k, c in enumerate(path))
    far = (index * 0x9E3779B97F4A7C15) % 2**64  # spread over all 64 bits, so that paths are far apart
    values = {"subtype": "", "width_px": 360, "height_px": 363, "background": CREAM} | more
    return CellImage(
        path=path,
        class_name=path.split("/")[0],
        hash=content or path,
        pixel_hash=pixels or content or path,
        phash=far if phash is None else phash,
        **values,
    )


def manifest_of(images: list[CellImage], **more) -> Manifest:
    images = sorted(images, key=lambda image: image.path)
    return Manifest(Path("data"), tuple(sorted({i.class_name for i in images})), tuple(images), **more)


def besides(found: Audit) -> list[Problem]:
    """Return the problems but for classes that are too small, as most are in here."""
    return [problem for problem in found.problems if not problem.what.startswith("too few to train on")]


def toned(tones: list[int]) -> list[CellImage]:
    return [cell(f"a/{i}.png", background=(200, 200, 200 + tone)) for i, tone in enumerate(tones)]


def test_an_ordinary_folder_has_no_finding(image_folder):
    got = audit(scan(image_folder({"a": 12, "b": 15})))
    assert got.problems == ()
    assert got.duplicate_groups == got.conflicting_groups == got.near_duplicate_groups == ()
    assert got.second_acquisition == {}
    assert len(got.sizes) == 1
    assert got.imbalance == pytest.approx(1.25)


def test_duplicates_and_contradictions_are_told_by_bytes_and_by_pixels():
    manifest = manifest_of(
        [
            cell("a/1.png", content="x"),
            cell("a/2.png", content="x"),
            cell("a/3.png", pixels="p"),
            cell("b/3.bmp", pixels="p"),
            cell("b/4.png"),
        ]
    )
    got = audit(manifest)
    assert got.duplicate_groups == (("a/1.png", "a/2.png"), ("a/3.png", "b/3.bmp"))
    assert got.conflicting_groups == (("a/3.png", "b/3.bmp"),)
    contradiction, copy = besides(got)
    assert [(p.level, p.path) for p in (contradiction, copy)] == [("warning", "a/3.png"), ("note", "a/1.png")]
    assert "the same image lies in another class: b/3.bmp" in contradiction.what
    assert copy.what == "the same image again: a/2.png"


def test_a_published_split_with_one_image_on_two_sides_is_a_warning():
    manifest = manifest_of(
        [
            cell("a/1.png", content="x", given_side="train"),
            cell("a/2.png", content="x", given_side="test"),
            cell("b/1.png", content="y", given_side="train"),
            cell("b/2.png", content="y", given_side="train"),
        ]
    )
    warnings = [p for p in audit(manifest).problems if p.level == "warning"]
    assert [p.path for p in warnings] == ["a/1.png"]
    assert "the published split has this image on test and train" in warnings[0].what


@given(
    st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=12),
    st.lists(
        st.tuples(st.integers(0, 11), st.integers(0, 7), st.sets(st.integers(0, 63), max_size=6)), max_size=12
    ),
)
@settings(max_examples=80, deadline=None)
def test_near_duplicates_are_the_connected_components_within_some_bits_of_any_orientation(bases, flips):
    hashes = list(bases)
    for k, turn, bits in flips:
        turned = int(orientations(np.array([hashes[k % len(hashes)]], dtype=np.uint64))[turn, 0])
        hashes.append(turned ^ sum(1 << bit for bit in bits))
    images = [cell(f"a/{i:02d}.png", phash=value) for i, value in enumerate(hashes)]
    eight = orientations(np.array(hashes, dtype=np.uint64))
    far = np.bitwise_count(eight[:, :, None] ^ eight[0][None, None])  # (8, N, N)
    reach = (far[0] <= NEAR_BITS) | (far[1:] <= TURNED_BITS).any(axis=0)
    assert (reach == reach.T).all()
    for _ in hashes:
        reach = (reach.astype(int) @ reach.astype(int)) > 0
    want = {tuple(f"a/{j:02d}.png" for j in np.flatnonzero(row)) for row in reach if row.sum() > 1}
    assert set(near_duplicates(images)) == want


def brute_force(hashes: list[int]) -> list[tuple[str, ...]]:
    """The groups by comparing every look of every hash with every other."""
    values = np.array(hashes, dtype=np.uint64)
    label = np.arange(len(values))
    for turn, look in enumerate(orientations(values)):
        near = np.bitwise_count(look[:, None] ^ values[None]) <= (TURNED_BITS if turn else NEAR_BITS)
        for a, b in zip(*np.nonzero(near), strict=True):
            if label[a] != label[b]:
                label[label == max(label[a], label[b])] = min(label[a], label[b])
    groups = {n: tuple(f"a/{i:04d}.png" for i in np.flatnonzero(label == n)) for n in label.tolist()}
    return sorted(group for group in groups.values() if len(group) > 1)


@given(
    st.integers(0, 2**32),
    st.integers(1, 150),
    st.integers(1, 64),
    st.sampled_from([1, 3, 64, 2**21]),
)
@settings(max_examples=50, deadline=None)
def test_the_index_of_near_duplicates_finds_what_brute_force_finds(seed, n, free, at_once):
    """Few bits differ in all: many share every part of theirs; many: hardly any does."""
    rng = np.random.default_rng(seed)
    mask = sum(1 << int(bit) for bit in rng.choice(64, free, replace=False))
    same = int(rng.integers(2**64, dtype=np.uint64))
    hashes = [same ^ (int(value) & mask) for value in rng.integers(2**64, size=n, dtype=np.uint64)]
    images = [cell(f"a/{i:04d}.png", phash=value) for i, value in enumerate(hashes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_module, "_AT_ONCE", at_once)
        assert near_duplicates(images) == brute_force(hashes)


def test_thousands_of_blank_images_are_one_group_without_comparing_all_pairs(monkeypatch):
    compared: list[int] = []
    joined = near_module._joined

    def counted(numbers, looks, hashes, most, pairs):
        compared.append(len(pairs[0]))
        return joined(numbers, looks, hashes, most, pairs)

    monkeypatch.setattr(near_module, "_joined", counted)
    blank = [cell(f"a/{i:05d}.png", phash=i & 7) for i in range(20_000)]
    assert [len(group) for group in near_duplicates(blank)] == [20_000]
    noise = [cell(f"a/{i:05d}.png", phash=i) for i in range(2**13)]  # 13 bits that are all there is
    assert [len(group) for group in near_duplicates(noise)] == [2**13]
    assert sum(compared) < 200 * 2**13, "each with thousands would be 8,192"


def test_near_duplicates_are_found_across_blocks_and_exact_ones_count_once():
    images = [cell(f"a/{i:05d}.png") for i in range(2500)]
    images[2400] = cell("a/02400.png", phash=images[3].phash ^ 0b101)
    images.append(cell("b/copy.png", content="a/00007.png", phash=images[7].phash))
    assert near_duplicates(images) == [("a/00003.png", "a/02400.png")]


def test_images_that_look_alike_on_two_sides_of_a_given_split_are_a_warning():
    images = [
        cell("a/1.png", phash=0b0111, given_side="train"),
        cell("a/2.png", phash=0b0011, given_side="test"),
        cell("a/3.png", phash=0b1_0111_0001 << 40, given_side="train"),
        cell("a/4.png", phash=0b1_0111_0000 << 40, given_side="train"),
    ]
    found = [(p.level, p.path) for p in audit(manifest_of(images)).problems if "looks like" in p.what]
    assert found == [("warning", "a/1.png"), ("note", "a/3.png")]


def test_two_tones_are_told_apart_whichever_is_rarer():
    for rare, common in ((CREAM, GREY_BLUE), (GREY_BLUE, CREAM)):
        images = [cell(f"a/{i}.png", background=common) for i in range(40)]
        images += [cell(f"b/{i}.png", background=rare) for i in range(7)]
        assert {i.path for i in second_acquisition(images)} == {f"b/{i}.png" for i in range(7)}


@pytest.mark.parametrize(
    ("tones", "want"),
    [
        ([], 0),
        ([0] * 30, 0),
        ([0] * 30 + [40] * 4, 0),  # four odd images are no acquisition
        ([0] * 30 + [40] * 5, 5),
        ([0] * 30 + [14] * 10, 0),  # nearer than 15 grey levels
        ([0] * 30 + [15] * 10, 10),
        (list(range(-140, 55, 14)), 0),  # one broad tone without a gap
        ([-120] * 6 + [0] * 6 + list(range(-120, 0, 20)), 0),  # a gap no wider than the scatter
        ([0] * 30 + [28] * 10 + [54], 11),  # a single image further off does not hide the group
    ],
)
def test_tones_are_two_only_with_a_wide_gap_and_five_images_on_each_side(tones, want):
    assert len(second_acquisition(toned(tones))) == want


def test_the_second_acquisition_is_read_from_the_pixels_and_reported_by_class(image_folder):
    image_folder({"a": 10, "b": 12})
    manifest = scan(image_folder({"a": 5, "c": 3}, name="cells/b", background=GREY_BLUE, seed=4).parent)
    got = audit(manifest)
    assert got.second_acquisition == {"b": 8}
    (note,) = [p for p in got.problems if "background tone" in p.what]
    assert (note.level, note.path) == ("note", ".")
    assert "8 images" in note.what
    assert "(b 8)" in note.what


def test_imbalance_above_ten_to_one_is_noted_and_ten_to_one_is_not():
    ten = manifest_of([*(cell(f"a/{i}.png") for i in range(20)), cell("b/0.png"), cell("b/1.png")])
    assert audit(ten).imbalance == 10
    assert besides(audit(ten)) == []
    more = manifest_of([*ten.images, cell("a/20.png")])
    (note,) = besides(audit(more))
    assert "'a' has 21 images and 'b' 2, more than 10 to 1" in note.what


def test_an_empty_class_makes_the_imbalance_unknown_and_not_infinite():
    manifest = Manifest(Path("data"), ("a", "b"), (cell("a/0.png"),))
    assert np.isnan(audit(manifest).imbalance)
    assert audit(manifest).to_json()["imbalance"] is None
    assert audit(Manifest(Path("data"), (), ())).images == 0


def test_sizes_are_counted_and_all_but_the_most_frequent_are_odd():
    images = [cell(f"a/{i}.png") for i in range(5)]
    images += [cell(f"b/{i}.png", width_px=366, height_px=369) for i in range(2)]
    images += [cell("b/9.png", width_px=363, height_px=360)]
    got = audit(manifest_of(images))
    assert got.sizes == {(360, 363): 5, (366, 369): 2, (363, 360): 1}
    assert list(got.sizes.items())[1:] == [((366, 369), 2), ((363, 360), 1)]
    assert not got.problems


def test_what_training_would_refuse_as_too_few_is_a_warning_unless_the_data_bring_their_sides():
    few = [cell(f"a/{i}.png", group=str(i % 2)) for i in range(9)] + [
        cell(f"b/{i}.png", group=str(i)) for i in range(3)
    ]
    (problem,) = audit(manifest_of(few)).problems
    assert problem.level == "warning"
    assert "at least 3 different groups of every class, one for each side; 'a' has 2." in problem.what
    with pytest.raises(SplitError, match="'a' has 2"):
        make_split(manifest_of(few), policy="paper", seed=0)
    sides = [image._replace(given_side="train" if i % 2 else "test", group="") for i, image in enumerate(few)]
    assert besides(audit(manifest_of(sides))) == list(audit(manifest_of(sides)).problems)
    alone = [image._replace(given_side="train") for image in few]  # training draws the other sides
    assert besides(audit(manifest_of(alone))) != list(audit(manifest_of(alone)).problems)


def test_images_longer_than_2_to_1_are_a_note():
    images = [cell("a/1.png", width_px=800, height_px=399), cell("b/1.png", width_px=800, height_px=400)]
    (problem,) = besides(audit(manifest_of([*images, cell("b/2.png", width_px=10, height_px=21)])))
    assert problem.level == "note"
    assert problem.what.startswith(
        "2 image(s) are longer than 2 to 1: a/1.png, b/2.png; only the central square"
    )


def test_json_has_the_promised_keys_and_everything_a_scan_found(image_folder):
    root = image_folder({"a": 6, "b": 6})
    (root / "a" / "copy.png").write_bytes((root / "b" / "b_0000.png").read_bytes())
    (root / "b" / "empty.png").touch()
    (root / "b" / "notes.txt").touch()
    document = json.loads(json.dumps(audit(scan(root)).to_json(), allow_nan=False))
    assert document["images"] == 13
    assert document["not_images"] == 1
    assert document["classes"] == {"a": 7, "b": 6}
    assert document["duplicate_groups"] == 1
    assert document["conflicting_groups"] == 1
    assert document["second_acquisition"] == 0
    assert document["conflicts"] == [["a/copy.png", "b/b_0000.png"]]
    assert [(p["level"], p["path"]) for p in document["problems"]] == [
        ("error", "b/empty.png"),
        ("warning", "a/copy.png"),
        ("warning", "b/notes.txt"),
    ]
    assert all(set(p) == {"level", "path", "what"} for p in document["problems"])


def test_conversions_are_noted():
    got = audit(manifest_of([cell("a/1.png"), cell("b/1.png")], converted={"grayscale": 2}))
    assert [p.what for p in besides(got)] == ["2 image(s) converted to upright 8-bit RGB: grayscale"]


def test_sixteen_bits_hardly_used_are_a_warning_and_a_colour_profile_is_a_note():
    got = audit(manifest_of([cell("a/1.png"), cell("b/1.png")], converted={"icc": 1, "16-bit-narrow": 2}))
    dark, profile = besides(got)
    assert [(p.level, p.what.partition(" image(s) ")[0]) for p in (dark, profile)] == [
        ("warning", "2"),
        ("note", "1"),
    ]
    assert "come out dark or flat" in dark.what
    assert "colour profile that is not sRGB" in profile.what


@pytest.mark.real
def test_the_real_mini_set_has_its_two_pairs_and_its_second_acquisition(real_cells):
    manifest = scan(real_cells)
    got = audit(manifest)
    assert got.duplicate_groups == (
        ("basophil/BA_20201.jpg", "basophil/BA_809918.jpg"),
        ("eosinophil/EO_225902.jpg", "neutrophil/BNE_191112.jpg"),
    )
    assert got.conflicting_groups == got.duplicate_groups[1:]
    # The two acquisitions also differ in size, which the rule by colour does not look at.
    second = second_acquisition(manifest.images)
    odd = {i.path for i in manifest.images if (i.width_px, i.height_px) != (360, 363)}
    assert {image.path for image in second} == odd
    assert sum(got.second_acquisition.values()) == len(odd) == 28
    assert "platelet" not in got.second_acquisition
    assert got.to_json()["not_images"] == 1


def test_a_search_among_many_is_remembered_and_a_damaged_memory_is_searched_again(tmp_path, monkeypatch):
    monkeypatch.setenv("HEMOSCOPE_CACHE", str(tmp_path))
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, size=300, dtype=np.uint64)
    hashes = np.unique(np.concatenate([hashes, hashes[:40] ^ np.uint64(5)]))
    searched = near(hashes)
    monkeypatch.setattr("hemoscope.data.near.REMEMBERED_FROM", 100)
    assert near(hashes).tolist() == searched.tolist()
    (remembered,) = (tmp_path / "scan").glob("near-*.npy")
    written = remembered.stat().st_mtime_ns
    assert near(hashes).tolist() == searched.tolist()
    assert len(near(hashes[1:])) == len(hashes) - 1
    assert len(list((tmp_path / "scan").glob("near-*.npy"))) == 2
    assert remembered.stat().st_mtime_ns == written
    remembered.write_bytes(remembered.read_bytes()[:-9])
    assert near(hashes).tolist() == searched.tolist()
    assert near(hashes).tolist() == searched.tolist()
