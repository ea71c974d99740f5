"""Which class of the data is which of the model's: by name, by a file, or not at all."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from hemoscope import paper
from hemoscope.data.class_map import match_classes, propose, read_class_map, write_proposal
from hemoscope.errors import DataError

PBC = paper.CLASSES


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Segmented neutrophil", "neutrophil"),
        ("NGS", "neutrophil"),
        ("band_neutrophils", "neutrophil"),
        ("LYT", "lymphocyte"),
        ("EOS", "eosinophil"),
        ("NRBC", "erythroblast"),
        ("Nucleated red blood cells", "erythroblast"),
        ("PMY", "ig"),
        ("metamyelocytes", "ig"),
        ("PLT", "platelet"),
        ("Monocytes", "monocyte"),
    ],
)
def test_common_names_of_the_field_are_known(name: str, meant: str):
    assert match_classes([name], PBC) == {name: meant}


def test_a_model_may_have_the_common_name_and_the_data_the_long_one():
    assert match_classes(["neutrophil"], ["NEU", "LYM"]) == {"neutrophil": "NEU"}


@pytest.mark.parametrize(
    ("name", "known"),
    [("CD3+", "CD3-"), ("blast-", "blast+"), ("単球", "好中球"), ("лимфоцит", "нейтрофил"), ("(1)", "(2)")],
)
def test_signs_and_letters_of_any_script_are_a_part_of_a_name(name: str, known: str):
    with pytest.raises(DataError, match="does not say which"):
        match_classes([name], [known, "other"])
    assert match_classes([f" {known}"], [known, "other"]) == {f" {known}": known}


def test_a_name_that_two_classes_of_the_model_share_is_asked():
    with pytest.raises(DataError, match="they are: neutrophil"):
        match_classes(["neutrophil", "NGS"], ["NGS", "NGB"])


def test_a_name_that_says_nothing_is_asked_and_all_of_them_at_once():
    with pytest.raises(DataError, match="they are: LYA, blast.*--classes MAP.toml"):
        match_classes(["LYA", "blast", "EOS"], PBC)


def test_what_a_person_decided_comes_before_any_name():
    assert match_classes(["EOS", "LYA"], PBC, {"EOS": "basophil", "LYA": None}) == {
        "EOS": "basophil",
        "LYA": None,
    }


def test_a_decision_of_a_name_that_the_data_write_otherwise_is_refused():
    with pytest.raises(DataError, match="writes Mono for mono; expected every class as the data name it"):
        match_classes(["mono", "NGS"], PBC, {"Mono": None, "basophil": None})
    both = {"Mono": None, "mono": "monocyte", "basophil": None}  # one map for two data sets
    assert match_classes(["mono"], PBC, both) == {"mono": "monocyte"}


def test_data_of_other_cells_alone_are_refused():
    with pytest.raises(DataError, match="none of the data's classes"):
        match_classes(["blast"], PBC, {"blast": None})


def test_a_proposal_says_what_is_sure_and_asks_for_the_rest(tmp_path: Path):
    names = ["NGS", "Smudge cell", "Atypical lymphocyte", 'an "odd" one', "lymphocites"]
    write_proposal(tmp_path / "map.toml", names, PBC)
    text = (tmp_path / "map.toml").read_text("utf-8")
    assert tomllib.loads(text) == {"classes": {"NGS": "neutrophil"} | dict.fromkeys(names[1:], "?")}
    assert '"Smudge cell" = "?"  # perhaps false' in text
    assert '"Atypical lymphocyte" = "?"  # perhaps "lymphocyte"' in text
    assert '"lymphocites" = "?"  # perhaps "lymphocyte"' in text
    assert text == propose(names, PBC)
    with pytest.raises(DataError, match="Smudge cell = .* Atypical lymphocyte"):
        read_class_map(tmp_path / "map.toml", PBC)


def test_a_file_that_was_filled_in_is_read_as_an_editor_saves_it(tmp_path: Path):
    (tmp_path / "map.toml").write_bytes(
        "\ufeff[classes]\r\n\"NGS\" = 'neutrophil'\r\nKSC = false\r\n".encode()
    )
    assert read_class_map(tmp_path / "map.toml", PBC) == {"NGS": "neutrophil", "KSC": None}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("NGS: neutrophil", "cannot be read as a map of classes"),
        ("", r"expected a table \[classes\]"),
        ("[classes]\n", r"expected a table \[classes\]"),
        ('[classes]\na = "ig"\n[more]\n', r"expected a table \[classes\]"),
        ('[classes]\na = "neutrofil"\nb = true\nc = 1\n', 'a = "neutrofil"; b = .*; c = 1'),
    ],
)
def test_a_file_that_decides_nothing_is_refused_with_all_of_its_problems(
    tmp_path: Path, text: str, message: str
):
    (tmp_path / "map.toml").write_text(text)
    with pytest.raises(DataError, match=message):
        read_class_map(tmp_path / "map.toml", PBC)
