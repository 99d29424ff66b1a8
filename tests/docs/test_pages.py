# SPDX-License-Identifier: BSD-3-Clause
"""Pages of the guide: code, links and tables of contents."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sleep2vec_sklearn import make_sleep_cohort
from sleep2vec_sklearn.datasets import write_edf_cohort

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TEXTS = {page: page.read_text(encoding="utf-8") for page in sorted(DOCS.glob("*.md"))}
LINKING = [*TEXTS, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


def find(pattern, text):
    return re.findall(pattern, text, re.DOTALL | re.MULTILINE)


@pytest.fixture
def my_study(tmp_path, monkeypatch):
    """A folder of EDF files, smaller than that of the first page."""
    monkeypatch.chdir(tmp_path)
    cohort = make_sleep_cohort(
        6, nights_per_subject=2, hours=0.5, modalities=["eeg", "spo2", "ibi"],
        site_kinds=["laboratory"], missing=0, random_state=0,
    )  # fmt: skip
    write_edf_cohort(cohort, "my_study")


@pytest.mark.parametrize("page", ["start_here", "reading", "nsrr", "wearables", "missing_sensors"])
def test_code_of_page_runs(page, my_study):
    blocks = find(r"```python\n(.*?)```", TEXTS[DOCS / f"{page}.md"])
    assert blocks
    names = {}
    for block in blocks:
        exec(block.replace("hours=1,", "hours=0.5, modalities=['eeg', 'ibi'],"), names)


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
