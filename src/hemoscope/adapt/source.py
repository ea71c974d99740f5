"""The bundle that is adapted: what can be, and what to do about what cannot."""

from __future__ import annotations

from pathlib import Path

from hemoscope.bundle.file import Bundle, read_bundle
from hemoscope.errors import BundleError

__all__ = ["read_parent"]


def read_parent(path: Path) -> Bundle:
    """Read the bundle to adapt.

    Raises:
        BundleError: If it is none, or something else that hemoscope writes; then with what to adapt instead.
    """
    if path.suffix.lower() == ".onnx":
        raise BundleError(
            f"{path} is an exported model, INT8 or not, which cannot learn; expected the bundle that it was exported from"
        )
    if path.is_dir():
        raise BundleError(
            f"{path} is a folder; expected a bundle. Make one of the runs: hemoscope bundle {path} --out FILE"
        )
    return read_bundle(path)
