"""How figures look and how they are saved: one palette and type size, as SVG and as pictures.

Okabe and Ito's blue and vermilion survive colour blindness, and one blue from light to dark survives a
grey print. Nothing here knows what a figure is about.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hemoscope.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import ImageFont

__all__ = [
    "BLUE",
    "GREY",
    "INK",
    "PALE",
    "VERMILION",
    "jpeg_bytes",
    "new_figure",
    "picture_font",
    "save_figure",
    "sequential",
    "style",
    "svg_bytes",
]

BLUE, VERMILION, INK, GREY, PALE = "#0072b2", "#d55e00", "#1a1a1a", "#6b6b6b", "#d9d9d9"
_SHADES = ("#ffffff", "#d6e6f2", "#8fbcdb", "#3d8fc0", "#0072b2", "#00507d")
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica Neue", "Helvetica", "Arial", "Liberation Sans", "DejaVu Sans"],
    "font.size": 8.0,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 8.5,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "hemoscope",
}


def svg_bytes(figure: Figure) -> bytes:
    """Return the figure as SVG: text stays text, and the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def save_figure(figure: Figure, stem: Path) -> bytes:
    """Write `stem`.svg and `stem`.png (200 dpi), each in one step, and return the SVG."""
    svg = svg_bytes(figure)
    with atomic_path(stem.with_name(f"{stem.name}.svg")) as part:
        part.write_bytes(svg)
    with atomic_path(stem.with_name(f"{stem.name}.png")) as part, style():
        figure.savefig(part, format="png", dpi=200, metadata={"Software": "hemoscope"})
    return svg


def jpeg_bytes(figure: Figure) -> bytes:
    """Return a figure that holds photographs as JPEG, 200 dpi."""
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format="jpg", dpi=200, pil_kwargs={"quality": 82, "optimize": True})
    return buffer.getvalue()


@contextmanager
def style() -> Iterator[None]:
    """Draw in this package's style, and leave the reader's own alone."""
    import matplotlib as mpl

    with mpl.rc_context(), warnings.catch_warnings():
        for key, value in _STYLE.items():
            mpl.rcParams[key] = value
        # A class name in a script that the font lacks: the SVG keeps the text, and the browser has the font.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def new_figure(*, width_in: float, height_in: float) -> Figure:
    """Return an empty figure of that size."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), layout="constrained", facecolor="white")


def picture_font(size_px: int) -> ImageFont.FreeTypeFont:
    """Return the font of pictures that are not figures: the one that matplotlib brings along has Greek and Cyrillic."""
    import matplotlib as mpl
    from PIL import ImageFont

    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", size_px)


def sequential() -> Any:
    """Return the colours from nothing to all."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("hemoscope", _SHADES)
