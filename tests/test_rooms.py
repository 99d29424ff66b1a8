# SPDX-License-Identifier: BSD-3-Clause
"""Data flows one way through the rooms of the package."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import sleep2vec_sklearn

PACKAGE = Path(sleep2vec_sklearn.__file__).parent
# scores know no estimator, so those that tune or score themselves come after them
UPSTREAM_OF = {
    "recordings": set(),
    "readers": {"recordings"},
    "datasets": {"recordings", "readers"},
    "model": {"recordings"},
    "encoding": {"recordings", "model"},
    "nightstore": {"recordings", "model"},
    "pretraining": {"recordings", "model", "nightstore"},
    "evaluation": {"recordings", "encoding"},
    "finetuning": {
        "recordings",
        "readers",
        "model",
        "nightstore",
        "encoding",
        "evaluation",
    },
    "probing": {"recordings", "model", "nightstore", "pretraining", "encoding", "evaluation"},
    "plotting": {"recordings", "finetuning", "evaluation", "probing"},
    "checks": {"recordings"},
}


def rooms_imported_by(path: Path) -> set[str]:
    """Rooms that a file names in its imports, at its top or within functions."""
    inside = path.relative_to(PACKAGE).parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            names = [node.module] if node.module else [alias.name for alias in node.names]
            base = inside[: len(inside) - node.level + 1]
            found |= {[*base, *name.split(".")][0] for name in names}
    return found & set(UPSTREAM_OF)


def test_every_room_has_its_place():
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(UPSTREAM_OF)


@pytest.mark.parametrize("room", UPSTREAM_OF)
def test_a_room_imports_what_is_upstream_alone(room):
    imported = set().union(*map(rooms_imported_by, (PACKAGE / room).rglob("*.py")))
    assert imported - {room} <= UPSTREAM_OF[room]
