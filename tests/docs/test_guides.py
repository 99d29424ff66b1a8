# SPDX-License-Identifier: BSD-3-Clause
"""The code of the pages on fine-tuning, events, evaluation, survival and encoders runs."""

import re
import warnings
from pathlib import Path

import matplotlib as mpl
import pytest
import yaml
from safetensors.torch import save_file

from tests.finetuned_golden import Case
from tests.seqsleepnet import random_state
from tests.sleepfm import write_sleepfm

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def run():
    """Function of a page: the names that its code leaves."""
    import matplotlib.pyplot as plt

    def run(page, until="no such line"):
        names, text = {}, (DOCS / page).read_text(encoding="utf-8").partition(until)[0]
        for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
            exec(block, names)
        return names

    mpl.use("Agg")
    yield run
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


def test_page_on_evaluation(run, capsys):
    names = run("evaluation.md")
    assert len(names["staged"].stages) == 120
    assert "StagingReport(720 epochs of 6 nights of 6 subjects" in capsys.readouterr().out


def test_page_on_survival(run):
    with warnings.catch_warnings():
        # twelve simulated subjects may leave a score undefined
        warnings.simplefilter("ignore", UserWarning)
        names = run("survival.md")
    assert names["model"].score(names["nights"], names["y"]) > 0.5
    assert set(names["search"].cv_results_) >= {"mean_test_uno", "mean_test_brier"}
    assert list(names["display"].curves_) == ["low risk", "high risk"]
