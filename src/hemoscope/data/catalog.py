"""The data sets that hemoscope can fetch, one source each: where, what, how many, whose.

Sources are data. This module never touches the network or the disk; `fetch` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hemoscope.errors import ConfigError, UnknownNameError
from hemoscope.paper import TABLE_1

__all__ = ["SOURCES", "DataSource", "data_source", "source_names"]

Form = Literal["folders", "npz"]


@dataclass(frozen=True, slots=True)
class DataSource:
    """What is known about a data set before it is here.

    Attributes:
        name: The name in `hemoscope data fetch NAME`.
        title: Its title as published.
        form: `folders` for an archive of class folders, `npz` for one file used as it is.
        filename: Name of the file as published; a file of this name beside the target is used.
        urls: Places to ask, best first. They may serve different archives of the same images.
        also_named: Other names under which browsers save the archive.
        digest: `md5:…` or `sha256:…` of the file; None where nobody published one.
        counts: (class, images) in class order.
        content: SHA-256 of what `sha256sum` prints of all images, ordered by CLASS/NAME: archives of the same
            images may differ, the images may not. None where nobody has read them.
        sides: (side, images) of a published split; empty where there is none.
        licence: SPDX identifier.
        doi: DOI of the data.
        page: Page a person opens to download by hand.
        citation: The paper to cite.
    """

    name: str
    title: str
    form: Form
    filename: str
    urls: tuple[str, ...]
    counts: tuple[tuple[str, int], ...]
    licence: str
    doi: str
    page: str
    citation: str
    digest: str | None = None
    content: str | None = None
    also_named: tuple[str, ...] = ()
    sides: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        if self.form == "npz" and self.digest is None:
            raise ConfigError(
                f"data source {self.name!r}: an npz file is verified by its digest; expected one"
            )
        if self.form == "folders" and not self.counts:
            raise ConfigError(
                f"data source {self.name!r}: folders are verified by their counts; expected some"
            )
        if not self.urls:
            raise ConfigError(f"data source {self.name!r}: expected at least one URL")

    @property
    def n_images(self) -> int:
        """Images in all."""
        return sum(n for _, n in self.counts)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of their targets."""
        return tuple(name for name, _ in self.counts)


_COUNTS = tuple((row.class_name, row.images) for row in TABLE_1)

_MENDELEY = "https://data.mendeley.com/public-files/datasets/snkd93bnjr"

_PBC = DataSource(
    name="pbc",
    title="A dataset for microscopic peripheral blood cell images for development of automatic "
    "recognition systems",
    form="folders",
    filename="PBC_dataset_normal_DIB.zip",
    urls=(
        f"{_MENDELEY}/files/2fc38728-2ae7-4a62-a857-032af82334c3/file_downloaded",
        # Mendeley's "download all": the same zip inside a zip.
        "https://prod-dcd-datasets-cache-zipfiles.s3.eu-west-1.amazonaws.com/snkd93bnjr-1.zip",
    ),
    also_named=("snkd93bnjr-1.zip",),
    counts=_COUNTS,
    content="a95c623ebdd60f4f22d435a789064eeaac20341e2feedd6a87a93971c1affea3",
    licence="CC-BY-4.0",
    doi="10.17632/snkd93bnjr.1",
    page="https://data.mendeley.com/datasets/snkd93bnjr/1",
    citation="Acevedo, A., Merino, A., Alférez, S., Molina, Á., Boldú, L., Rodellar, J.: A dataset of "
    "microscopic peripheral blood cell images for development of automatic recognition systems. "
    "Data in Brief 30, 105474 (2020). doi:10.1016/j.dib.2020.105474",
)


def _bloodmnist(suffix: str, size_px: int, md5: str) -> DataSource:
    filename = f"bloodmnist{suffix}.npz"
    return DataSource(
        name=f"bloodmnist{suffix}",
        title=f"BloodMNIST of MedMNIST v2, {size_px} × {size_px} px",
        form="npz",
        filename=filename,
        urls=(f"https://zenodo.org/records/10519652/files/{filename}?download=1",),
        digest=f"md5:{md5}",
        counts=_COUNTS,  # the PBC images themselves, cropped and made smaller
        sides=(("train", 11_959), ("val", 1_712), ("test", 3_421)),
        licence="CC-BY-4.0",
        doi="10.5281/zenodo.10519652",
        page="https://zenodo.org/records/10519652",
        citation="Yang, J., Shi, R., Wei, D., Liu, Z., Zhao, L., Ke, B., Pfister, H., Ni, B.: MedMNIST v2 - "
        "A large-scale lightweight benchmark for 2D and 3D biomedical image classification. "
        "Scientific Data 10, 41 (2023). doi:10.1038/s41597-022-01721-8",
    )


SOURCES: tuple[DataSource, ...] = (
    _PBC,
    _bloodmnist("", 28, "7053d0359d879ad8a5505303e11de1dc"),
    _bloodmnist("_64", 64, "2b94928a2ae4916078ca51e05b6b800b"),
    _bloodmnist("_128", 128, "adace1e0ed228fccda1f39692059dd4c"),
    _bloodmnist("_224", 224, "b718ff6835fcbdb22ba9eacccd7b2601"),
)


def source_names() -> tuple[str, ...]:
    """Return the names that can be fetched.

    >>> source_names()
    ('pbc', 'bloodmnist', 'bloodmnist_64', 'bloodmnist_128', 'bloodmnist_224')
    """
    return tuple(source.name for source in SOURCES)


def data_source(name: str) -> DataSource:
    """Return the source of a data set.

    Raises:
        UnknownNameError: If there is no such data set; the message offers the close ones.

    >>> data_source("pbc").n_images
    17092
    """
    for source in SOURCES:
        if source.name == name:
            return source
    raise UnknownNameError("data set", name, source_names())
