# SPDX-License-Identifier: BSD-3-Clause
"""Warnings are ignored and collected without a touch of the filters, which all threads share."""

import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.naive_bayes import GaussianNB

from sleep2vec_sklearn import Recording, Sleep2VecTransformer, fit_scaling_law
from sleep2vec_sklearn._warnings import collected, handed_on, ignored, others_ignored, warn
from sleep2vec_sklearn.cli import main
from sleep2vec_sklearn.datasets import load_sleep_accel
from sleep2vec_sklearn.errors import ReadError, RecordingWarning
from sleep2vec_sklearn.evaluation import compare_estimators
from sleep2vec_sklearn.reports._page import ReportPage
from tests.encoding.nights import Night

GROUPS = np.repeat(np.arange(10), 6)
# the last subjects have one class
Y = np.where(GROUPS < 7, np.arange(60) % 2, 1)


def scale(folder):
    points = pd.DataFrame({"n_nights": [1, 2, 4, 8, 16], "loss": [3.1, 2.4, 2.0, 1.8, 1.7]})
    return fit_scaling_law(points, x="n_nights", n_resamples=20).parameters["value"].tolist()


def compare(folder):
    values = np.random.default_rng(0).standard_normal((60, 3)) + Y[:, None]
    estimators = {"constant": DummyClassifier(), "bayes": GaussianNB()}
    scoring = {"kappa": "kappa", "auc": "roc_auc", "recall": "balanced_accuracy"}
    options = {"scoring": scoring, "average": "subject", "n_resamples": 20}
    return compare_estimators(estimators, values, Y, GROUPS, **options).to_frame().to_csv()


def describe(folder):
    return main(["describe", str(folder / "missing.edf")])


def load(folder):
    with pytest.raises(ReadError) as caught:
        load_sleep_accel(folder)
    return str(caught.value)


def report(folder):
    page = ReportPage("Night", None)
    with page.section("Stages") as section:
        section.text("As scored.")
        warn("the belt slipped", RecordingWarning)
    return page.warnings, page.sections


def encode(folder):
    nights = [Recording.from_source(Night(i), id=f"n{i}") for i in range(2)]
    return Sleep2VecTransformer(modalities=["spo2"], cache=None).fit_transform(nights).tolist()


@contextmanager
def watching_filters(changes):
    """Note whatever the filters are meanwhile that is not what they were."""
    filters, content, ended = warnings.filters, list(warnings.filters), threading.Event()

    def watch():
        while not ended.wait(1e-4):
            if warnings.filters is not filters or warnings.filters != content:
                changes.append(list(warnings.filters))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.fixture
def folder(tmp_path):
    """A night of Sleep-Accel without rows."""
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "1_labeled_sleep.txt").write_text("# none\n\n")
    return tmp_path


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("call", [scale, compare, describe, load, report, encode])
def test_threads_leave_filters_alone(call, folder, monkeypatch):
    callers, changes = [], []

    class NotedCatch(warnings.catch_warnings):
        def __init__(self, *args, **kwargs):
            callers.append(sys._getframe(1).f_globals["__name__"])
            super().__init__(*args, **kwargs)

    expected = call(folder)
    monkeypatch.setattr(warnings, "catch_warnings", NotedCatch)
    with watching_filters(changes), ThreadPoolExecutor(8) as pool:
        assert list(pool.map(call, [folder] * 8)) == [expected] * 8
    assert not [name for name in callers if name.startswith("sleep2vec_sklearn")]
    # scikit-learn changes them as it looks at labels
    assert not changes or call is compare


def test_others_are_ignored_alone(monkeypatch):
    before = list(warnings.filters)
    n_threads = threading.active_count()
    monkeypatch.setattr(
        threading, "active_count", lambda: len(threading.enumerate()) - n_threads + 1
    )
    with warnings.catch_warnings(record=True) as shown:
        with others_ignored(UserWarning):
            warnings.warn("of a metric", UserWarning, stacklevel=1)
        with watching_filters([]), others_ignored(UserWarning):
            warnings.warn("of a thread", UserWarning, stacklevel=1)
    assert [str(warning.message) for warning in shown] == ["of a thread"]
    assert warnings.filters == before


def test_own_warnings_are_ignored():
    with collected(RecordingWarning) as caught, ignored(RecordingWarning, "[0-9]+ of"):
        warn("2 of 3 nights", RecordingWarning)
        warn("a night", RecordingWarning)
    assert caught == [(RecordingWarning, "a night")]
    with pytest.warns(RecordingWarning, match="afterwards"):
        warn("afterwards", RecordingWarning)


def test_threads_hand_warnings_on():
    def work(number):
        warn(f"night {number}", RecordingWarning)
        return number

    with ThreadPoolExecutor(1) as pool, collected(RecordingWarning) as caught:
        assert pool.submit(handed_on(work), 3).result() == 3
        with pytest.raises(RecordingWarning, match="night 4"):
            pool.submit(work, 4).result()
    assert caught == [(RecordingWarning, "night 3")]
