"""The pictures of a detection set, found by what its label files say. Opens no file."""

from __future__ import annotations

import posixpath
import re
import reprlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from hemoscope.data.scan.csv_rows import plain
from hemoscope.data.scan.detection_sets import BOX_FOLDERS, side_named
from hemoscope.records import Side

__all__ = ["Pictures", "one_of", "side_of"]


class Pictures:
    """The pictures below a folder, found by what label files say. Nothing outside of it is ever found."""

    def __init__(self, paths: Iterable[str], labels: Iterable[str] = ()) -> None:
        self.paths = sorted(paths)
        self._parallel = not {_place(path) for path in self.paths}.isdisjoint(map(_place, labels))
        self._known = {plain(path): path for path in self.paths}
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        self._by_place: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for path in self.paths:
            self._by_place[(*_place(path), _stem(path))].append(path)
            self._by_stem[_stem(path)].append(path)
            self._by_name[_name(path)].append(path)

    def of_labels(self, labels: str) -> list[str]:
        """Return the pictures of a label file's name: in the parallel folder, or anywhere if no folders are parallel."""
        stem = _stem(labels)
        beside = self._by_place.get((*_place(labels), stem), [])
        return beside if beside or self._parallel else _nearest(self._by_stem.get(stem, []), labels)

    def named(self, name: str, labels: str) -> list[str]:
        """Return the pictures that a label file may mean by a name, best one where it lies nearest.

        Raises:
            ValueError: If the name leads out of the folder.
        """
        name = plain(name.strip())
        beside = posixpath.normpath(posixpath.join(posixpath.dirname(plain(labels)), name))
        for path in (beside, posixpath.normpath(name)):
            if path in self._known:
                return [self._known[path]]
        if name.startswith("/") or name[1:2] == ":" or ".." in name.split("/"):
            raise ValueError(f"picture {reprlib.repr(name)} is no path below the folder of the set")
        alike = self._by_name.get(_name(name), [])
        return _nearest([path for path in alike if f"/{plain(path)}".endswith(f"/{name}")], labels)

    def listed(self, line: str) -> list[str]:
        """Return the pictures that a line of a list may mean: a path, as it was on any computer, or a bare name."""
        line = plain(line.strip())
        name = line.rpartition("/")[2]
        found = self._by_name.get(name) or self._by_stem.get(name, [])
        return [path for path in found if f"/{line}".endswith(f"/{plain(path)}")] or list(found)


def one_of(found: Sequence[str], what: str) -> str:
    """Return the one picture that was found.

    Raises:
        ValueError: If it is none or several.
    """
    if not found:
        raise ValueError(f"there is no picture {what}")
    if len(found) > 1:
        raise ValueError(f"picture {what} may be {found[0]!r} or {found[1]!r}")
    return found[0]


def side_of(path: str) -> Side | None:
    """Return the side that the folders of a path say, the uppermost one that does, or the name of a JSON file.

    >>> side_of("images/train2017/1.jpg"), side_of("a/instances_val2017.json"), side_of("images/training set/1.jpg")
    ('train', 'val', None)
    """
    *folders, name = path.split("/")
    words = re.split(r"[^a-z]+", name.casefold()) if name.lower().endswith(".json") else []
    return next((side for part in (*folders, *words) if (side := side_named(part))), None)


def _stem(path: str) -> str:
    return PurePosixPath(plain(path)).stem


def _name(path: str) -> str:
    return PurePosixPath(plain(path)).name


def _nearest(found: Sequence[str], labels: str) -> list[str]:
    """Return the pictures that are not on another side than a label file; of several, those in its parallel folder."""
    side = side_of(labels)
    found = [path for path in found if not side or side_of(path) in (None, side)]
    for place in (_place, side_of):
        if len(found) > 1:
            near = [path for path in found if place(path) == place(labels)]
            found = near or found
    return list(found)


def _place(path: str) -> tuple[str, ...]:
    """Return the folders but for those that only part pictures from labels.

    >>> _place("train/images/1.jpg") == _place("train/labels/1.txt")
    True
    """
    return tuple(part for part in plain(path).split("/")[:-1] if part.casefold() not in BOX_FOLDERS)
