# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.metrics import cohen_kappa_score

from benchmarks.evaluation import one_night
from benchmarks.evaluation.one_night import NIGHTS, OneNight, summarise_answers
from sleep2vec_sklearn import Recording

STAGES = [*[0] * 20, *[1, 2, 3, 4, 2] * 12, *[0] * 20]


@pytest.fixture
def night():
    recording = Recording({"ibi": (np.ones(len(STAGES) * 120), 4)}, stages=STAGES)
    return OneNight(recording, np.arange(len(STAGES)) % 10 != 3)


def test_blocks_are_contiguous(night, monkeypatch):
    given = {}

    def spy(X, y, groups, *args, **options):
        given.update(X=X, groups=groups, splits=options["n_splits"])
        return np.eye(5)[y]

    monkeypatch.setattr(one_night, "predict_held_out", spy)
    rows = np.arange(len(STAGES))[:, None]
    np.testing.assert_array_equal(night.answers(rows), night.y)
    assert given["splits"] == 5
    np.testing.assert_array_equal(given["X"][:, 0], np.flatnonzero(night.used))
    np.testing.assert_array_equal(np.unique(given["groups"]), range(5))
    assert (np.diff(given["groups"]) >= 0).all()


def test_informative_rows_score_high(night):
    rows = np.eye(5)[STAGES] + 0.05 * np.random.default_rng(0).standard_normal((len(STAGES), 5))
    assert cohen_kappa_score(night.y, night.answers(rows)) > 0.8


def test_estimator_is_tested_by_block(night):
    seen = []

    class Estimator(BaseEstimator):
        def fit(self, X, y):
            self.epochs_ = set(X.index.get_level_values("epoch"))
            return self

        def predict(self, X):
            epochs = X.index.get_level_values("epoch")
            assert not self.epochs_ & set(epochs)
            seen.extend(epochs)
            return np.zeros(len(X), dtype=int)

    assert not night.answers_of(Estimator()).any()
    np.testing.assert_array_equal(seen, np.flatnonzero(night.used))


def test_summary_averages_several_draws():
    y = np.arange(50) % 5
    table = summarise_answers(y, {"x": [y, np.roll(y, 1)]})
    assert table.loc["x", "kappa"] == pytest.approx((1 + cohen_kappa_score(y, np.roll(y, 1))) / 2)
    assert table.loc["x", "accuracy"] == pytest.approx(0.5)
    assert table.loc["x", "epochs"] == 50
    assert table.loc["x", "low"] <= table.loc["x", "kappa"] <= table.loc["x", "high"] < 1


def test_wake_around_sleep_is_cut(tmp_path, monkeypatch):
    stages = [*[0] * 10, 2, -1, 3, *[0] * 10]
    recording = Recording({"eeg": (np.ones(len(stages) * 3840), 128)}, stages=stages)
    folder = tmp_path / "sleep-edfx" / "sleep-cassette"
    folder.mkdir(parents=True)
    (folder / "SC4001E0-PSG.edf").touch()
    monkeypatch.setattr(one_night, "read_recording", lambda path, **options: recording)
    monkeypatch.setattr(one_night, "EPOCHS_AROUND_SLEEP", 4)
    night = NIGHTS["SC4001"](tmp_path)
    np.testing.assert_array_equal(np.flatnonzero(night.used), [6, 7, 8, 9, 10, 12, 13, 14, 15, 16])
