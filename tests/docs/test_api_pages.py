# SPDX-License-Identifier: BSD-3-Clause
"""The API reference holds what is public, all of it and nothing else."""

from __future__ import annotations

import importlib
import pkgutil

import sleep2vec_sklearn


def rooms_with_names():
    names = {module.name for module in pkgutil.iter_modules(sleep2vec_sklearn.__path__)}
    public = sorted(name for name in names if not name.startswith("_"))
    rooms = [importlib.import_module(f"sleep2vec_sklearn.{name}") for name in public]
    return [room for room in rooms if getattr(room, "__all__", None)]


def test_every_public_name_has_page(pages, tmp_path):
    written = {path.stem for path in pages.write_pages(tmp_path)}
    assert written == {"index", *(entry.path for entry in pages.public_names())}
    names = {(entry.name, id(entry.value)) for entry in pages.public_names()}
    for room in [sleep2vec_sklearn, *rooms_with_names()]:
        public = set(room.__all__) - {"__version__"}
        assert {(name, id(getattr(room, name))) for name in public} <= names


def test_shortest_path_names_a_page(pages):
    paths = [entry.path for entry in pages.public_names()]
    assert len(paths) == len(set(paths))
    assert "sleep2vec_sklearn.Recording" in paths
    assert "sleep2vec_sklearn.recordings.Recording" not in paths


def test_class_page_lists_own_methods(pages, tmp_path):
    pages.write_pages(tmp_path)
    page = (tmp_path / "sleep2vec_sklearn.Sleep2VecTransformer.rst").read_text()
    assert "automethod:: embed" in page
    assert "set_params" not in page
    recording = (tmp_path / "sleep2vec_sklearn.Recording.rst").read_text()
    assert "autoproperty:: rates" in recording


def test_stale_pages_are_removed(pages, tmp_path):
    pages.write_pages(tmp_path)
    (tmp_path / "sleep2vec_sklearn.gone.rst").write_text("gone")
    before = (tmp_path / "index.rst").stat().st_mtime_ns
    pages.write_pages(tmp_path)
    assert not (tmp_path / "sleep2vec_sklearn.gone.rst").exists()
    assert (tmp_path / "index.rst").stat().st_mtime_ns == before


def test_index_describes_each_name(pages, tmp_path, public_name):
    assert pages.summary(public_name).endswith((".", ";", ":"))
