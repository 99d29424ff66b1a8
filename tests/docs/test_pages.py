# SPDX-License-Identifier: BSD-3-Clause
"""Pages of the guide: code and its outputs, links and tables of contents."""

from __future__ import annotations

import ast
import contextlib
import re
from pathlib import Path

import pytest

from tests.docs.page_code import BLOCKS, DOCS, agree, run_page, show

ROOT = Path(__file__).parents[2]
TEXTS = {page: page.read_text(encoding="utf-8") for page in sorted(DOCS.glob("*.md"))}
LINKING = [*TEXTS, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


def find(pattern, text):
    return re.findall(pattern, text, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def first_study(tmp_path_factory):
    """The working folder of the first page, with the nights that it writes and other pages read."""
    folder = tmp_path_factory.mktemp("first_page")
    with contextlib.chdir(folder):
        show(BLOCKS.search(TEXTS[DOCS / "start_here.md"])[2], {})
    return folder


@pytest.mark.parametrize("page", ["start_here", "reading", "nsrr", "wearables", "missing_sensors"])
def test_code_of_page_runs(page, first_study, monkeypatch):
    monkeypatch.chdir(first_study)
    assert run_page(f"{page}.md")


def test_stated_outputs_are_compared():
    assert show("1\nprint('a')\n2.5", {}) == "a\n2.5\n"
    assert agree("rows  0.79", "rows 0.80\n")
    assert agree("rows ... end", "rows 0.80 end\n")
    assert not agree("rows 0.79", "rows 0.82\n")
    assert not agree("rows 12", "rows 13\n")


def anchors(path):
    titles = find(r"^#+ (.*?)$", path.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", LINKING, ids=lambda path: path.stem)
def test_links_have_targets(page):
    for link in find(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        target, _, anchor = link.partition("#")
        if "://" in link or target.startswith(("auto_examples/", "api/")):
            continue
        path = page.parent / target if target else page
        assert path.exists(), link
        assert not anchor or anchor in anchors(path), link


def test_gallery_orders_every_example():
    order = re.search(r"^EXAMPLES = (\(.*?^\))", (DOCS / "conf.py").read_text(), re.DOTALL | re.M)
    assert sorted(ast.literal_eval(order[1])) == sorted(
        path.name for path in (ROOT / "examples").glob("plot_*.py")
    )


def test_contents_list_every_page():
    trees = [tree for text in TEXTS.values() for tree in find(r"```\{toctree\}\n(.*?)```", text)]
    listed = set(find(r"^(?:[^<\n]*<)?([\w/]+)>?$", "\n".join(trees)))
    assert {page.stem for page in TEXTS} - {"index"} <= listed


@pytest.mark.parametrize("page", LINKING, ids=lambda path: path.stem)
def test_named_files_exist(page):
    named = find(r"`((?:tests|benchmarks|examples)/[\w/.]+)`", page.read_text(encoding="utf-8"))
    modules = find(r"python -m (benchmarks[\w.]+)", page.read_text(encoding="utf-8"))
    named += [module.rstrip(".").replace(".", "/") + ".py" for module in modules]
    assert [name for name in named if not (ROOT / name).exists()] == []
