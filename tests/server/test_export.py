"""What leaves the house: forms, revisions as they were signed, a folder to train on."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from importlib.resources import files
from pathlib import Path

import pytest

from tests.server.client import Client
from tests.server.pictures import noise, smear

OUR_CODES = files("hemoscope.review.exports").joinpath("loinc.toml").read_text("utf-8")


@pytest.fixture
def signed(on_both: Client) -> int:
    slide = on_both.slide_of(smear(8))
    on_both.review_all(slide)
    on_both.place(slide, [0, 1], "ig")
    assert on_both.sign(slide, "Dr A. Beck").status_code == 200
    return slide


def taken(client: Client, slide: int, form: str, **query: int) -> str:
    answer = client.get(f"/slides/{slide}/export/{form}", **query)
    assert answer.status_code == 200, answer.text
    return answer.text


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_counts_of_every_form_are_those_of_the_places(on_both: Client, signed: int):
    places = list(on_both.state(signed)["places"].values())
    counted = {row["class"]: int(row["counted"]) for row in rows(taken(on_both, signed, "csv"))}
    assert counted == {name: places.count(name) for name in counted}
    assert [row["place"] for row in rows(taken(on_both, signed, "cells"))] == places
    whole = json.loads(taken(on_both, signed, "json"))
    assert {share["name"]: share["counted"] for share in whole["differential"]["after"]["shares"]} == counted
    assert whole["signature"]["name"] == "Dr A. Beck"
    assert "Dr A. Beck" in taken(on_both, signed, "html")
    assert json.loads(taken(on_both, signed, "fhir"))["resourceType"] == "Bundle"
    assert taken(on_both, signed, "hl7").startswith("MSH|")


@pytest.mark.parametrize("form", ["json", "html", "fhir", "hl7"])
def test_an_export_says_beside_the_name_that_signed_as_whom_its_person_was_signed_in(started, form: str):
    password = "correct horse battery"  # pragma: allowlist secret
    with started() as client:
        open_to_all = client.slide_of(smear(2))
        client.review_all(open_to_all)
        client.sign(open_to_all, "Dr A. Beck")
        client.site.users.add("ada", "reader", password)
        assert client.post("/session", {"name": "ada", "password": password}).status_code == 200
        client.renew()
        slide = client.slide_of(smear(2))
        client.review_all(slide)
        client.sign(slide, "Dr A. Beck")
        text, before = taken(client, slide, form), taken(client, open_to_all, form)
    if form == "json":
        assert json.loads(text)["signature"]["account"] == "ada"
        assert json.loads(before)["signature"]["account"] is None
    else:
        assert "Dr A. Beck (signed in as ada)" in text
        assert "signed in as" not in before


def test_a_signed_revision_is_the_same_for_ever(started, store_url: str, tmp_path: Path):
    from hemoscope.differential.reference import read_reference

    forms = ("csv", "cells", "json", "html", "fhir", "hl7")
    with started(store_url) as client:
        slide = client.slide_of(smear(4))
        client.review_all(slide)
        client.sign(slide)
        before = {form: taken(client, slide, form, revision=1) for form in forms}
        client.post(f"/slides/{slide}/revise", {"revision": 1, "reason": "more cells"})
        client.send(slide, "more.zip", smear(3, seed=9))
        client.send(slide, "bad.png", b"x")
        client.settled(slide)
        client.place(slide, [0], "basophil")
        assert {form: taken(client, slide, form, revision=1) for form in forms} == before
        assert len(rows(taken(client, slide, "cells"))) == 7
    table = read_reference().model_dump(mode="json")
    table["classes"]["neutrophil"]["percent"] = [1, 2]
    ranges = tmp_path / "ranges.toml"
    ranges.write_text(
        'name = "Other"\nsource = "x"\n'
        + "".join(
            f'[classes.{name}]\nlabel = "{c["label"]}"\nrole = "{c["role"]}"\n'
            + ("percent = [1, 2]\n" if c["percent"] else "")
            for name, c in table["classes"].items()
        ),
        "utf-8",
    )
    codes = tmp_path / "codes.toml"
    codes.write_text(OUR_CODES.replace("26511-6", "769-0"), "utf-8")
    with started(store_url, ranges=ranges, codes=codes) as client:
        assert {form: taken(client, slide, form, revision=1) for form in forms} == before
        assert taken(client, slide, "csv") != before["csv"]
        assert {row["class"]: row["loinc"] for row in rows(taken(client, slide, "csv"))}[
            "neutrophil"
        ] == "769-0"
        assert client.get(f"/slides/{slide}/export/csv", revision=3).status_code == 404


def test_the_labelled_folder_is_one_that_train_reads(on_both: Client, signed: int, tmp_path: Path):
    from hemoscope.data.scan.scan import scan

    answer = on_both.get(f"/slides/{signed}/export/labelled")
    assert answer.headers["content-disposition"] == f'attachment; filename="slide-{signed}-revision-1.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        archive.extractall(tmp_path / "cells")
    found = scan(tmp_path / "cells")
    places = list(on_both.state(signed)["places"].values())
    assert {name: places.count(name) for name in found.classes} == {
        name: sum(image.class_name == name for image in found.images) for name in found.classes
    }


def test_without_a_reviewed_cell_there_is_no_labelled_folder(client: Client):
    slide = client.slide_of(smear(2))
    answer = client.get(f"/slides/{slide}/export/labelled")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "no_class_folders")


def test_the_page_to_print_runs_nothing_and_loads_nothing(client: Client):
    slide = client.slide_of(noise(1), "<script>alert(1)</script>.png")
    answer = client.get(f"/slides/{slide}/export/html")
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "<script" not in answer.text


def test_what_was_taken_home_is_in_the_audit_trail(client: Client):
    slide = client.slide_of(noise(1), "a.png")
    taken(client, slide, "csv")
    last = client.get(f"/slides/{slide}/audit").json()["audit"][-1]
    assert (last["what"], last["form"], last["who"]) == ("took home", "csv", "local")
