# SPDX-License-Identifier: BSD-3-Clause
import sys
from pathlib import Path

import matplotlib as mpl
import pytest

mpl.use("Agg")


@pytest.fixture
def no_matplotlib(monkeypatch):
    """As if matplotlib were not installed."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)


@pytest.fixture
def refused(monkeypatch):
    """Nothing can be written, also where root runs the tests."""

    opened = Path.open

    def refuse(path, mode="r", *rest, **options):
        if "x" in mode:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, mode, *rest, **options)

    monkeypatch.setattr(Path, "open", refuse)
