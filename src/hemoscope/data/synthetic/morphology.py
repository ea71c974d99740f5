"""The words in which a cell is described: body, nucleus, granules, all as frozen data.

Lengths are in px of the PBC camera, whose field is 360 px wide and whose red cells measure about 85;
a size given as a fraction is one of the cell's radius. Colours are RGB as seen on the cream
background `PAPER_WHITE`; a pair of colours is the two ends between which one cell is drawn. This
module draws nothing; `kinds` holds the cells themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "FIELD_PX",
    "PAPER_WHITE",
    "RED_CELL",
    "Cytoplasm",
    "Form",
    "Granules",
    "Kind",
    "Nucleus",
]

Rgb = tuple[int, int, int]
Span = tuple[float, float]
Form = Literal["round", "kidney", "folded", "band", "lobes"]

FIELD_PX = 360
PAPER_WHITE: Rgb = (254, 228, 202)
RED_CELL: tuple[Rgb, Rgb] = ((214, 178, 166), (194, 156, 156))


@dataclass(frozen=True, slots=True)
class Cytoplasm:
    """The cell's body without its granules.

    Attributes:
        colours: Ends of the colour's range.
        mottle: Contrast of its texture, 0 for glassy.
        ragged: Roughness of the margin, as a fraction of the radius.
        bulge: Departure of the outline from an ellipse, as a fraction of the radius.
        vacuoles: Fewest and most vacuoles.
    """

    colours: tuple[Rgb, Rgb]
    mottle: float
    ragged: Span = (0.0, 0.01)
    bulge: Span = (0.01, 0.04)
    vacuoles: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Nucleus:
    """Form, place and chromatin of the nucleus.

    Attributes:
        form: Which outline.
        size: Mean radius of the whole, or half the width of a band or lobe; fraction of the cell's radius.
        dark: Ends of the colour of condensed chromatin.
        light: Ends of the colour of open chromatin.
        clump_px: Grain of the chromatin.
        openness: Share of open chromatin.
        offset: How far off centre, as a fraction of the room there is.
        depth: Depth of the indentation (kidney, folded), or angle in turns that a band spans.
        lobes: Possible numbers of lobes, each as likely as the others.
        nucleoli: Fewest and most nucleoli.
    """

    form: Form
    size: Span
    dark: tuple[Rgb, Rgb]
    light: tuple[Rgb, Rgb]
    clump_px: Span
    openness: Span
    offset: Span = (0.0, 0.5)
    depth: Span = (0.0, 0.0)
    lobes: tuple[int, ...] = (1,)
    nucleoli: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Granules:
    """One population of granules.

    Attributes:
        cover: Summed area of all granules over the area they may lie in.
        radius_px: Range of radii.
        colours: Ends of the colour's range.
        opacity: How much of what lies below they hide, in (0, 1].
        hides_nucleus: Whether they also lie on top of the nucleus.
        central: Whether they gather in the middle of the cell, as in a platelet.
    """

    cover: Span
    radius_px: Span
    colours: tuple[Rgb, Rgb]
    opacity: Span
    hides_nucleus: bool = False
    central: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """One subtype: what a PBC file name's prefix stands for.

    Attributes:
        prefix: Prefix of the file name.
        class_name: Its class among the eight.
        diameter_px: Range of diameters.
        stretch: Range of the long axis over the short one.
        cytoplasm: The body.
        nucleus: None for a platelet.
        granules: Populations of granules, drawn in order.
    """

    prefix: str
    class_name: str
    diameter_px: Span
    stretch: Span
    cytoplasm: Cytoplasm
    nucleus: Nucleus | None = None
    granules: tuple[Granules, ...] = ()
