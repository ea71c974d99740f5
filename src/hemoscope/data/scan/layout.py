"""What the folders of a data set mean: classes, sides of a split, patients, copies, detection sets.

Decided by names and places before any image is read. Sides and copies are recognised and said; what
could be read in two ways stops, for a network trained on patients or sides looks like any other.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, repeat
from pathlib import Path
from typing import NamedTuple, Self

from hemoscope.data.scan.detection_sets import is_detection_set
from hemoscope.data.scan.walk import Found
from hemoscope.errors import DataError
from hemoscope.records import SIDE_NAMES, Problem, Side, collected_later

__all__ = ["Arranged", "Files", "arrange", "look_alikes", "show"]


class Files(NamedTuple):
    """Image files and what their places, or a list, say about them, as columns: there may be a million."""

    paths: Sequence[str]
    class_names: Sequence[str]
    sides: Sequence[Side | None]
    groups: Sequence[str]

    @classmethod
    def of(cls, paths: Sequence[str], names: Iterable[str], sides: Iterable[Side | None] = ()) -> Self:
        """Return files of the given classes and sides, or no sides, and of no group."""
        n = len(paths)
        return cls(paths, list(names), list(sides) or [None] * n, [""] * n)


@dataclass(frozen=True, slots=True)
class Arranged:
    """The files to read, the classes they should fill, and what was noticed on the way."""

    files: Files
    classes: Sequence[str]
    problems: Sequence[Problem] = ()


@dataclass
class _Top:
    """A folder at the top: images in itself, and in each folder inside it."""

    direct: int = 0
    below: Counter[str] = field(default_factory=Counter)

    @property
    def images(self) -> int:
        return self.direct + self.below.total()

    @property
    def only_folders(self) -> bool:
        return bool(self.below) and not self.direct


@collected_later()
def arrange(root: Path, found: Found) -> Arranged:
    """Give every image file its class and, where folders say so, its side.

    Raises:
        DataError: If the folders are those of a detection set, of sides without classes, or of
            patients or slides, or if labels lie beside images in a CSV.
    """
    arranged = _arranged(root, found)
    used = set(arranged.files.paths if found.loose else ())
    what = "an image outside every class folder is not used; move it into one"
    unused = [Problem("warning", path, what) for path in found.loose if path not in used]
    return replace(arranged, problems=(*arranged.problems, *unused))


def _arranged(root: Path, found: Found) -> Arranged:
    tops = _tops(found)
    named = _sides_named(tops)
    if is_detection_set(root, found):
        raise DataError(
            f"{show(root)} is a detection set: it has boxes around cells, and a class is told by its folder "
            f"here. Crop its boxes first, each into the folder of its class: hemoscope data crop {show(root)} "
            f"--out {show(_beside(root))}"
        )
    if len(named) > 1:
        return _sides_above(root, found, tops, named)
    if inside := _sides_inside(tops):
        return _sides_below(found, inside)
    if len(tops) < 2:
        _refuse_for_list(root, found)
    copies = [name for name in tops if _is_copy(tops, name)]
    rest = {name: top for name, top in tops.items() if name not in copies}
    _refuse_patients(root, rest)
    paths = [path for path in found.files if _top(path) in rest] if copies else found.files
    names = chain.from_iterable(repeat(name, top.images) for name, top in rest.items())  # in the paths' order
    problems = [
        _not_used(name, tops[name], "repeats the class folders; it looks like a copy of them")
        for name in copies
    ]
    if "labels.csv" in found.others:
        what = "lies beside the class folders and is not used; to use its split and groups, give it in their place"
        problems.append(Problem("warning", "labels.csv", what))
    classes = [name for name in found.classes if name in rest]
    return Arranged(Files.of(paths, names), classes, problems)


def look_alikes(classes: Iterable[str]) -> list[Problem]:
    """Return a warning for each group of names that differ in case, outer blanks or Unicode form only."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        key = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).strip().casefold())
        alike[key].append(name)
    return [
        Problem(
            "warning",
            names[0],
            f"class names that look alike are classes of their own: {', '.join(map(ascii, names))}; "
            "rename or merge the folders if they mean one",
        )
        for names in alike.values()
        if len(names) > 1
    ]


def show(path: Path | str) -> str:
    """Return a path that prints on one line of any terminal: odd characters are escaped."""
    text = str(path)
    return text if text.isprintable() else repr(text)


def _tops(found: Found) -> dict[str, _Top]:
    tops = {name: _Top() for name in found.classes}
    for folder, n in found.folders.items():
        name, _, inside = folder.partition("/")
        if inside and n:
            tops[name].below[inside.partition("/")[0]] += n
        elif n:
            tops[name].direct += n
    return tops


def _top(path: str) -> str:
    return path.partition("/")[0]


def _sides_named(names: Iterable[str]) -> dict[str, Side]:
    """Return the names that are names of sides."""
    keys = {name: name.strip().casefold() for name in names}
    return {name: SIDE_NAMES[key] for name, key in keys.items() if key in SIDE_NAMES}


def _sides_above(root: Path, found: Found, tops: Mapping[str, _Top], named: Mapping[str, Side]) -> Arranged:
    """Take ROOT/SIDE/CLASS/IMAGE as it is given; folders beside the sides are not used."""
    seen_in = Counter(name for top in named for name in tops[top].below)
    shared = sum(n > 1 for n in seen_in.values())
    if len(seen_in) < 2 or not shared or not all(tops[name].only_folders for name in named):
        _refuse_for_list(root, found)
        raise DataError(
            f"{_listed(named)} in {show(root)} are names of sides of a split and no classes; expected the same "
            f"class folders inside each: {show(next(iter(named)))}/CLASS/IMAGE"
        )
    paths = [path for path in found.files if _top(path) in named]
    files = Files.of(paths, (path.split("/")[1] for path in paths), (named[_top(path)] for path in paths))
    others = [name for name in tops if name not in named]
    problems = [Problem("note", ".", f"{_listed(named)} are used as the sides of a given split")]
    problems += [_not_used(name, tops[name], "lies beside the sides of a split") for name in others]
    folders = (path.split("/") for path in found.folders)
    classes = sorted({parts[1] for parts in folders if len(parts) > 1 and parts[0] in named})
    return Arranged(files, classes, problems)


def _sides_inside(tops: Mapping[str, _Top]) -> dict[str, Side]:
    """Return the sides where every class folder holds nothing but folders of sides; else nothing."""
    names = {name for top in tops.values() for name in top.below}
    sides = _sides_named(names)
    whole = len(tops) > 1 and len(sides) == len(names) and not any(top.direct for top in tops.values())
    return sides if whole and len(set(sides.values())) > 1 else {}


def _sides_below(found: Found, sides: Mapping[str, Side]) -> Arranged:
    """Take ROOT/CLASS/SIDE/IMAGE as it is given."""
    files = Files.of(found.files, map(_top, found.files), (sides[path.split("/")[1]] for path in found.files))
    what = f"{_listed(sorted(sides))} inside the class folders are used as the sides of a given split"
    return Arranged(files, found.classes, [Problem("note", ".", what)])


def _is_copy(tops: Mapping[str, _Top], name: str) -> bool:
    top = tops[name]
    return top.only_folders and len(top.below) > 1 and set(top.below) <= set(tops) - {name}


def _refuse_patients(root: Path, tops: Mapping[str, _Top]) -> None:
    """Stop where the same folders lie inside the top folders: either may be the classes."""
    seen_in = Counter(name for top in tops.values() for name in top.below)
    again = [name for name, n in seen_in.items() if n > 1]
    if (
        len(tops) < 2
        or len(seen_in) < 2
        or 2 * len(again) < len(seen_in)
        or not all(top.only_folders for top in tops.values())
    ):
        return
    where = show(root)
    raise DataError(
        f"{_listed(tops)} in {where} hold folders of the same names ({_listed(again)}); either may be the "
        f"classes, and the others patients or slides. Write a list that says so and give it in place of the folder: "
        f"hemoscope data list {where} --out {show(root / 'labels.csv')} --class-level 2 --group-level 1 if "
        f"{show(again[0])} is a class, --class-level 1 --group-level 2 if {show(next(iter(tops)))} is one"
    )


def _refuse_for_list(root: Path, found: Found) -> None:
    """Stop where images without class folders have one CSV beside them."""
    lists = [name for name in found.others if "/" not in name and name.lower().endswith((".csv", ".tsv"))]
    if len(lists) == 1 and (found.files or found.loose):
        raise DataError(
            f"expected class folders in {show(root)}, found images and {show(lists[0])}. If it holds their "
            f"labels (columns path, class and, if there are any, split and group), give it in place of the "
            f"folder: {show(root / lists[0])}"
        )


def _beside(root: Path) -> Path:
    """Return a folder beside one, whose name says what it is of."""
    named = root if root.name not in ("", "..") else root.resolve()  # `.` has no name
    return named.with_name(f"{named.name}-cells")


def _not_used(name: str, top: _Top, why: str) -> Problem:
    return Problem("warning", name, f"{why}; its {top.images} images are not used")


def _listed(names: Iterable[str]) -> str:
    names = [show(name) for name in names]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
