"""Which class of somebody's data is which class of a model: by name, by a file, or by asking the person.

Names that mean one thing in the field are known here. Everything else is for a person to decide, in a file: what is
guessed is written down as a question and never used.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hemoscope.errors import DataError
from hemoscope.files import atomic_path
from hemoscope.plain_files import read_plain, why

__all__ = ["ASK", "ClassMap", "match_classes", "meaning", "propose", "read_class_map", "write_proposal"]

ClassMap = Mapping[str, str | None]
"""Of every class of the data the model's class, or None where it is none of them."""

ASK = "?"
"""What stands in a file where a person has to decide."""

MAX_BYTES = 2**20

# As the field writes them, PBC's file names and the codes of Matek et al. (2019, 2021; AML-Cytomorphology_LMU,
# Bone-Marrow-Cytomorphology) included. PBC's `ig` are promyelocytes, myelocytes and metamyelocytes, its neutrophils
# band and segmented ones (Acevedo et al. 2020).
_NAMES = {
    "basophil": "ba bas baso basophil basophile basophilic-granulocyte",
    "eosinophil": "eo eos eosinophil eosinophile eosinophilic-granulocyte",
    "erythroblast": "erb ebo nrbc erythroblast normoblast nucleated-red-blood-cell nucleated-rbc",
    "ig": "ig pmy pmo my myb mmy mmz immature-granulocyte promyelocyte myelocyte metamyelocyte",
    "lymphocyte": "ly lym lymph lymphocyte lyt typical-lymphocyte",
    "monocyte": "mo mon mono monocyte",
    "neutrophil": "ne neu neut neutrophil neutrophile bne ngb sne ngs pmn seg band stab band-neutrophil banded-neutrophil "
    "neutrophil-band segmented-neutrophil neutrophil-segmented neutrophilic-granulocyte",
    "platelet": "pl plt platelet thrombocyte",
}
_NONE_OF_THEM = ("artefact", "artifact", "smudge", "ksc", "art", "background", "debris", "stain")


def match_classes(classes: Iterable[str], known: Sequence[str], given: ClassMap | None = None) -> ClassMap:
    """Return which of a model's classes each class of the data is.

    Args:
        classes: Class names of the data.
        known: The model's.
        given: What a person has decided; it comes before any name.

    Raises:
        DataError: If the name of a class says nothing, a decision is of a name that the data write in another way, or no
            class is one of the model's.

    >>> match_classes(["NGS", "monocyte"], ["monocyte", "neutrophil"])
    {'NGS': 'neutrophil', 'monocyte': 'monocyte'}
    """
    given, classes = given or {}, list(classes)
    other = {_plain(name): name for name in classes if name not in given}
    misspelt = [
        f"{name} for {other[_plain(name)]}" for name in given if name not in classes and _plain(name) in other
    ]
    # An exclusion would be lost by a capital; names of no class here are those of other data of the same laboratory.
    if misspelt:
        raise DataError(
            f"the map of classes writes {', '.join(misspelt)}; expected every class as the data name it"
        )
    found = {name: given[name] if name in given else _by_name(name, known) for name in classes}
    open_ones = [name for name, to in found.items() if to == ASK]
    if open_ones:
        raise DataError(
            f"the data hold classes whose name does not say which of the model's they are: {', '.join(open_ones)}. "
            f"It knows {', '.join(known)}. Say it in a file: --classes MAP.toml writes one to fill in, where there is none"
        )
    if not any(found.values()):
        raise DataError(
            f"none of the data's classes ({', '.join(found)}) is one of the model's: {', '.join(known)}"
        )
    return found


def propose(classes: Iterable[str], known: Sequence[str]) -> str:
    """Return a file in which a person decides, TOML; what a name does not settle is a question there."""
    lines = [
        "# Which class of the data is which of the model's. Put a name of the model in place of every",
        f'# "{ASK}", or false where it is none of them.',
        f"# The model knows: {', '.join(known)}",
        "",
        "[classes]",
    ]
    for name in classes:
        to = _by_name(name, known)
        guess = (
            f"  # perhaps {_toml(_guess(name, known))}" if to == ASK and _guess(name, known) != ASK else ""
        )
        lines.append(f"{_toml(name)} = {_toml(to)}{guess}")
    return "\n".join(lines) + "\n"


def write_proposal(path: Path, classes: Iterable[str], known: Sequence[str]) -> None:
    """Write what `propose` returns, whole or not at all."""
    with atomic_path(path) as part:
        part.write_text(propose(classes, known), "utf-8")


def read_class_map(path: Path, known: Sequence[str]) -> ClassMap:
    """Return what a person decided.

    Args:
        path: A TOML file with a table `classes`.
        known: The model's classes.

    Raises:
        DataError: If it cannot be read or decides something else; the message names all of its problems.
    """
    try:
        found = tomllib.loads(read_plain(path, most=MAX_BYTES).decode("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a map of classes: {why(error)}; expected TOML") from error
    decided = found.get("classes")
    if set(found) != {"classes"} or not isinstance(decided, dict) or not decided:
        raise DataError(f'{path}: expected a table [classes] with lines such as "NGS" = "neutrophil"')
    wrong = [
        f"{name} = {_toml(to) if isinstance(to, str | bool) else to}"
        for name, to in decided.items()
        if to is not False and to not in known
    ]
    if wrong:
        raise DataError(
            f"{path}: expected a class of the model ({', '.join(known)}) or false after every name; got "
            f"{'; '.join(wrong)}"
        )
    return {name: to or None for name, to in decided.items()}


def _by_name(name: str, known: Sequence[str]) -> str:
    """Return the model's class of this name or meaning, or that it has to be asked."""
    if name in known:
        return name
    plain, meant = _plain(name), meaning(name)
    same = [to for to in known if (plain and _plain(to) == plain) or (meant and meaning(to) == meant)]
    return same[0] if len(same) == 1 else ASK


def _guess(name: str, known: Sequence[str]) -> str | bool:
    plain = _plain(name)
    if any(word in plain.split("-") or (len(word) > 3 and word in plain) for word in _NONE_OF_THEM):
        return False
    inside = Counter({to: len(meaning(to) or to) for to in known if (meaning(to) or _plain(to)) in plain})
    close = difflib.get_close_matches(plain, [_plain(to) for to in known], n=1, cutoff=0.75)
    if inside:
        return inside.most_common(1)[0][0]
    return next(to for to in known if _plain(to) == close[0]) if close else ASK


def meaning(name: str) -> str | None:
    """Return which of PBC's eight classes a name means in the field; None where it says nothing.

    >>> meaning("Segmented neutrophils"), meaning("blast")
    ('neutrophil', None)
    """
    plain = _plain(name)
    return next(
        (to for to, names in _NAMES.items() if {plain, plain.removesuffix("s")} & {*names.split()}), None
    )


def _plain(name: str) -> str:
    """Return a name in small letters of any script, with one hyphen between its words; a sign after a word stays.

    >>> _plain("Segmented_Neutrophils"), _plain("CD3+"), _plain("CD3-"), _plain("好中球 (1)")
    ('segmented-neutrophils', 'cd3+', 'cd3−', '好中球-1')
    """
    same = unicodedata.normalize("NFKC", name).casefold()
    signed = re.sub(r"(?<=\w)-(?!\w)", "−", same)
    return re.sub(r"[^\w+−]+|_+", "-", signed).strip("-")


def _toml(value: str | bool | None) -> str:
    return "false" if value is None or value is False else json.dumps(value, ensure_ascii=False)
