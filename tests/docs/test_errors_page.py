# SPDX-License-Identifier: BSD-3-Clause
"""The page of errors: each phrase it lists is raised, by the type it names."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

from sleep2vec_sklearn import EpochSequence, Recording, Sleep2VecTransformer, read_recording
from sleep2vec_sklearn.errors import Sleep2VecWarning

PAGE = (Path(__file__).parents[2] / "docs" / "errors.md").read_text(encoding="utf-8")
SECTIONS = re.findall(r"```text\n(\w+): (.*?)\n```\n(.*?)(?=```|\n##|\Z)", PAGE, re.DOTALL)


def noise(rate=128.0, size=30.0):
    return size * np.random.default_rng(0).standard_normal(round(300 * rate))


def embed(**signals):
    return Sleep2VecTransformer(cache=None).fit_transform([Recording(signals)])


def beats(**described):
    return Recording({"ibi": (0.9 + noise(4, 0.05), 4)}, **described)


def leak():
    X = EpochSequence([beats(subject="s01")])
    Sleep2VecTransformer(cache=None).fit(X[:8]).transform(X[5:])


def read_text_as_edf():
    Path("night.edf").write_text("not an EDF file")
    read_recording("night.edf")


def read_unknown_channels():
    edfio = pytest.importorskip("edfio")
    signals = [edfio.EdfSignal(noise(64), 64, label=f"Chan{i}") for i in range(2)]
    edfio.Edf(signals).write("night.edf")
    read_recording("night.edf")


def read_long_list():
    edfio = pytest.importorskip("edfio")
    edfio.Edf([edfio.EdfSignal(noise(64), 64, label="C4-M1")]).write("night.edf")
    Path("night_hypnogram.txt").write_text("W\n" * 12)
    read_recording("night.edf")


MISTAKES = {
    "unknown modality": lambda: Recording({"heart_rate": noise()}),
    "It looks like V": lambda: embed(eeg=noise(size=3e-5)),
    "has rate 25 Hz": lambda: embed(ecg=(noise(25), 25.0)),
    "the night has 4 stages": lambda: beats(stages=[0, 0, 1, 2]),
    "no usable signal": lambda: embed(eeg=np.zeros(38400)),
    "put the step": lambda: np.asarray(EpochSequence([beats()])),
    "X holds other rows": leak,
    "not an EDF or BDF file": read_text_as_edf,
    "has no usable channel": read_unknown_channels,
    "12 labels for 300 s": read_long_list,
    "no checkpoint": lambda: Sleep2VecTransformer("sleep2vec-large").fit([beats()]),
}


@pytest.mark.parametrize(("kind", "phrase", "advice"), SECTIONS)
def test_listed_errors_are_raised(kind, phrase, advice, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (make,) = [make for start, make in MISTAKES.items() if phrase.startswith(start)]
    with warnings.catch_warnings():
        warnings.simplefilter("error", Sleep2VecWarning)
        with pytest.raises((Exception, Warning), match=re.escape(phrase)) as caught:
            make()
    assert caught.type.__name__ == kind
    assert "**Cause**: " in advice
    assert "**Fix**: " in advice


def test_page_lists_every_mistake():
    assert len(SECTIONS) == len(MISTAKES)
