# SPDX-License-Identifier: BSD-3-Clause
"""The code of the pages on evaluation, studies, fine-tuning and encoders, and its outputs."""

import warnings

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.torch import save_file
from sklearn.base import clone

from tests.docs.page_code import run_page
from tests.finetuned_golden import Case
from tests.seqsleepnet import random_state
from tests.sleepfm import write_sleepfm


@pytest.fixture
def run():
    """Function of a page: runs its code without windows, and gives the names it leaves."""
    import matplotlib.pyplot as plt

    mpl.use("Agg")
    yield run_page
    plt.close("all")


def test_page_on_fine_tuning(run):
    names = run("fine_tuning.md")
    assert names["search"].best_params_["head"] in ("linear", "mlp")
    assert names["path"].exists()


@pytest.mark.filterwarnings("ignore::sleep2vec_sklearn.errors.ModalityWarning")
def test_page_on_other_encoders(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "eeg.safetensors"
    save_file(random_state(), path)
    monkeypatch.setattr("sleep2vec_sklearn.model.external.seqsleepnet.fetch_file", lambda: path)
    write_sleepfm(tmp_path)
    names = run("other_encoders.md")
    assert names["states"].shape == (240, 128)
    assert names["rows"].shape == (2, 4 * names["night_vector"].size)
    assert len(names["staged"].stages) == 120


def test_page_on_comparing_encoders(run):
    table = run("comparing_encoders.md")["comparison"].scores
    assert table.index.unique("estimator").tolist() == ["expert features", "sleep2vec-mini", "both"]


def test_page_on_expert_features(run):
    names = run("expert_features.md")
    assert names["model"].predict(names["X"]).shape == (480,)
    assert names["table"].loc["ibi_hr_m41", "minutes"] == 20.5


def test_page_on_saved_tables(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run("caching.md", since="## Saved tables", until="## The leakage")
    assert names["scores"].shape == (4,)
    assert len(pd.read_stata("rows.dta")) == len(pd.read_csv("rows.csv")) == 24


def test_page_on_authors_files(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    case = Case.load("stage5").with_eeg_alone()
    folder = tmp_path / "s2v-medium-stage5-eeg"
    folder.mkdir()
    case.write(folder / "best.ckpt")
    (folder / "config.yaml").write_text(yaml.safe_dump({"data": {"max_tokens": 60}}))
    case.write(tmp_path / "last.ckpt")
    names = run("authors_checkpoints.md", until="## Signals must")
    assert names["stager"].encoder.config.context_epochs == 60
    assert (tmp_path / "mine.safetensors").exists()


def test_page_on_own_encoders(run):
    names = run("own_encoder.md")
    assert names["model"].predict(names["X"]).shape == (120,)
    assert names["model"][0].n_features_out_ == 8


@pytest.mark.slow
def test_page_on_events(run):
    names = run("events.md")
    assert names["detector"].predict(names["nights"]).shape == (3,)
    assert names["scored"]


def test_page_on_evaluation(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(run("evaluation.md")["staged"].stages) == 120
    assert {path.name for path in tmp_path.iterdir()} == {"stages.csv", "stages.edf"}


def test_page_on_scikit_learn(run):
    names = run("scikit_learn.md")
    table = names["table"]
    rows = clone(names["columns"]).fit_transform(table)
    np.testing.assert_allclose(rows[:, -2:], table[["age", "bmi"]].astype(float), rtol=1e-6)


@pytest.mark.slow
def test_page_on_studies(run):
    assert run("studies.md", until="## Scaling laws")["subsets"].modalities == ("effort", "ibi")


@pytest.mark.slow
def test_page_on_clusters(run, tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.chdir(tmp_path)
    names = run_page("clusters.md", since="## Try it", until="## What is sent", __name__="__main__")
    assert names["table"].values.shape[0] == len(names["X"])
    assert len(names["store"]) == 8
    np.testing.assert_array_equal(names["table"].values, names["encoder"].embed(names["X"]).values)


def test_page_on_outcomes(run):
    assert run("outcomes.md")["risk"].shape == (60,)


def test_page_on_phenome_scan(run):
    assert run("phenome_scan.md")["scan"].tested["outcome"].tolist()[:2] == ["death", "stroke"]


def test_page_on_survival(run):
    with warnings.catch_warnings():
        # twelve simulated subjects may leave a score undefined
        warnings.simplefilter("ignore", UserWarning)
        names = run("survival.md")
    assert names["model"].score(names["nights"], names["y"]) > 0.5
    assert set(names["search"].cv_results_) >= {"mean_test_uno", "mean_test_brier"}
    assert list(names["display"].curves_) == ["low risk", "high risk"]


def test_page_on_competing_risks(run):
    names = run("competing_risks.md")
    assert list(names["display"].lines_) == [("all", 1), ("all", 2)]
    assert names["model"].causes_.tolist() == [1, 2]


def test_page_on_uncertainty(run):
    names = run("uncertainty.md")
    assert names["found"].shape == (240, 5)
    assert names["curve"].n_subjects == 4


def test_page_on_hazard_ratios(run):
    index = run("hazard_ratios.md")["ratios"].table.loc["index"]
    assert index["low"] < 1.65 < index["high"]


@pytest.mark.parametrize("page", ["repeated_nights", "sampling_designs", "sites"])
def test_page_on_designs(run, page):
    assert run(f"{page}.md")


def test_page_on_results_section(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run("results_section.md")
    assert f"of {len(names['cohort'])} participants" in names["text"]
    # each participant who was lost has a weight of none
    assert (names["observed"].weights > 0).sum() == names["facts"]["years"].notna().sum()


def test_page_on_covariates(run):
    names = run("covariates.md")
    assert names["joint"].scores.index.unique("estimator").tolist()[-1] == "both"
    assert set(names["search"].best_params_) == {"featureunion__transformer_weights"}


def test_page_on_paper_tables(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("paper_tables.md")
    assert r"\label{tab:results}" in (tmp_path / "results.tex").read_text(encoding="utf-8")
    assert r"Sex, n (\%) & F" in (tmp_path / "table1.tex").read_text(encoding="utf-8")
