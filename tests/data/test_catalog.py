from __future__ import annotations

import re
from dataclasses import replace

import pytest

from hemoscope.data.catalog import SOURCES, data_source, source_names
from hemoscope.errors import ConfigError, UnknownNameError


def test_the_five_data_sets_are_offered_by_the_names_of_the_command_line():
    assert source_names() == ("pbc", "bloodmnist", "bloodmnist_64", "bloodmnist_128", "bloodmnist_224")


def test_pbc_has_the_class_counts_of_the_complete_original():
    # Counted on the original; they also add up to the number in the data set's own title page.
    counts = dict(data_source("pbc").counts)
    assert counts == {
        "basophil": 1218, "eosinophil": 3117, "erythroblast": 1551, "ig": 2895,
        "lymphocyte": 1214, "monocyte": 1420, "neutrophil": 3329, "platelet": 2348,
    }  # fmt: skip
    assert data_source("pbc").n_images == 17_092
    assert data_source("pbc").digest is None


@pytest.mark.parametrize(
    ("name", "md5"),
    [
        ("bloodmnist", "7053d0359d879ad8a5505303e11de1dc"),
        ("bloodmnist_64", "2b94928a2ae4916078ca51e05b6b800b"),
        ("bloodmnist_128", "adace1e0ed228fccda1f39692059dd4c"),
        ("bloodmnist_224", "b718ff6835fcbdb22ba9eacccd7b2601"),
    ],
)
def test_bloodmnist_has_the_published_md5_and_address(name, md5):
    source = data_source(name)
    assert source.digest == f"md5:{md5}"
    assert source.urls == (f"https://zenodo.org/records/10519652/files/{name}.npz?download=1",)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_every_card_tells_whose_the_data_are_and_adds_up(source):
    assert source.licence == "CC-BY-4.0"
    assert re.fullmatch(r"10\.\d{4,}/\S+", source.doi)
    assert "doi:10." in source.citation
    assert all(url.startswith("https://") for url in (*source.urls, source.page))
    assert list(source.classes) == sorted(source.classes)
    assert not source.sides or sum(n for _, n in source.sides) == source.n_images


def test_an_unknown_name_is_refused_with_the_close_ones():
    with pytest.raises(UnknownNameError, match=r"unknown data set 'bloodmist'; did you mean bloodmnist"):
        data_source("bloodmist")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"form": "npz"}, "verified by its digest"),
        ({"counts": ()}, "verified by their counts"),
        ({"urls": ()}, "at least one URL"),
    ],
)
def test_a_card_that_cannot_be_verified_cannot_be_made(change, message):
    with pytest.raises(ConfigError, match=message):
        replace(data_source("pbc"), **change)
