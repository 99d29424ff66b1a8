# SPDX-License-Identifier: BSD-3-Clause
"""The page of errors quotes what is raised, word for word."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest

from sleep2vec_sklearn import config_context, get_config
from sleep2vec_sklearn.errors import Sleep2VecWarning
from tests.docs.mistakes import MISTAKES

PAGE = (Path(__file__).parents[2] / "docs" / "errors.md").read_text(encoding="utf-8")
QUOTED = [" ".join(block.split()) for block in re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)]


def what_is_said(mistake, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error", Sleep2VecWarning)
        try:
            mistake()
        except Exception as error:
            text = f"{type(error).__name__}: {error}".replace(f"{folder}/", "")
            return " ".join(text.split())
    return None


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = get_config()
    with config_context():
        yield tmp_path
    assert get_config() == before


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_the_page_quotes_what_is_said_of(mistake, folder):
    assert what_is_said(mistake, folder) in QUOTED


def test_the_page_quotes_nothing_else():
    assert len(QUOTED) == len(set(QUOTED)) == len(MISTAKES)


def test_every_quoted_text_has_a_cause_and_a_way_out():
    for part in PAGE.split("```text")[1:]:
        said = part.split("```", 1)[1].split("\n#")[0]
        assert len(said.split()) > 8, part
