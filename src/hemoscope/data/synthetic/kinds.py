"""The eleven subtypes of the eight classes after May-Grünwald-Giemsa staining, as data.

Source:
    Colours, sizes and counts were set by eye and by medians against the PBC data set
    (DOI 10.17632/snkd93bnjr.1); the forms follow the usual haematological descriptions.
"""

from __future__ import annotations

from hemoscope.data.synthetic.morphology import Cytoplasm, Granules, Kind, Nucleus, Rgb
from hemoscope.errors import UnknownNameError

__all__ = ["KINDS", "class_names", "kinds_of"]

_VIOLET: tuple[Rgb, Rgb] = ((68, 26, 126), (88, 38, 140))
_VIOLET_OPEN: tuple[Rgb, Rgb] = ((128, 62, 130), (148, 84, 146))

KINDS: tuple[Kind, ...] = (
    Kind(
        prefix="BA",
        class_name="basophil",
        diameter_px=(108, 142),
        stretch=(1.0, 1.14),
        cytoplasm=Cytoplasm(((204, 140, 176), (176, 120, 172)), 0.3, (0.0, 0.03), (0.01, 0.05), (0, 3)),
        nucleus=Nucleus(
            "lobes",
            (0.44, 0.56),
            ((86, 44, 138), (104, 58, 148)),
            ((120, 70, 154), (146, 92, 164)),
            (5, 8),
            (0.2, 0.4),
            lobes=(2, 3),
        ),
        granules=(
            Granules((0.4, 1.1), (1.9, 4.0), ((64, 24, 112), (94, 40, 134)), (0.85, 1.0), hides_nucleus=True),
        ),
    ),
    Kind(
        prefix="EO",
        class_name="eosinophil",
        diameter_px=(118, 156),
        stretch=(1.0, 1.15),
        cytoplasm=Cytoplasm(((218, 158, 164), (204, 154, 178)), 0.25, (0.0, 0.012), (0.01, 0.05), (0, 3)),
        nucleus=Nucleus(
            "lobes", (0.38, 0.45), _VIOLET, _VIOLET_OPEN, (4, 6), (0.2, 0.4), (0.1, 0.6), lobes=(2, 2, 2, 3)
        ),
        granules=(
            Granules((0.9, 1.4), (2.2, 3.6), ((206, 122, 126), (186, 102, 130)), (0.45, 0.75)),
            Granules((0.10, 0.25), (2.0, 3.0), ((182, 84, 98), (154, 68, 110)), (0.45, 0.7)),
        ),
    ),
    Kind(
        prefix="ERB",
        class_name="erythroblast",
        diameter_px=(78, 118),
        stretch=(1.0, 1.18),
        cytoplasm=Cytoplasm(((128, 124, 176), (184, 152, 168)), 0.12, (0.0, 0.03), (0.01, 0.06)),
        nucleus=Nucleus(
            "round",
            (0.58, 0.78),
            ((46, 22, 104), (64, 30, 120)),
            ((104, 52, 128), (126, 74, 146)),
            (5, 8),
            (0.10, 0.30),
            (0.2, 1.0),
        ),
    ),
    Kind(
        prefix="PMY",
        class_name="ig",
        diameter_px=(138, 172),
        stretch=(1.0, 1.15),
        cytoplasm=Cytoplasm(((138, 126, 184), (172, 150, 196)), 0.35, (0.0, 0.012), (0.01, 0.05), (0, 2)),
        nucleus=Nucleus(
            "round",
            (0.70, 0.80),
            ((84, 36, 132), (100, 44, 140)),
            ((150, 88, 162), (168, 104, 170)),
            (3, 4.5),
            (0.4, 0.6),
            (0.3, 1.0),
            nucleoli=(1, 3),
        ),
        granules=(
            Granules((0.14, 0.34), (1.5, 2.6), ((118, 40, 124), (92, 34, 124)), (0.7, 1.0)),
            Granules(
                (0.02, 0.05), (1.5, 2.4), ((118, 40, 124), (92, 34, 124)), (0.6, 0.9), hides_nucleus=True
            ),
        ),
    ),
    Kind(
        prefix="MY",
        class_name="ig",
        diameter_px=(120, 158),
        stretch=(1.0, 1.18),
        cytoplasm=Cytoplasm(((196, 172, 200), (182, 158, 198)), 0.4, (0.0, 0.012), (0.01, 0.06), (0, 1)),
        nucleus=Nucleus(
            "round",
            (0.64, 0.76),
            ((82, 34, 130), (96, 42, 140)),
            ((138, 80, 152), (158, 98, 164)),
            (4, 6),
            (0.25, 0.45),
            (0.5, 1.0),
        ),
        granules=(Granules((0.25, 0.55), (1.1, 1.9), ((146, 92, 160), (124, 64, 144)), (0.4, 0.8)),),
    ),
    Kind(
        prefix="MMY",
        class_name="ig",
        diameter_px=(118, 152),
        stretch=(1.0, 1.16),
        cytoplasm=Cytoplasm(((210, 184, 202), (192, 168, 198)), 0.4, (0.0, 0.012), (0.01, 0.06), (0, 1)),
        nucleus=Nucleus(
            "kidney",
            (0.66, 0.77),
            ((76, 30, 126), (92, 38, 136)),
            ((134, 76, 150), (156, 96, 162)),
            (4, 6),
            (0.2, 0.4),
            (0.4, 0.9),
            (0.35, 0.75),
        ),
        granules=(Granules((0.2, 0.45), (1.1, 1.8), ((152, 98, 162), (132, 72, 148)), (0.4, 0.8)),),
    ),
    Kind(
        prefix="LY",
        class_name="lymphocyte",
        diameter_px=(82, 124),
        stretch=(1.0, 1.18),
        cytoplasm=Cytoplasm(((118, 106, 168), (168, 152, 192)), 0.35, (0.0, 0.045), (0.01, 0.06)),
        nucleus=Nucleus(
            "round",
            (0.83, 0.94),
            ((60, 26, 118), (80, 34, 130)),
            ((104, 54, 138), (130, 74, 150)),
            (6, 10),
            (0.2, 0.45),
            (0.2, 1.0),
        ),
        granules=(Granules((0.0, 0.06), (1.4, 2.2), ((140, 54, 130), (120, 44, 128)), (0.5, 0.9)),),
    ),
    Kind(
        prefix="MO",
        class_name="monocyte",
        diameter_px=(138, 184),
        stretch=(1.0, 1.25),
        cytoplasm=Cytoplasm(((148, 130, 170), (188, 164, 188)), 0.4, (0.0, 0.035), (0.02, 0.09), (0, 7)),
        nucleus=Nucleus(
            "folded",
            (0.68, 0.78),
            ((74, 30, 124), (94, 42, 138)),
            ((124, 70, 144), (146, 90, 158)),
            (3, 4.5),
            (0.25, 0.45),
            (0.1, 0.7),
            (0.35, 0.85),
        ),
        granules=(Granules((0.04, 0.16), (0.9, 1.5), ((140, 96, 166), (122, 76, 152)), (0.3, 0.6)),),
    ),
    Kind(
        prefix="SNE",
        class_name="neutrophil",
        diameter_px=(116, 150),
        stretch=(1.0, 1.15),
        cytoplasm=Cytoplasm(((230, 190, 188), (208, 166, 182)), 0.35, (0.0, 0.01), (0.01, 0.05), (0, 1)),
        nucleus=Nucleus(
            "lobes",
            (0.28, 0.34),
            _VIOLET,
            _VIOLET_OPEN,
            (4, 6),
            (0.12, 0.3),
            (0, 0.6),
            lobes=(2, 3, 3, 4, 4, 5),
        ),
        granules=(Granules((0.08, 0.28), (0.7, 1.4), ((182, 118, 162), (150, 84, 148)), (0.2, 0.75)),),
    ),
    Kind(
        prefix="BNE",
        class_name="neutrophil",
        diameter_px=(116, 150),
        stretch=(1.0, 1.15),
        cytoplasm=Cytoplasm(((230, 190, 188), (208, 166, 182)), 0.35, (0.0, 0.01), (0.01, 0.05), (0, 1)),
        nucleus=Nucleus(
            "band", (0.20, 0.25), _VIOLET, _VIOLET_OPEN, (4, 6), (0.12, 0.32), (0.0, 0.5), (0.5, 0.82)
        ),
        granules=(Granules((0.08, 0.28), (0.7, 1.4), ((182, 118, 162), (150, 84, 148)), (0.2, 0.75)),),
    ),
    Kind(
        prefix="PLATELET",
        class_name="platelet",
        diameter_px=(34, 66),
        stretch=(1.0, 1.4),
        cytoplasm=Cytoplasm(((190, 164, 200), (158, 142, 196)), 0.5, (0.01, 0.07), (0.03, 0.10)),
        granules=(
            Granules((0.5, 1.0), (1.8, 3.0), ((136, 84, 160), (98, 54, 146)), (0.5, 0.9), central=True),
            Granules((0.25, 0.6), (1.3, 2.2), ((88, 36, 120), (120, 52, 134)), (0.6, 1.0), central=True),
        ),
    ),
)


def class_names() -> tuple[str, ...]:
    """Return the eight class names in alphabetical order."""
    return tuple(sorted({kind.class_name for kind in KINDS}))


def kinds_of(class_name: str) -> tuple[Kind, ...]:
    """Return the subtypes of one class.

    Raises:
        UnknownNameError: If there is no such class.
    """
    found = tuple(kind for kind in KINDS if kind.class_name == class_name)
    if not found:
        raise UnknownNameError("cell class", class_name, class_names())
    return found
