"""The white count without the erythroblasts that an analyser takes for white cells."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CorrectedWhite", "corrected_white"]


@dataclass(frozen=True, slots=True)
class CorrectedWhite:
    """A corrected white count.

    Attributes:
        value: 10^9/L, two decimals.
        given: As stated, 10^9/L.
        erythroblasts: For every 100 white cells, one decimal.
        working: How it came about, as text.
    """

    value: float
    given: float
    erythroblasts: float
    working: str


def corrected_white(given: float, erythroblasts: int, white: int) -> CorrectedWhite | None:
    """Return the corrected white count, given * 100 / (100 + erythroblasts for every 100 white cells).

    What is shown is what is reckoned with: the erythroblasts are rounded first.

    Args:
        given: As stated, 10^9/L.
        erythroblasts: Cells counted.
        white: White cells counted; where there is none, nothing can be corrected.

    Source:
        B. J. Bain, I. Bates, M. A. Laffan (eds.), Dacie and Lewis Practical Haematology, 12th ed., 2017.

    >>> corrected_white(12.4, 28, 200).working
    '28 erythroblasts / 200 white cells = 14 per 100; 12.4 × 100 / (100 + 14) = 10.88 × 10⁹/L'
    """
    if not white:
        return None
    per_100 = round(100 * erythroblasts / white, 1)
    value = round(given * 100 / (100 + per_100), 2)
    working = (
        f"{erythroblasts} erythroblasts / {white} white cells = {per_100:g} per 100; "
        f"{given:g} × 100 / (100 + {per_100:g}) = {value:.2f} × 10⁹/L"
    )
    return CorrectedWhite(value, given, per_100, working)
