"""A folder of class folders, a CSV of labels or a file of images becomes a Manifest with every problem in it.

The scan reads each file once, in parallel, and collects what it finds instead of stopping at the
first bad file. It never writes into the data folder, never follows a link in a circle, and never
decides what to do about a problem: `usable` does, when training asks for it.
"""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import compress
from operator import attrgetter
from pathlib import Path
from typing import Any

from hemoscope.data.images.decode import decode, read_image_file
from hemoscope.data.images.fingerprint import Fingerprint, fingerprint
from hemoscope.data.scan.cache import FileStamp, ScanCache
from hemoscope.data.scan.layout import Files, arrange, look_alikes, show
from hemoscope.data.scan.masks import masks_among
from hemoscope.data.scan.packed import is_packed, parquet_in, unpacked
from hemoscope.data.scan.walk import Found, is_hidden, walk
from hemoscope.errors import DataError, ImageError
from hemoscope.places import available_cores, cache_dir
from hemoscope.progress import Progress
from hemoscope.records import CellImage, Manifest, Problem, collected_later, sorted_by_level

__all__ = ["SUBTYPES", "scan", "subtype_of", "usable"]

SUBTYPES = frozenset(
    {"BA", "BNE", "EO", "ERB", "IG", "LY", "MMY", "MO", "MY", "NEUTROPHIL", "PLATELET", "PMY", "SNE"}
)
_SHOWN = 20
_AT_ONCE = 4096  # files; what waits for its turn takes 2 kB a file
_LONGEST_NAME = 200  # as in a bundle's card
_TOO_FEW = "expected at least 2 class folders"


def scan(root: Path, *, progress: Progress | None = None, cache: Path | None = None) -> Manifest:
    """Read every image below a data folder, in a list, inside a zip or Parquet, or inside a BloodMNIST `.npz`.

    Args:
        root: A folder of class folders (folders inside them belong to their class), or of folders of
            sides with class folders inside; a CSV of labels; a zip or Parquet of such, which is unpacked into
            the cache and becomes the manifest's root; or an `.npz`.
        progress: Called after each image, from the calling thread.
        cache: A file that remembers what was read, so that a second scan reads only files whose
            size or times changed. Written atomically; a damaged one is ignored. Not for an `.npz`.

    Returns:
        The readable images and every problem found, errors first.

    Raises:
        DataError: If `root` is none of these, is malformed, or is laid out as something else.
    """
    found = _scan(root, progress, cache)
    return found if found.root == root else replace(found, source=root)


def _scan(root: Path, progress: Progress | None, cache: Path | None) -> Manifest:
    if _state(root) == "a file" and is_packed(root):
        return _scan_packed(root, [root], progress, cache)
    state = _state(root)
    kind = root.suffix.lower()
    if state == "a file" and kind == ".npz":
        from hemoscope.data.scan.npz import scan_npz

        return scan_npz(root, progress=progress)
    if state == "a file" and kind in {".csv", ".tsv"}:
        from hemoscope.data.scan.labels_csv import listed

        found, arranged, root = Found(), listed(root), root.parent
    elif state == "a folder":
        found = walk(root)
        if packed := parquet_in(root, found):
            return _scan_packed(root, packed, progress, cache)
        arranged = arrange(root, found)
    else:
        raise DataError(
            f"expected a folder of class folders, a CSV of labels, a zip or Parquet of labelled images, or a "
            f"BloodMNIST .npz at {show(root)}, found {state}. Get one: hemoscope data fetch pbc, or hemoscope data synth DIR"
        )
    remembered = ScanCache.load(cache, root)
    images, converted, problems = _read_all(root, arranged.files, remembered, progress)
    if cache is not None:
        try:
            remembered.save(cache)
        except OSError as error:  # remembering is a help, not the work
            what = f"what was read cannot be remembered in {show(cache)}: {error.strerror or error}"
            problems.append(Problem("note", ".", f"{what}; the next scan reads all of it again"))
    masks = masks_among(root, images)
    nameless = {name for name in arranged.classes if _why_no_name(name)}
    if nameless or masks:
        unused = set(masks)
        images = [i for i in images if i.class_name not in nameless and i.path not in unused]
    problems += [*found.problems, *arranged.problems, *_mask_problem(masks), *look_alikes(arranged.classes)]
    problems += _class_problems(root, arranged.classes, {image.class_name for image in images})
    return Manifest(
        root=root,
        classes=tuple(sorted(arranged.classes)),
        images=tuple(sorted(images, key=attrgetter("path"))),
        problems=sorted_by_level(problems),
        not_images=found.not_images,
        converted=dict(sorted(converted.items())),
    )


def usable(manifest: Manifest, *, skip_bad: bool | None, at_least: int = 2) -> Manifest:
    """Return what training may use, or say everything that stands against it.

    Args:
        manifest: The result of a scan.
        skip_bad: Leave bad files and empty classes out instead of refusing. What was left out is
            in the manifest's `left_out`. None refuses like False, where there is no
            option to advise.
        at_least: How many classes must remain: two to train on, one to score.

    Raises:
        DataError: If there are errors and `skip_bad` is off, or too few classes remain.
    """
    where = show(manifest.source or manifest.root)
    classes = tuple(name for name, count in manifest.counts.items() if count)
    enough = len(classes) >= at_least
    errors = [p for p in manifest.errors if at_least > 1 or not p.what.startswith(_TOO_FEW)]
    if errors and not skip_bad:
        lines = [f"  {show(p.path)}: {p.what}" for p in errors[:_SHOWN]]
        if len(errors) > _SHOWN:
            lines.append(f"  and {len(errors) - _SHOWN} more")
        raise DataError(
            f"{where} has {len(errors)} problem(s) that stop {'the work' if skip_bad is None else 'training'}:\n"
            + "\n".join(lines)
            + f"\nLook at all of them: hemoscope data check {where}"
            + (
                ". Move them out of it"
                if skip_bad is None
                else ". Leave them out: --skip-bad"
                if enough
                else ""
            )
        )
    if not enough:
        raise DataError(
            f"expected images of at least {at_least} {'classes' if at_least > 1 else 'class'} in {where}, found {len(classes)}. "
            f"See: hemoscope data check {where}"
        )
    kept = tuple(problem for problem in manifest.problems if problem.level != "error")
    return replace(manifest, classes=classes, problems=kept, left_out=manifest.errors)


def subtype_of(name: str) -> str:
    """Return the subtype in a PBC file name, or nothing.

    >>> subtype_of("SNE_123.jpg"), subtype_of("cell_123.jpg")
    ('SNE', '')
    """
    prefix, separator, _ = name.partition("_")
    return prefix if separator and prefix in SUBTYPES else ""


def _scan_packed(
    root: Path, sources: Sequence[Path], progress: Progress | None, cache: Path | None
) -> Manifest:
    try:
        folder = unpacked(sources)
    except OSError as error:
        raise DataError(
            f"{show(sources[0])} cannot be unpacked into the cache, {cache_dir()}: {error.strerror or error}. Make "
            "room, choose another with HEMOSCOPE_CACHE, or unpack it yourself and name the folder"
        ) from error
    try:
        return scan(folder, progress=progress, cache=cache)
    except DataError as error:  # advice must not lead into the cache, which may be cleared
        theirs = root.with_suffix("") if root.is_file() else root
        if folder.is_file():
            theirs /= folder.name
        raise DataError(
            f"{str(error).replace(show(folder), show(theirs))}\nFirst unpack {show(root)} there"
        ) from error


def _state(root: Path) -> str:
    try:
        mode = root.stat().st_mode
    except FileNotFoundError:
        return "nothing"
    except OSError as error:
        return f"what cannot be read: {error.strerror or error}"
    return "a folder" if stat.S_ISDIR(mode) else "a file"


def _read_all(
    root: Path, files: Files, cache: ScanCache, progress: Progress | None
) -> tuple[list[CellImage], Counter[str], list[Problem]]:
    """Return the images, what was converted in them, and what could not be read."""
    same = cache.unchanged(root, files.paths)
    images, converted = _known_images(files, same, cache), cache.conversions()
    problems: list[Problem] = []
    n, unread = len(files.paths), [i for i, is_known in enumerate(same) if not is_known]
    if progress is not None and images:
        progress("reading images", len(images), n)
    results = _read_parallel(root, [files.paths[i] for i in unread], cache)
    for done, (i, result) in enumerate(zip(unread, results, strict=True), start=len(images) + 1):
        path = files.paths[i]
        if isinstance(result, ImageError):
            problems.append(Problem("error", path, str(result)))
        else:
            said = files.class_names[i], _subtype(path), files.sides[i], files.groups[i]
            images.append(result.image(path, *said))
            converted.update(result.conversions)
        if progress is not None:
            progress("reading images", done, n)
    return images, converted, problems


@collected_later()
def _known_images(files: Files, same: Sequence[bool], cache: ScanCache) -> list[CellImage]:
    columns: list[list[Any]] = [list(compress(column, same)) for column in files]
    paths, class_names, sides, groups = columns
    known = cache.remembered()
    rows = zip(paths, class_names, map(_subtype, paths), *known, sides, groups, strict=True)
    return list(map(CellImage._make, rows))


def _subtype(path: str) -> str:
    return subtype_of(path.rpartition("/")[2])


def _read_parallel(root: Path, paths: Sequence[str], cache: ScanCache) -> Iterator[Fingerprint | ImageError]:
    """Read files in parallel threads; Pillow, OpenCV and hashing let go of the interpreter."""
    pool = ThreadPoolExecutor(max_workers=available_cores(), thread_name_prefix="scan")
    try:
        for start in range(0, len(paths), _AT_ONCE):
            yield from pool.map(lambda path: _read_one(root, path, cache), paths[start : start + _AT_ONCE])
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C waits for the files in hand, not for all


def _read_one(root: Path, path: str, cache: ScanCache) -> Fingerprint | ImageError:
    try:
        file = root / path
        stamp = FileStamp.of(file)
        data = read_image_file(file)
        result = fingerprint(decode(data), data)
    except ImageError as error:
        return error
    cache.put(path, stamp, result)
    return result


def _mask_problem(masks: Sequence[str]) -> Iterator[Problem]:
    if masks:
        what = (
            f"{len(masks)} images of at most four grey values have the name of another image, as masks have "
            f"({', '.join(map(show, masks[:2]))}{', ...' if len(masks) > 2 else ''}); they are not used"
        )
        yield Problem("warning", ".", what)


def _class_problems(root: Path, classes: Sequence[str], with_images: set[str]) -> list[Problem]:
    problems = [
        Problem(
            "error",
            name,
            _why_no_name(name) or "the class folder holds no readable image; expected at least 1",
        )
        for name in classes
        if name not in with_images
    ]
    if len(classes) < 2:
        what = f"{_TOO_FEW}, found {len(classes)}"
        problems.append(Problem("error", ".", what + _hint(root, classes)))
    return problems


def _why_no_name(name: str) -> str:
    """Return why a class cannot have a name, which stands in tables and bundles; empty if it can."""
    if any("\ud800" <= character <= "\udfff" for character in name):  # bytes that are no text, in Python
        return "the name of the class is no UTF-8; rename it"
    if any(character < " " for character in name):
        return "the name of the class holds a control character; rename it"
    return (
        ""
        if len(name) <= _LONGEST_NAME
        else f"the name of the class is longer than {_LONGEST_NAME} characters"
    )


def _hint(root: Path, classes: Sequence[str]) -> str:
    if len(classes) != 1:
        return "; expected ROOT/CLASS/IMAGE"
    inner = root / classes[0]
    try:
        folders = [p for p in inner.iterdir() if p.is_dir() and not is_hidden(p.name)]
    except OSError:
        return ""
    return f"; did you mean {show(inner)}?" if folders else "; expected ROOT/CLASS/IMAGE"
