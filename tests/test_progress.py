# SPDX-License-Identifier: BSD-3-Clause
"""Progress bars: shown where somebody is watching and it takes time, else not."""

from __future__ import annotations

import sys

import pytest

from sleep2vec_sklearn import EpochSequence, Sleep2VecTransformer, make_sleep_cohort
from sleep2vec_sklearn._progress import is_interactive, progress_bar


@pytest.fixture
def at_prompt(monkeypatch):
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr("sleep2vec_sklearn._progress._SECONDS_BEFORE_SHOWN", 0)


def encode(**parameters):
    X = EpochSequence(make_sleep_cohort(1, hours=0.5, modalities=["ibi"], random_state=0))
    Sleep2VecTransformer(cache=None, **parameters).fit_transform(X)


def test_scripts_are_not_interactive():
    assert not is_interactive()


def test_encoding_shows_a_bar(at_prompt, at_once, capsys):
    encode()
    assert "encoding" in capsys.readouterr().err


@pytest.mark.parametrize(("verbose", "is_shown"), [(0, False), (1, True)])
def test_verbose_decides(verbose, is_shown, at_prompt, capsys):
    encode(verbose=verbose)
    assert ("encoding" in capsys.readouterr().err) == is_shown


def test_short_work_shows_nothing(at_prompt, capsys):
    with progress_bar(None, total=2, desc="work") as bar:
        bar.update()
    assert capsys.readouterr().err == ""


def test_nothing_without_a_terminal(at_once, capsys):
    encode()
    assert capsys.readouterr().err == ""


def test_bar_needs_a_number():
    with pytest.raises(ValueError, match="verbose is 'yes'; accepted is a whole number"):
        progress_bar("yes")
