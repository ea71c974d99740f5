"""What leaves the house: every format holds the readers' counts, and other people's parsers read it."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fhir.resources.R4B.bundle import Bundle
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message
from PIL import Image

from hemoscope.data.scan.scan import scan
from hemoscope.differential.reference import read_reference
from hemoscope.errors import DataError
from hemoscope.review.bias import Followed
from hemoscope.review.count import count
from hemoscope.review.exports.fhir import as_fhir
from hemoscope.review.exports.hl7 import as_hl7
from hemoscope.review.exports.labelled import write_labelled
from hemoscope.review.exports.page import as_page
from hemoscope.review.exports.report import lines, status
from hemoscope.review.exports.tables import as_json, cells_csv, differential_csv
from hemoscope.review.readers import agreement
from hemoscope.review.state import start
from tests.review.reports import COUNTS, MODEL, report
from tests.review.slides import CLASSES, SHARP, cell, cells_of, give, place


def observations(bundle: dict) -> dict[str, dict]:
    found = [entry["resource"] for entry in bundle["entry"]]
    return {each["code"]["text"]: each for each in found if each["resourceType"] == "Observation"}


def test_percentages_of_every_format_are_the_same_and_add_up_to_100():
    made = report(place([0], "ig"))
    white = {line.label: line.value for line in lines(made) if line.role == "white"}
    assert sum(round(10 * value) for value in white.values()) == 1000
    table = {row["label"]: row for row in csv.DictReader(io.StringIO(differential_csv(made)))}
    fhir = observations(json.loads(as_fhir(made)))
    hl7 = {
        obx.obx_3.obx_3_1.value: obx.obx_5.value
        for obx in results(parse_message(as_hl7(made), find_groups=True))
    }
    page = as_page(made)
    for line in lines(made):
        if line.role == "white":
            assert float(table[line.label]["value"]) == line.value
            assert fhir[line.label]["valueQuantity"]["value"] == line.value
            assert float(hl7[line.code.code]) == line.value
            assert f'<td class="main">{line.value:.1f}</td>' in page


def results(message):
    return [each.obx for each in message.oru_r01_patient_result.oru_r01_order_observation.oru_r01_observation]


def test_a_bundle_of_fhir_is_read_by_its_library_and_holds_together():
    made = report(place([0], "ig"), place([1], "not_classed"))
    bundle = Bundle.model_validate_json(as_fhir(made))
    by_url = {entry.fullUrl: entry.resource for entry in bundle.entry}
    assert len(by_url) == len(bundle.entry)
    top = bundle.entry[0].resource
    assert (top.get_resource_type(), top.status, top.code.coding[0].code) == (
        "DiagnosticReport",
        "final",
        "24318-8",
    )
    pointed = [by_url[result.reference] for result in top.result]
    assert {each.get_resource_type() for each in pointed} == {"Observation"}
    assert len(pointed) == len(bundle.entry) - 2
    device = by_url[pointed[0].device.reference]
    assert MODEL.digest in [version.value for version in device.version]
    assert "Research use only" in top.conclusion
    assert top.performer[0].display == "Ada Müller"


def test_classes_of_one_label_are_entries_of_their_own_in_fhir():
    reference = read_reference()
    classes = {
        name: entry.model_copy(update={"label": "Granulocytes"}) if name in ("neutrophil", "ig") else entry
        for name, entry in reference.classes.items()
    }
    cells = cells_of(COUNTS)
    state = start(CLASSES, cells)
    found = count(cells, state, SHARP, reference.model_copy(update={"classes": classes}))
    bundle = json.loads(as_fhir(replace(report(), found=found)))
    urls = [entry["fullUrl"] for entry in bundle["entry"]]
    pointed = [result["reference"] for result in bundle["entry"][0]["resource"]["result"]]
    assert len(set(urls)) == len(urls)
    assert sorted(pointed) == sorted(urls[2:])


def test_an_observation_of_fhir_tells_the_value_both_intervals_the_range_and_the_flag():
    found = observations(json.loads(as_fhir(report())))
    red = found["Erythroblasts"]
    assert red["code"]["coding"][0] == {
        "system": "http://loinc.org", "code": "19048-8", "display": "Nucleated erythrocytes/100 leukocytes [Ratio] in Blood",
    }  # fmt: skip
    assert red["valueQuantity"] == {
        "value": 14.7, "unit": "/100 white cells", "system": "http://unitsofmeasure.org", "code": "/100{WBCs}",
    }  # fmt: skip
    assert red["interpretation"][0]["coding"][0]["code"] == "H"
    assert red["interpretation"][0]["text"] == "present"
    assert [red["referenceRange"][0][end]["value"] for end in ("low", "high")] == [0, 1]
    ranges = [part["valueRange"] for part in red["component"] if "valueRange" in part]
    assert len(ranges) == 2
    assert all(r["low"]["value"] < 14.7 < r["high"]["value"] for r in ranges)
    assert found["White cells counted"]["valueQuantity"]["value"] == 204
    assert found["White count, corrected for erythroblasts"]["valueQuantity"]["value"] == 10.81
    assert "Platelets" in found
    assert "coding" not in found["Platelets"]["code"]  # there is no LOINC code for it


def test_a_message_of_hl7_is_valid_by_its_parser_and_gives_back_what_was_put_in(tmp_path):
    made = report(place([0], "ig"))
    text = as_hl7(made)
    message = parse_message(text, validation_level=VALIDATION_LEVEL.STRICT, find_groups=True)
    assert message.validate(report_file=str(tmp_path / "told"))
    assert "Error" not in (tmp_path / "told").read_text()
    assert message.msh.msh_9.value == "ORU^R01^ORU_R01"
    assert len(message.msh.msh_10.value) <= 20
    order = message.oru_r01_patient_result.oru_r01_order_observation
    assert order.obr.obr_25.value == "F"
    assert {obx.obx_11.value for obx in results(message)} == {"F"}
    assert {obx.obx_3.obx_3_3.value for obx in results(message)} == {"LN", "L"}
    assert "Smear \\F\\ 7 \\S\\ \\T\\ \\R\\ \\E\\ <b> ü" in text
    assert "\n" not in text
    assert all(ord(letter) >= 32 or letter == "\r" for letter in text)


@pytest.mark.parametrize(
    ("rest", "word", "letter"),
    [({"signed": False}, "preliminary", "P"), ({}, "final", "F"), ({"revision": 2}, "amended", "C")],
)
def test_how_far_a_report_is_to_be_trusted_stands_in_every_format(rest, word, letter):
    made = report(**rest)
    assert status(made) == word
    assert json.loads(as_fhir(made))["entry"][0]["resource"]["status"] == word
    assert json.loads(as_json(made))["status"] == word
    assert {obx.obx_11.value for obx in results(parse_message(as_hl7(made), find_groups=True))} == {letter}
    assert ("Not signed yet" in as_page(made)) == (word == "preliminary")


def test_why_it_was_signed_with_open_cells_is_told_everywhere():
    cells = [*cells_of(COUNTS), cell(243, "ig", "review")]
    made = report(cells=cells, reason="torn <smear>")
    assert "torn <smear>" in as_hl7(made)
    assert "torn <smear>" in json.loads(as_fhir(made))["entry"][0]["resource"]["conclusion"]
    assert json.loads(as_json(made))["signature"]["reason"] == "torn <smear>"
    assert "torn &lt;smear&gt;" in as_page(made)


def test_where_nobody_knows_how_the_model_errs_every_format_leaves_out_what_would_be_corrected():
    made = report(place([0], "ig"), confusion=np.zeros((8, 8), dtype=int))
    rows = {row["class"]: row for row in csv.DictReader(io.StringIO(differential_csv(made)))}
    assert {row[name] for row in rows.values() for name in ("corrected", "interval_low")} == {""}
    assert rows["neutrophil"]["sampling_low"]
    told = json.loads(as_json(made))["classes"]
    assert {(line["corrected"], line["interval"]) for line in told} == {(None, None)}
    parts = observations(json.loads(as_fhir(made)))["Neutrophils"]["component"]
    assert [part["code"]["text"] for part in parts if "model's errors" in part["code"]["text"]] == []
    assert [part["valueRange"]["high"]["value"] for part in parts if "valueRange" in part]
    assert "so few cells" in as_hl7(made)
    assert "the model's errors" not in as_hl7(made)
    for text in (as_fhir(made), as_hl7(made), as_page(made), differential_csv(made)):
        assert not re.search(r"\bnan\b", text, re.IGNORECASE)


def test_a_slide_without_white_cells_is_exported_without_percentages():
    made = report(cells=cells_of({"platelet": 3}))
    assert set(observations(json.loads(as_fhir(made)))) == {"White cells counted"}
    parse_message(as_hl7(made), validation_level=VALIDATION_LEVEL.STRICT, find_groups=True)
    assert {row["value"] for row in csv.DictReader(io.StringIO(differential_csv(made)))} == {""}
    json.loads(as_json(made))
    as_page(made)


def test_the_same_revision_is_exported_the_same_again():
    a, b = report(place([0], "ig")), report(place([0], "ig"))
    assert (as_fhir(a), as_hl7(a), as_json(a)) == (as_fhir(b), as_hl7(b), as_json(b))


def test_the_cells_of_a_slide_are_told_with_their_places_and_no_formula():
    cells = [cell(0, name="=1+1.jpg"), cell(1, "ig", "review"), cell(2, prob=0.3, other="ig")]
    made = report(place([1], "monocyte"), {"kind": "note", "cell": 1, "text": "+band"}, cells=cells)
    rows = list(csv.DictReader(io.StringIO(cells_csv(made))))
    assert [(r["place"], r["reviewed"], r["note"]) for r in rows] == [
        ("neutrophil", "no", ""), ("monocyte", "yes", "'+band"), ("neutrophil", "no", ""),
    ]  # fmt: skip
    assert rows[0]["name"] == "'=1+1.jpg"
    assert float(rows[2]["margin"]) == pytest.approx(-0.4)
    told = json.loads(as_json(made))["cells"]
    assert [c["place"] for c in told] == [r["place"] for r in rows]
    assert told[0]["name"] == "=1+1.jpg"


def test_the_page_shows_both_counts_the_working_the_readers_and_escapes_what_people_wrote():
    cells = cells_of(COUNTS)
    one = give(start(CLASSES, cells, blind=True), place([0, 1], "neutrophil"), place([125], "ig"))
    two = give(start(CLASSES, cells, blind=True, reading=2), place([0], "neutrophil"), place([1, 125], "ig"))
    bias = {"Bo": Followed(20, 4, 3, 0.75, (0.3, 0.95), 16, 1)}
    page = as_page(report(place([0], "ig"), agreement=agreement(one, two), bias=bias))
    assert "Smear | 7 ^ &amp; ~ \\ &lt;b&gt; ü" in page
    assert "12.4 × 100 / (100 + 14.7) = 10.81" in page
    assert "Two readers agreed on 2 of 3 cells" in page
    assert "Bo followed 3 of 4 wrong answers of the model (30 to 95 %)" in page
    assert "Model alone" in page
    assert "<td>121</td>\n<td>120</td>" in page
    assert "not a medical device" in page


def test_labelled_cells_are_a_data_set_that_is_scanned_without_a_problem(tmp_path: Path):
    """Only what a person has placed in a class; the same picture twice in a class is one file."""
    rng = np.random.default_rng(0)
    pictures = {}
    for n in range(7):
        out = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (48, 48, 3), dtype=np.uint8)).save(out, "PNG")
        pictures[f"{n:064x}"] = out.getvalue()
    cells = [cell(n, name=f"a/{n}.PNG") for n in range(7)]
    cells.append(replace(cells[0], cell=7))
    made = report(
        place([0, 1, 7], "ig"), {"kind": "confirm", "cells": [2, 3]}, place([4], "not_classed"), cells=cells
    )
    file = tmp_path / "labelled.zip"
    with file.open("wb") as out:
        assert write_labelled(out, made, pictures.__getitem__) == 4
    with zipfile.ZipFile(file) as archive:
        archive.extractall(tmp_path / "cells")
        for name in archive.namelist():
            assert archive.read(name) == pictures[Path(name).stem]
    found = scan(tmp_path / "cells")
    assert found.counts == {"ig": 2, "neutrophil": 2}
    assert not found.errors


@pytest.mark.parametrize("name", ["T/NK", "T\\NK", "..", "."])
def test_a_class_that_can_be_no_folder_is_exported_into_none(name: str):
    classes = ("B cell", name)
    cells = [cell(n, classes[n], classes=classes) for n in range(2)]
    state = give(start(classes, cells), {"kind": "confirm", "cells": [0, 1]})
    with pytest.raises(DataError, match="can be no folders") as caught:
        write_labelled(io.BytesIO(), replace(report(), cells=tuple(cells), state=state), lambda _: b"")
    assert repr(name) in str(caught.value)


def test_without_a_reviewed_cell_there_is_no_labelled_folder():
    with pytest.raises(DataError, match="no cell of this slide was confirmed"):
        write_labelled(io.BytesIO(), report(), lambda _: b"")
