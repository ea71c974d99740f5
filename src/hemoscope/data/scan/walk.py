"""Which files below a data folder are images of which class, by their names and places only.

No file is opened here. Links are followed, but never in a circle; what is passed over is counted
and said.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path

from hemoscope.data.images.decode import IMAGE_SUFFIXES
from hemoscope.records import Problem, collected_later

__all__ = ["Found", "is_folder", "is_hidden", "walk"]

_LEFTOVERS = frozenset(
    (
        "@eadir",
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "system volume information",
        "lost+found",
        "__pycache__",
    )
)


@dataclass
class Found:
    """What walking the folders has met so far.

    Attributes:
        files: Path below the root of every file named like an image, class by class; its first part is the class.
        classes: Names of the class folders.
        folders: How many of the files lie in each folder itself, by its path.
        loose: Images outside every class folder.
        others: Paths of files that are no images and not hidden.
        problems: What is not as expected.
        not_images: Files that are no images by their name.
    """

    files: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    folders: dict[str, int] = field(default_factory=dict)
    loose: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    not_images: int = 0

    def pass_over(self, path: str, what: str, *, hidden: bool = False) -> None:
        """Count a file that is no image; a note if that was to be expected, else a warning."""
        self.not_images += 1
        self.problems.append(Problem("note" if hidden else "warning", path, what))

    def not_an_image(self, path: str, *, hidden: bool = False) -> None:
        """Count a file that has no name of an image."""
        self.others.append(path)
        self.pass_over(path, "not an image; passed over", hidden=hidden)

    def cannot_read(self, path: str, error: OSError) -> None:
        """Record a folder that cannot be looked into."""
        what = f"the folder cannot be read: {error.strerror or error}"
        self.problems.append(Problem("error", path, what))


@collected_later()
def walk(root: Path) -> Found:
    """List the image files of every class folder, each folder in the order of its names."""
    found = Found()
    ancestors = frozenset({_identity(root)})
    for entry in _entries(root, "", found):
        if is_hidden(entry.name):
            _pass_over_hidden(entry, entry.name, found)
        elif is_folder(entry):
            found.classes.append(entry.name)
            _walk_class(Path(entry.path), entry.name, found, ancestors)
        elif _is_image_name(entry.name):
            found.loose.append(entry.name)
        else:
            found.not_an_image(entry.name, hidden=True)
    return found


def _walk_class(folder: Path, below: str, found: Found, ancestors: frozenset[tuple[int, int]]) -> None:
    """Collect the files of a class folder and of the folders inside it; `below` is its path."""
    try:
        identity = _identity(folder)
    except OSError as error:
        found.cannot_read(below, error)
        return
    if identity in ancestors:
        found.problems.append(Problem("warning", below, "a link back to a folder above; not followed"))
        return
    found.folders[below] = 0
    for entry in _entries(folder, below, found):
        name = entry.name
        path = f"{below}/{name}"
        is_image = _is_image_name(name)
        if name.startswith(".") or (not is_image and is_hidden(name)):  # no leftovers are named like an image
            _pass_over_hidden(entry, path, found)
        elif is_folder(entry):
            _walk_class(Path(entry.path), path, found, ancestors | {identity})
        elif is_image:
            found.files.append(path)
            found.folders[below] += 1
        else:
            found.not_an_image(path)


def _entries(folder: Path, below: str, found: Found) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=attrgetter("name"))
    except OSError as error:
        found.cannot_read(below or ".", error)
        return []


def _pass_over_hidden(entry: os.DirEntry[str], path: str, found: Found) -> None:
    """Count a hidden file, each file of a `__MACOSX` folder or of leftovers, or a hidden folder as one."""
    if entry.name == "__MACOSX" and entry.is_dir(follow_symlinks=False):
        for folder, folders, names in os.walk(entry.path):
            folders.sort()
            for name in sorted(names):
                inside = Path(folder, name).relative_to(entry.path).as_posix()
                found.pass_over(f"{path}/{inside}", "left by macOS; passed over", hidden=True)
    elif entry.name.casefold() in _LEFTOVERS and entry.is_dir(follow_symlinks=False):
        inside = sum(len(names) for _, _, names in os.walk(entry.path))
        found.not_images += inside
        what = f"left by a file server, Windows or Python; {inside} files passed over"
        found.problems.append(Problem("note", path, what))
    else:
        found.pass_over(path, "hidden; passed over", hidden=True)


def is_hidden(name: str) -> bool:
    """Tell dot files, the folder that macOS puts into archives, and folders that other systems leave."""
    return name.startswith(".") or name == "__MACOSX" or name.casefold() in _LEFTOVERS


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Tell a folder, also behind a link."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself; reading it as a file then says so
        return False


def _is_image_name(name: str) -> bool:
    return name[name.rfind(".") :].lower() in IMAGE_SUFFIXES


def _identity(folder: Path) -> tuple[int, int]:
    info = folder.stat()
    return info.st_dev, info.st_ino
