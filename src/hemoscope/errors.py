"""The exceptions of hemoscope: one tree, so that a caller can catch all of it or one branch.

Every message says what was expected, what came, and what to do next. Problems of a folder or a
file are collected first and raised once.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

__all__ = [
    "DISK_FULL",
    "BundleError",
    "ConfigError",
    "DataError",
    "FetchError",
    "HemoscopeError",
    "ImageError",
    "MissingPackageError",
    "RunError",
    "ShapeError",
    "SplitError",
    "StoreError",
    "TrackingError",
    "TrainingError",
    "UnknownNameError",
    "WeightsError",
]

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Numbers of the system's errors of a disk, or a share of one, without room."""


class HemoscopeError(Exception):
    """Anything hemoscope can say no to.

    The command line prints its message and exits with 1, or with 2 where it was used wrongly: a
    `ConfigError` or an `UnknownNameError`.
    """


class ShapeError(HemoscopeError, ValueError):
    """An array has another shape, type or range than its function asks for."""


class ImageError(HemoscopeError):
    """One file could not be read as an image."""


class ConfigError(HemoscopeError, ValueError):
    """A recipe or an option does not hold together."""


class MissingPackageError(HemoscopeError):
    """A package that comes with one of hemoscope's extras is not installed."""

    @classmethod
    def of(cls, what: str, error: ImportError, *, extra: str) -> MissingPackageError:
        """Return the error of what needs a package that could not be imported, with the command that installs it."""
        return cls(
            f"{what} needs {error.name or extra}, which cannot be imported: pip install 'hemoscope[{extra}]', or in a "
            f"clone uv sync --all-extras"
        )


class DataError(HemoscopeError):
    """A data folder or file cannot be used as it is."""


class FetchError(HemoscopeError):
    """A download could not be had, verified or unpacked."""


class SplitError(DataError):
    """A split does not fit its images."""


class WeightsError(HemoscopeError):
    """Pretrained weights are missing, damaged or made for another network."""


class TrainingError(HemoscopeError):
    """Training cannot start or go on."""


class RunError(HemoscopeError):
    """A run folder is incomplete, damaged, in use, or does not fit the others."""


class BundleError(HemoscopeError):
    """A bundle is damaged, edited, from a newer version, or does not do what its card says."""


class StoreError(HemoscopeError):
    """The review page's store cannot be reached, is full, or is from another version."""


class TrackingError(HemoscopeError):
    """A tracker of runs cannot be reached or refuses what it is told."""


class UnknownNameError(HemoscopeError, KeyError):
    """A name is not in its list; the message offers the close matches.

    >>> print(UnknownNameError("architecture", "resnet81", ["resnet18", "vgg16"]))
    unknown architecture 'resnet81'; did you mean resnet18? Known: resnet18, vgg16
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        from difflib import get_close_matches

        known = list(known)
        close = get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(close)}?" if close else "."
        super().__init__(f"unknown {kind} {name!r}{hint} Known: {', '.join(known)}")

    def __str__(self) -> str:
        return str(self.args[0])
