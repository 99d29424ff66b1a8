# SPDX-License-Identifier: BSD-3-Clause
"""Pages of the API reference: all public names and no others."""

from __future__ import annotations

import importlib
import pkgutil
import re

import pytest

import sleep2vec_sklearn


@pytest.fixture
def folder(pages, tmp_path):
    pages.write_pages(tmp_path)
    return tmp_path


def public_modules():
    names = {module.name for module in pkgutil.iter_modules(sleep2vec_sklearn.__path__)}
    public = sorted(name for name in names if not name.startswith("_"))
    modules = [importlib.import_module(f"sleep2vec_sklearn.{name}") for name in public]
    return [sleep2vec_sklearn, *(module for module in modules if hasattr(module, "__all__"))]


def test_public_names_have_pages(pages, folder):
    written = {path.stem for path in folder.iterdir()}
    assert written == {"index", *(entry.path for entry in pages.public_names())}
    names = {(entry.name, id(entry.value)) for entry in pages.public_names()}
    for module in public_modules():
        public = set(module.__all__) - {"__version__"}
        assert {(name, id(getattr(module, name))) for name in public} <= names


def test_pages_use_shortest_path(pages):
    paths = [entry.path for entry in pages.public_names()]
    assert len(paths) == len(set(paths))
    assert "sleep2vec_sklearn.Recording" in paths
    assert "sleep2vec_sklearn.recordings.Recording" not in paths


def test_pages_omit_inherited_methods(folder):
    page = (folder / "sleep2vec_sklearn.Sleep2VecTransformer.rst").read_text()
    assert "automethod:: embed" in page
    assert "set_params" not in page
    recording = (folder / "sleep2vec_sklearn.Recording.rst").read_text()
    assert "autoproperty:: rates" in recording


def test_only_stale_pages_change(pages, folder):
    (folder / "sleep2vec_sklearn.gone.rst").write_text("gone")
    before = (folder / "index.rst").stat().st_mtime_ns
    pages.write_pages(folder)
    assert not (folder / "sleep2vec_sklearn.gone.rst").exists()
    assert (folder / "index.rst").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("code", "target"),
    [
        ("Recording", "Recording"),
        ("Recording.rates", "Recording.rates"),
        ("read_cohort(folder)", "read_cohort"),
        ("sleep2vec_sklearn.plotting.HypnogramDisplay", "plotting.HypnogramDisplay"),
        ("Recording.nothing", None),
        ("recording.rates", None),
        ("cache=None", None),
        ("sleep2vec-mini", None),
        ("Sleep2VecTransformer(cache=None).fit(X)", "Sleep2VecTransformer"),
    ],
)
def test_inline_code_is_linked(pages, code, target):
    documented = {entry.path for entry in pages.public_names()}
    documented.add("sleep2vec_sklearn.Recording.rates")
    assert pages.link_target(code, documented) == (target and f"sleep2vec_sklearn.{target}")


def test_summary_is_a_sentence(pages, public_name):
    assert pages.summary(public_name).endswith((".", ";", ":"))


def test_sections_come_once(public_name):
    document = public_name.value.__doc__ or ""
    headings = re.findall(r"^ *(\w[\w ]*)\n *-{4,}$", document, re.MULTILINE)
    assert len(headings) == len(set(headings))
