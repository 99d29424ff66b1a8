# SPDX-License-Identifier: BSD-3-Clause
import importlib
import sys
from pathlib import Path

import pytest

from benchmarks import real_nights

FOLDER = Path(real_nights.__file__).parent / "bundled_checkpoint"
SCRIPTS = ("card", "configuration", "nights", "store", "pretrain")


@pytest.fixture(scope="session")
def bundled():
    """Function of a name: that script of the bundled checkpoint, which run in their folder."""
    sys.path.insert(0, str(FOLDER))
    try:
        modules = {name: importlib.import_module(name) for name in SCRIPTS}
    finally:
        sys.path.remove(str(FOLDER))
    yield modules.__getitem__
    for name in SCRIPTS:
        sys.modules.pop(name, None)
