"""The discs of tests/conftest.py, ready to train on."""

from __future__ import annotations

from pathlib import Path

import pytest

from hemoscope.training.run import Prepared, prepare


@pytest.fixture
def prepared(discs: Path) -> Prepared:
    """The discs, scanned and split."""
    return prepare(discs)
