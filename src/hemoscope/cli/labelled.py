"""What verbs share that ask a model about labelled cells: classes of other names, and images that are no new ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hemoscope.cli.console import note

if TYPE_CHECKING:
    from hemoscope.data.class_map import ClassMap
    from hemoscope.records import Manifest

__all__ = ["given_classes", "tell_classes", "tell_seen"]


def given_classes(path: Path | None, manifest: Manifest, known: Sequence[str]) -> ClassMap | None:
    """Return what a person has decided, or write a file to decide in and stop.

    Args:
        path: The file; None where nobody decides.
        manifest: The labelled cells.
        known: The model's classes.
    """
    from hemoscope.data.class_map import ASK, propose, read_class_map, write_proposal
    from hemoscope.errors import DataError

    if path is None:
        return None
    if path.exists():
        decided = read_class_map(path, known)
        if unused := [name for name in decided if name not in manifest.classes]:
            note(f"{path} decides names that are no class of the data: {', '.join(unused)}")
        return decided
    write_proposal(path, manifest.classes, known)
    n = propose(manifest.classes, known).count(f'= "{ASK}"')
    raise DataError(
        f"wrote {path}: look at what each class of the data is"
        f"{f', decide the {n} that no name settles' if n else ''}, and give the same command again"
    )


def tell_classes(found: ClassMap) -> None:
    """Say which classes of the data were taken for which of the model's, and which for none."""
    renamed = [f"{name} as {to}" for name, to in found.items() if to not in (None, name)]
    left = [name for name, to in found.items() if to is None]
    if renamed:
        note(f"classes of the data taken for classes of the model: {', '.join(renamed)}")
    if left:
        note(f"none of the model's classes, and in no score: {', '.join(left)}")


def tell_seen(seen: Mapping[str, int] | None, n: int, what: Path) -> None:
    """Say how many of the images scored are no new ones."""
    if seen is None:
        note(
            f"which images {what} was trained on is not known; on those that it has seen a score means little"
        )
    elif seen["train"] or seen["val"]:
        note(
            f"warning: it was trained on {seen['train']:,} of these {n:,} images and validated on "
            f"{seen['val']:,}; on images that it has not seen it may do worse. Its own test images: "
            f"hemoscope evaluate {what}"
        )
