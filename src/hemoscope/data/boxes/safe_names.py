"""Names out of strangers' files as names of files and folders, on any system."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable

from hemoscope.data.archive import DEVICE_NAME

__all__ = ["safe_names"]

_LONGEST = 200  # bytes, of the 255 that a disk takes


def safe_names(wanted: Iterable[tuple[str, str]], *, taken: Collection[str] = ()) -> dict[str, str]:
    """Return for each key a name close to the wanted one that no disk refuses or takes for another's.

    Kept are letters and digits of any script, `.`, `_` and `-`. Names differ in more than case.

    >>> safe_names([("a", "red cell"), ("b", "Red/cell"), ("c", "../..")])
    {'a': 'red_cell', 'b': 'Red_cell_2', 'c': '_'}
    """
    held = {_key(name) for name in taken}
    again: Counter[str] = Counter()
    names: dict[str, str] = {}
    for key, text in wanted:
        name = stem = _safe(text)
        while _key(name) in held:
            again[stem] += 1
            name = f"{stem}_{again[stem] + 1}"
        held.add(_key(name))
        names[key] = name
    return names


def _safe(text: str) -> str:
    kept = "".join(c if c.isalnum() or c in "._-" else "_" for c in unicodedata.normalize("NFC", text))
    name = kept.encode()[:_LONGEST].decode(errors="ignore").lstrip(".-").rstrip(".") or "_"
    return f"{name}_" if DEVICE_NAME.fullmatch(name) else name


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name.casefold())
