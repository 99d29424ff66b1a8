# SPDX-License-Identifier: BSD-3-Clause
"""The pages of the guide: their code runs, their links lead somewhere, and none is lost."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sleep2vec_sklearn import make_sleep_cohort
from sleep2vec_sklearn.datasets import write_edf_cohort

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.glob("*.md"))
RUN = ("start_here", "reading", "missing_sensors")


@pytest.fixture
def my_study(tmp_path, monkeypatch):
    """A folder of EDF files, as small as the one that the first page makes."""
    monkeypatch.chdir(tmp_path)
    people = make_sleep_cohort(
        6, nights_per_subject=2, hours=0.5, modalities=["eeg", "spo2", "ibi"],
        site_kinds=["laboratory"], missing=0, random_state=0,
    )  # fmt: skip
    write_edf_cohort(people, "my_study")


@pytest.mark.parametrize("page", RUN)
def test_page_blocks_run_in_order(page, my_study):
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    names = {}
    for block in blocks:
        exec(block.replace("hours=1,", "hours=0.5, modalities=['eeg', 'ibi'],"), names)


def sections_of(path):
    found = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in found}


@pytest.mark.parametrize("page", [*PAGES, DOCS.parent / "README.md"], ids=lambda path: path.stem)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        target, _, section = link.partition("#")
        if "://" in link or target.startswith(("auto_examples/", "api/")):
            continue
        path = page.parent / target if target else page
        assert path.exists(), link
        assert not section or section in sections_of(path), link


def test_every_page_has_a_toctree():
    trees = "".join(
        block
        for page in PAGES
        for block in re.findall(
            r"```\{toctree\}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL
        )
    )
    listed = set(re.findall(r"^(?:.*<)?([\w/]+)>?$", trees, re.MULTILINE))
    assert {page.stem for page in PAGES} - {"index"} <= listed
