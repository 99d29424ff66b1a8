# SPDX-License-Identifier: BSD-3-Clause
"""What notebooks show of objects, and the tables of results."""

from datetime import datetime
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn import EmbeddingTable, EpochSequence, Recording, staging_report
from sleep2vec_sklearn.encoding import RowKeys
from sleep2vec_sklearn.evaluation import (
    ScoredEvents,
    calibration_report,
    kaplan_meier,
    survival_outcome,
)
from sleep2vec_sklearn.probing import (
    CrossModalRetrieval,
    LabelEfficiency,
    ModalityDropout,
    ModalityImportance,
    ModalitySubsets,
    fit_scaling_law,
)

HOSTILE = "<script>alert(1)</script>"


class Balance(HTMLParser):
    """The texts of a page; an error where a tag is not closed."""

    def __init__(self):
        super().__init__()
        self.open, self.texts = [], []

    def handle_starttag(self, tag, attrs):
        assert tag not in ("script", "i")
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data.strip())


def texts_of(shown):
    page = Balance()
    page.feed(shown._repr_html_())
    assert page.open == []
    return page.texts


@pytest.fixture
def night(counting_source):
    source = counting_source(
        {"eeg": (np.zeros(128 * 300), 128.0, "uV"), "spo2": (np.full(300, 96.0), 1.0, "%")}
    )
    return Recording.from_source(
        source, id=HOSTILE, subject="<b>s1</b>", start=datetime(2024, 3, 1, 23, 5),
        stages=[0, 0, 1, 2, 2, 2, 3, 4, -1, -1], notes=["'C3<A2' left out: flat"],
    )  # fmt: skip


def test_recording_shows_without_reading(night):
    texts = texts_of(night)
    assert night._source.reads == []
    for text in ("<b>s1</b>", "2024-03-01 23:05:00", "0 h 05 min", "128.0", "uV", "1.5"):
        assert text in texts
    assert any("C3<A2' left out" in text for text in texts)
    assert f"Recording(id='{HOSTILE}', 10 epochs, eeg, spo2)" in texts


def test_epochs_are_counted_by_night(night):
    texts = texts_of(EpochSequence([night, {"spo2": [96.0] * 480}])[3:12])
    row = texts.index("2024-03-01 23:05:00")
    shown = [text for text in texts[row + 1 :] if text]
    # epochs, W, N1, N2, N3, R, unscored; a night without start and stages
    assert shown[:7] == ["7", "0", "0", "3", "1", "1", "2"]
    assert shown[9:16] == ["2", "0", "0", "0", "0", "0", "2"]
    assert HOSTILE in texts


def test_tables_show_their_encoder():
    keys = RowKeys([HOSTILE, "n2"], ["s1", "s2"], [0, 1])
    provenance = {"features": ["f0"], "modalities": ["eeg"], "checkpoint": "mini", "pooling": "max"}
    covariates = pd.DataFrame({"site": ["<i>x</i>", "y"]}, index=[HOSTILE, "n2"])
    table = EmbeddingTable(keys, [[1.5], [2]], [[30], [30]], provenance, None, covariates)
    texts = texts_of(table)
    for text in (HOSTILE, "mini", "max", "1.5", "<i>x</i>"):
        assert text in texts


def summary(**columns):
    n = 12
    scores = {"metric": "kappa", "score": np.arange(n) / 10, "low": 0.0, "high": 1.0}
    return pd.DataFrame({**columns, **scores}, index=range(n))


def retrieval():
    pairs = {
        "scope": "nights", "query": ["eeg", "ecg"], "target": ["ecg", "eeg"],
        "recall_1": [0.5, 0.25], "recall_1_low": [0.4, 0.2], "recall_1_high": [0.6, 0.3],
        "median_rank": [2.0, 3.0], "candidates": 20.0, "queries": 7, "subjects": 3,
    }  # fmt: skip
    return CrossModalRetrieval(pd.DataFrame(pairs), ("eeg", "ecg"), 0.95)


def importance():
    values = {"importances_mean": np.array([0.1, 0.2]), "importances_std": np.zeros(2)}
    interval = {"low": np.array([0.0, 0.1]), "high": np.array([0.2, 0.3])}
    about = {"modalities": ("eeg", "ibi"), "metric": "kappa", "method": "drop", "baseline": 0.7}
    return ModalityImportance(**about, **values, **interval)


RESULTS = {
    "StagingReport": lambda: staging_report(["W", "N2", "N2", "R"], ["W", "N2", "R", "R"]),
    "CalibrationReport": lambda: calibration_report([0, 1, 0, 1], [0.1, 0.8, 0.6, 0.4]),
    "KaplanMeier": lambda: kaplan_meier(survival_outcome([1, 0, 1, 0], [1.0, 2.0, 3.0, 4.0])),
    "LabelEfficiency": lambda: LabelEfficiency(
        summary(estimator=HOSTILE), None, None, "subject", 0.9, None, {}
    ),
    "ModalityDropout": lambda: ModalityDropout(summary(), ("eeg",), "pooled", 0.95),
    "ModalitySubsets": lambda: ModalitySubsets(summary(), ("eeg",), "subject", 0.95, None, {}),
    "ModalityImportance": importance,
    "CrossModalRetrieval": retrieval,
    "ScalingLaw": lambda: fit_scaling_law(
        pd.DataFrame({"n_nights": [8, 16, 32, 64], "loss": [2.4, 2.0, 1.7, 1.5]}),
        x="n_nights", n_resamples=20,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RESULTS)
def test_results_are_one_table(name):
    result = RESULTS[name]()
    table = result.to_frame()
    assert {"value", "low", "high"} <= set(table.columns)
    assert isinstance(table.index, pd.RangeIndex)
    assert repr(result).startswith(f"{name}(")
    assert texts_of(result)[0].startswith(f"{name}(")


def test_long_results_are_cut():
    result = RESULTS["LabelEfficiency"]()
    assert repr(result).endswith("and 2 more rows, see to_frame()")
    texts = texts_of(result)
    assert texts.count(HOSTILE) == 10
    assert "and 2 more rows; see" in texts
    assert texts[0] == "LabelEfficiency(mean over subjects, 90 % confidence intervals)"


def test_staging_report_shows_its_parts():
    texts = texts_of(RESULTS["StagingReport"]())
    assert "Confusion: scored in rows, predicted in columns" in texts
    assert "intervals need at least two subjects; pass groups" in texts
    assert "0.750" in texts


def test_curve_has_right_values():
    table = RESULTS["KaplanMeier"]().to_frame()
    assert table["value"].tolist() == [0.75, 0.75, 0.375, 0.375]
    assert table["n_at_risk"].tolist() == [4, 3, 2, 1]


def test_retrieval_rows_are_metrics():
    table = retrieval().to_frame().set_index(["metric", "query"])
    assert table.loc[("recall_1", "ecg"), ["value", "low", "high"]].tolist() == [0.25, 0.2, 0.3]
    assert table.loc[("median_rank", "eeg"), "value"] == 2
    assert np.isnan(table.loc[("median_rank", "eeg"), "low"])
    assert len(table) == 4


def test_events_show_their_probability():
    truth = np.repeat([0, 1, 0, 1], [30, 10, 20, 60])
    night = ScoredEvents(truth, np.linspace(0, 1, 120), stages=[0, 2, 0, 0], id=HOSTILE)
    table = night.to_frame()
    assert table["onset"].tolist() == [30, 60]
    assert table["duration"].tolist() == [10, 60]
    assert table["in_sleep"].tolist() == [True, False]
    assert table["probability"].round(3).tolist() == [0.328, 1.0]
    assert texts_of(night)[0].startswith(f"ScoredEvents({HOSTILE}: ")


def test_importance_stays_a_bunch():
    result = importance()
    assert result["importances_mean"] is result.importances_mean
    assert result.to_frame()["value"].tolist() == [0.1, 0.2]
