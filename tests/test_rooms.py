# SPDX-License-Identifier: BSD-3-Clause
"""The structure of the package: imports go one way in short chains; names say what is offered."""

from __future__ import annotations

import ast
from collections import Counter
from functools import cache
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
    "finetuning": {"recordings", "readers", "model", "nightstore", "encoding", "evaluation"},
    "probing": {"recordings", "model", "nightstore", "pretraining", "encoding", "evaluation"},
    "plotting": {"recordings", "evaluation", "probing"},
    "reports": {"recordings", "encoding", "evaluation", "finetuning", "probing", "plotting"},
    "checks": {"recordings"},
}
LONGEST_CHAIN = 15
# modules that import others by name; one of them, for Recording.from_mne, from a later room
BY_NAME = {"", "encoding", "model", "finetuning._base", "recordings.recording"}
FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    .removesuffix("__init__")
    .strip("."): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


def imports(module: str, kept=lambda node: True) -> set[str]:
    """Modules of the package that a module imports, at its top or within functions."""
    typing_only = {
        id(inner)
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    imported = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.ImportFrom) and node.level and id(node) not in typing_only:
            inside = FILES[module].relative_to(PACKAGE).parts[:-1]
            base = [*inside[: len(inside) - node.level + 1], *filter(None, [node.module])]
            for alias in node.names:
                full = ".".join([*base, alias.name])
                imported.add(full if full in FILES else ".".join(base))
    return (imported & set(FILES)) - {module}


@cache
def chain(module: str) -> list[str]:
    """The longest chain of imports that starts with a module."""
    return [module, *max((chain(name) for name in imports(module)), key=len, default=[])]


def offered_by(package: str) -> set[str]:
    """Modules whose names a package offers, by import or by a lazy table of names."""
    here = package.split(".") if package else []
    offered = {name for name in imports(package) if name.split(".")[: len(here)] == here}
    for node in ast.walk(tree_of(package)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            offered.add(".".join([*here, node.value]).strip("."))
    return offered & set(FILES)


def test_every_room_is_placed():
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(UPSTREAM_OF)


@pytest.mark.parametrize("room", UPSTREAM_OF)
def test_imports_go_upstream(room):
    inside = [module for module in FILES if module.split(".")[0] == room]
    imported = {name.split(".")[0] for module in inside for name in imports(module)}
    assert imported & set(UPSTREAM_OF) - {room} <= UPSTREAM_OF[room]


def test_import_chains_stay_short():
    longest = max(map(chain, FILES), key=len)
    assert len(longest) <= LONGEST_CHAIN, " > ".join(longest)


def test_imports_by_name_are_few():
    found = {
        module
        for module in FILES
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module")
    }
    assert found == BY_NAME


def test_underscores_mark_inner_modules():
    packages = {name for name, path in FILES.items() if path.name == "__init__.py"}
    offered = set().union(*map(offered_by, packages)) | packages | {"errors", "config", "cli"}
    public = {name for name in FILES if not any(p.startswith("_") for p in name.split("."))}
    assert public - offered == set()


def test_class_names_are_unique():
    names = Counter(
        node.name
        for module in FILES
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, number in names.items() if number > 1] == []
