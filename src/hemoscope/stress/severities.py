"""The corruptions and how strong each is at its five severities: one table, and no code that changes a pixel.

Lengths are shares of the image's shorter side, so that an image of 360 px and one of 128 px are hurt alike. The one
exception is JPEG, whose blocks have 8 px in any image: a smaller one loses more.
"""

from __future__ import annotations

from dataclasses import dataclass

from hemoscope.errors import ConfigError, UnknownNameError

__all__ = ["CORRUPTIONS", "SEVERITIES", "Corruption", "level_of"]

SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True, slots=True)
class Corruption:
    """One way to damage an image.

    Attributes:
        name: In tables and files.
        what: What a level means.
        levels: One for each severity, mildest first.
    """

    name: str
    what: str
    levels: tuple[float, float, float, float, float]


CORRUPTIONS = (
    Corruption("pixelate", "pixels along the shorter side", (160, 120, 90, 64, 48)),
    Corruption("jpeg", "quality of the JPEG file", (50, 30, 15, 10, 7)),
    Corruption("defocus", "radius of the disc that a point becomes", (0.006, 0.009, 0.012, 0.016, 0.020)),
    Corruption("motion", "length of the line that a point becomes", (0.02, 0.03, 0.045, 0.065, 0.09)),
    Corruption("brighter", "factor of every value", (1.08, 1.15, 1.22, 1.3, 1.4)),
    Corruption("darker", "factor of every value", (0.9, 0.8, 0.7, 0.6, 0.5)),
    Corruption("more-contrast", "factor of the distance from the mean", (1.1, 1.2, 1.35, 1.55, 1.8)),
    Corruption("less-contrast", "factor of the distance from the mean", (0.85, 0.7, 0.55, 0.4, 0.3)),
    Corruption("more-saturation", "factor of the distance from grey", (1.2, 1.4, 1.7, 2.0, 2.5)),
    Corruption("less-saturation", "factor of the distance from grey", (0.8, 0.6, 0.4, 0.2, 0.0)),
    Corruption("deposit", "specks of dried stain", (2, 4, 7, 11, 16)),
    Corruption("bubble", "air bubbles", (2, 4, 7, 10, 14)),
    Corruption("hue", "turn of the colours, degrees, either way", (6, 12, 20, 30, 45)),
    Corruption("stain", "change of the strengths of both dyes", (0.1, 0.2, 0.3, 0.45, 0.6)),
    Corruption("smaller", "factor of the cell's size", (0.93, 0.86, 0.79, 0.72, 0.65)),
    Corruption("larger", "factor of the cell's size", (1.1, 1.2, 1.3, 1.45, 1.6)),
)
"""All of them in the order of tables.

Source:
    The first twelve are those of MedMNIST-C for blood (Di Salvo, Doerrich, Ledig, arXiv 2406.17536, 2024), with
    saturation in both directions; five severities as in Hendrycks and Dietterich, Benchmarking Neural Network
    Robustness to Common Corruptions and Perturbations, ICLR 2019. Hue, stain and size of the cell are what another
    laboratory changes. The levels are this package's own, set by eye on cells of 360 px from hardly seen to badly
    damaged with the cell still there; those of JPEG and of the darker images are MedMNIST-C's.
"""

_BY_NAME = {corruption.name: corruption for corruption in CORRUPTIONS}


def level_of(name: str, severity: int) -> float:
    """Return how strong a corruption is.

    Raises:
        UnknownNameError: If there is no such corruption.
        ConfigError: If the severity is not 1 to 5.

    >>> level_of("jpeg", 5)
    7
    """
    if name not in _BY_NAME:
        raise UnknownNameError("corruption", name, list(_BY_NAME))
    if severity not in SEVERITIES:
        raise ConfigError(f"expected a severity of 1 to {SEVERITIES[-1]}, got {severity}")
    return _BY_NAME[name].levels[severity - 1]
