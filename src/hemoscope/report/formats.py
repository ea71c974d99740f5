"""Values as text: figures, intervals, durations, and names made safe for a page, LaTeX or Markdown.

Everything undefined becomes `n/a`; nothing here ever turns it into 0. Names come from users' folders
and files: they may hold markup, control characters, right-to-left overrides and bytes that are no
UTF-8, which Python carries as lone surrogates.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping

__all__ = [
    "NOT_DEFINED",
    "count",
    "counted",
    "duration",
    "interval",
    "interval_points",
    "latex",
    "markdown",
    "percent",
    "printable",
    "signed_points",
    "slug",
    "spread",
]

NOT_DEFINED = "n/a"
LONGEST = 120  # characters of a part of a file name

_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_NOT_XML = frozenset("\ufffe\uffff")
_LATEX: Mapping[int, str] = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "$": r"\$",
        "&": r"\&",
        "#": r"\#",
        "%": r"\%",
        "_": r"\_",
        "^": r"\textasciicircum{}",
        "~": r"\textasciitilde{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "[": "{[}",  # after a line's end, LaTeX would read a length in them,
        "]": "{]}",
        "*": "{*}",  # and forbid a page break there
        "`": r"\textasciigrave{}",
        '"': r"\textquotedbl{}",
        "\u00b1": r"$\pm$",
        "\u2212": r"$-$",
        "\u2013": r"\textendash{}",
        "\u00d7": r"$\times$",
        "\u0394": r"$\Delta$",
    }
)


def printable(text: str) -> str:
    r"""Return the text on one line, with what cannot be shown or would mislead written as an escape.

    >>> printable("cell\udcff\x07.jpg")
    'cell\\xff\\x07.jpg'
    """
    if text.isprintable():
        return text
    return "".join(_visible(char) for char in text)


def latex(text: str) -> str:
    r"""Return the text for LaTeX, with every special character escaped and no two joined to one.

    >>> print(latex("50%_a & b--c"))
    50\%\_a \& b-{}-c
    """
    return re.sub(r"([-,'])(?=\1)", r"\1{}", printable(text).translate(_LATEX))


def markdown(text: str) -> str:
    r"""Return the text for a cell of a Markdown table.

    >>> print(markdown("a|b <i>"))
    a\|b &lt;i&gt;
    """
    escaped = re.sub(r"([\\`*_\[\]|~#])", r"\\\1", printable(text).replace("&", "&amp;"))
    return escaped.replace("<", "&lt;").replace(">", "&gt;")


def slug(text: str) -> str:
    """Return a file name's part: lower-case letters and digits, joined by hyphens, of a length that every disk takes.

    >>> slug("Wide ResNet-50-2 / seed 1")
    'wide-resnet-50-2-seed-1'
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii").lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:LONGEST].strip("-") or "unnamed"


def percent(fraction: float | None, digits: int = 2) -> str:
    """Return a fraction in percent, without the sign.

    >>> percent(0.99514), percent(float("nan"))
    ('99.51', 'n/a')
    """
    if fraction is None or not math.isfinite(fraction):
        return NOT_DEFINED
    return f"{100 * fraction:.{digits}f}"


def interval(bounds: tuple[float, float] | None, digits: int = 2) -> str:
    """Return an interval of fractions in percent.

    >>> interval((0.9911, 0.9974))
    '99.11–99.74'
    """
    if bounds is None or not all(math.isfinite(b) for b in bounds):
        return NOT_DEFINED
    return f"{percent(bounds[0], digits)}–{percent(bounds[1], digits)}"


def spread(mean: float, sd: float | None, digits: int = 2) -> str:
    """Return mean ± standard deviation in percent; the mean alone where there is no deviation.

    >>> spread(0.98, 0.0012), spread(0.98, None)
    ('98.00 ± 0.12', '98.00')
    """
    if sd is None or not math.isfinite(sd):
        return percent(mean, digits)
    return f"{percent(mean, digits)} ± {percent(sd, digits)}"


def signed_points(fraction: float | None, digits: int = 2) -> str:
    """Return a difference of fractions in percentage points, with its sign.

    >>> signed_points(0.0005), signed_points(-0.0123), signed_points(0.0)
    ('+0.05', '−1.23', '0.00')
    """
    if fraction is None or not math.isfinite(fraction):
        return NOT_DEFINED
    text = f"{100 * abs(fraction):.{digits}f}"
    if float(text) == 0:
        return text
    return ("+" if fraction > 0 else "\u2212") + text


def interval_points(bounds: tuple[float, float], digits: int = 2) -> str:
    """Return an interval of a difference of fractions in percentage points.

    >>> interval_points((-0.0117, 0.0004))
    '−1.17 to +0.04'
    """
    return f"{signed_points(bounds[0], digits)} to {signed_points(bounds[1], digits)}"


def count(number: float | None) -> str:
    """Return a whole number with thousands separated.

    >>> count(17092)
    '17,092'
    """
    if number is None or not math.isfinite(number):
        return NOT_DEFINED
    return f"{number:,.0f}"


def counted(number: int, noun: str) -> str:
    """Return a whole number with its noun, which takes an s.

    >>> counted(1, "error"), counted(1093, "error")
    ('1 error', '1,093 errors')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def duration(seconds: float | None) -> str:
    """Return a time span in the two units that matter.

    >>> duration(42.4), duration(754), duration(7384), duration(None)
    ('42 s', '12 min 34 s', '2 h 03 min', 'n/a')
    """
    if seconds is None or not math.isfinite(seconds):
        return NOT_DEFINED
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _visible(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was no UTF-8, as os.fsdecode gives it
        return f"\\x{code - 0xDC00:02x}"
    if unicodedata.category(char) == "Cc":
        return f"\\x{code:02x}"
    if char in _BIDI or char in _NOT_XML or unicodedata.category(char) == "Cs":
        return f"\\u{code:04x}"
    return char
