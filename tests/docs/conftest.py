# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def load(name):
    """Import a module of docs/, which is not a package."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


api_pages = load("api_pages")


def pytest_generate_tests(metafunc):
    if "public_name" in metafunc.fixturenames:
        names = api_pages.public_names()
        metafunc.parametrize("public_name", names, ids=[entry.path for entry in names])


@pytest.fixture(scope="session")
def pages():
    return api_pages
