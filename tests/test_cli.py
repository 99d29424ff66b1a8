# SPDX-License-Identifier: BSD-3-Clause
"""The command sleep2vec: exit codes, files written, failures listed, runs resumed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn import EmbeddingTable, Sleep2VecTransformer, make_sleep_cohort, read_cohort
from sleep2vec_sklearn.cli import main
from sleep2vec_sklearn.datasets import write_edf_cohort

COMMANDS = ("describe", "stage", "embed", "report", "pretrain", "doctor")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    nights = make_sleep_cohort(
        3, hours=0.5, modalities=["eeg", "spo2"], missing=0, site_kinds=["laboratory"],
        random_state=0,
    )  # fmt: skip
    write_edf_cohort(nights, folder)
    (folder / "metadata.csv").unlink()
    return folder


@pytest.fixture
def study(written, tmp_path):
    """Three nights, and one file that is none."""
    folder = shutil.copytree(written, tmp_path / "study")
    (folder / "broken.edf").write_bytes(b"0       " + b"x" * 300)
    return folder


def run(*arguments):
    return main([str(argument) for argument in arguments])


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "sleep2vec_sklearn", *map(str, arguments)], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command, capsys):
    with pytest.raises(SystemExit) as ended:
        run(command, "--help")
    assert ended.value.code == 0
    assert f"examples:\n  sleep2vec {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "call",
    [
        [],
        ["paint"],
        ["stage"],
        ["stage", "x", "--out", "y", "--lights", "late"],
        ["embed", "x", "--out", "y.csv", "--jobs", "0"],
        ["embed", "x", "--out", "y.sav"],
        ["embed", "x", "--out", "y.csv", "--modalities", "nose"],
    ],
)
def test_wrong_calls_exit_with_2(call):
    with pytest.raises(SystemExit) as ended:
        run(*call)
    assert ended.value.code == 2


def test_it_is_installed_as_sleep2vec():
    from importlib.metadata import entry_points

    (script,) = entry_points(group="console_scripts", name="sleep2vec")
    assert script.load() is main


def test_describe_a_file(written, capsys):
    assert run("describe", written / "sim-0001-n1.edf") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["label", "modality", "rate", "unit", "used", "why"]
    assert [line for line in lines if " eeg " in line]


def test_describe_a_folder(study, tmp_path, capsys):
    assert run("describe", study, "--out", tmp_path / "channels.csv") == 1
    table = pd.read_csv(tmp_path / "channels.csv")
    assert table.groupby("recording")["modality"].agg(set).tolist() == [{"eeg", "spo2"}] * 3
    assert "1 of 4 nights failed" in capsys.readouterr().err


def test_files_that_are_not_there(tmp_path, capsys):
    assert run("describe", tmp_path / "none.edf") == 1
    assert "none.edf: no such file" in capsys.readouterr().err


def test_stage_keeps_what_worked(study, tmp_path, capsys):
    out = tmp_path / "stages"
    assert run("stage", study, "--out", out) == 1
    assert "1 of 4 nights failed" in capsys.readouterr().err
    statistics = pd.read_csv(out / "statistics.csv")
    assert statistics["recording"].tolist() == ["sim-0001-n1", "sim-0002-n1", "sim-0003-n1"]
    assert statistics["hours"].tolist() == [0.5] * 3
    failures = pd.read_csv(out / "failures.csv")
    assert failures["recording"].str.endswith("broken.edf").tolist() == [True]
    stages = pd.read_csv(out / "sim-0001-n1-predicted.csv")
    assert len(stages) == 60
    assert (out / "sim-0001-n1-predicted.edf").exists()


def test_stage_goes_on(study, tmp_path, capsys):
    (study / "broken.edf").unlink()
    call = ("stage", study, "--out", tmp_path, "--format", "csv")
    assert run(*call) == 0
    first = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*-predicted.csv")}
    (tmp_path / "sim-0002-n1-predicted.csv").unlink()
    assert run(*call) == 0
    assert "2 of 3 nights were staged before" in capsys.readouterr().err
    again = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*-predicted.csv")}
    assert [name for name in first if again[name] != first[name]] == ["sim-0002-n1-predicted.csv"]
    assert len(pd.read_csv(tmp_path / "statistics.csv")) == 3


def test_other_options_stage_again(written, tmp_path, capsys):
    call = ("stage", written / "sim-0001-n1.edf", "--out", tmp_path, "--format", "csv")
    assert run(*call) == run(*call, "--modalities", "eeg") == 0
    assert "staged before" not in capsys.readouterr().err
    assert pd.read_csv(tmp_path / "statistics.csv")["sensors"].tolist() == ["eeg"]


def test_predictions_are_no_labels(study, tmp_path):
    nights = [path for path in study.glob("*.edf") if "Hypnogram" not in path.name]
    for path in study.iterdir():
        if path not in nights or path.name == "broken.edf":
            path.unlink()
    assert run("stage", *study.glob("*.edf"), "--out", study / "stages") == 0
    assert len(list((study / "stages").glob("*-predicted.*"))) == 6
    with pytest.warns(match="3 of 3 nights have no stages"):
        cohort = read_cohort(sorted(study.glob("*.edf")))
    assert [night.stages for night in cohort] == [None] * 3


@pytest.mark.parametrize("call", ["stage --out", "embed --out"])
def test_results_stay_outside(call, study, capsys):
    command, option = call.split()
    assert run(command, study, option, study / "rows.csv") == 1
    assert "Choose a place outside" in capsys.readouterr().err
    assert not (study / "rows.csv").exists()


def test_failed_calls_are_repeated(written, tmp_path, capsys):
    assert run("stage", written, "--out", tmp_path, "--stager", "bundle") == 1
    assert "no stager" in capsys.readouterr().err
    assert run("stage", written, "--out", tmp_path) == 0


def test_changed_labels_are_read_again(study, tmp_path):
    out = tmp_path / "rows.npz"
    call = ("embed", study, "--out", out, "--epochs")
    assert run(*call) == 1
    (study / "sim-0001-n1-Hypnogram.edf").unlink()
    assert run(*call) == 1
    assert (EmbeddingTable.load(out).X.stages[:60] == -1).all()


def test_lights_of_statistics(written, tmp_path):
    call = ("stage", written / "sim-0001-n1.edf", "--out", tmp_path)
    assert run(*call, "--lights", "60,1260") == 0
    assert pd.read_csv(tmp_path / "statistics.csv")["tib_min"].tolist() == [20.0]
    assert run(*call, "--lights", "recording") == 0
    assert pd.read_csv(tmp_path / "statistics.csv")["tib_min"].tolist() == [30.0]


def test_ids_that_look_missing(written, tmp_path):
    path = shutil.copy(written / "sim-0001-n1.edf", tmp_path / "NA.edf")
    out = tmp_path / "out"
    assert run("stage", path, "--out", out) == run("stage", path, "--out", out) == 0
    assert pd.read_csv(out / "statistics.csv", keep_default_na=False)["recording"].tolist() == [
        "NA"
    ]


@pytest.mark.parametrize("suffix", ["csv", "dta", "parquet"])
def test_embed_has_the_covariates(written, tmp_path, suffix, capsys):
    (tmp_path / "people.csv").write_text("recording,age,smoking\nsim-0001-n1,50,never\n")
    out = tmp_path / f"rows.{suffix}"
    assert run("embed", written, "--out", out, "--metadata", tmp_path / "people.csv") == 0
    assert "1 of 3 nights have a row" in capsys.readouterr().err
    read = {"csv": pd.read_csv, "dta": pd.read_stata, "parquet": pd.read_parquet}[suffix]
    table = read(out)
    expected = Sleep2VecTransformer().fit_transform(list(read_cohort(written)))
    features = table[[name for name in table.columns if name.startswith("sleep2vec_0")]].to_numpy()
    np.testing.assert_allclose(features, expected[:, : features.shape[1]], rtol=1e-5, atol=1e-6)
    assert table["age"].iloc[0] == 50
    assert table["smoking"].iloc[0] == "never"
    assert not list(tmp_path.glob("*.parts"))


def test_embed_lists_failures(study, tmp_path):
    out = tmp_path / "rows.npz"
    assert run("embed", study, "--out", out, "--epochs") == 1
    table = EmbeddingTable.load(out)
    assert (table.X.unit, len(table)) == ("epoch", 180)
    assert len(pd.read_csv(tmp_path / "rows.npz.failures.csv")) == 1


def test_jobs_give_the_same_rows(written, tmp_path):
    assert run("embed", written, "--out", tmp_path / "one.npz") == 0
    assert run("embed", written, "--out", tmp_path / "two.npz", "--jobs", "2") == 0
    one, two = (EmbeddingTable.load(tmp_path / f"{name}.npz") for name in ("one", "two"))
    np.testing.assert_array_equal(one.values, two.values)


def test_an_interrupted_run_goes_on(written, tmp_path, capsys):
    study = tmp_path / "study"
    study.mkdir()
    for copy in range(40):
        for path in written.glob("sim-0001-n1*"):
            shutil.copy(path, study / path.name.replace("0001", f"{copy:04d}"))
    out = tmp_path / "out"
    call = ("stage", study, "--out", out, "--format", "csv")
    process = start(*call)
    while not list((out / ".nights").glob("*.json")):
        assert process.poll() is None
        time.sleep(0.05)
    # as batch systems do, and as Ctrl-C, which a test runner in the background may ignore
    process.terminate()
    _, told = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "interrupted" in told
    n_done = len(pd.read_csv(out / "statistics.csv"))
    assert 0 < n_done < 40
    assert run(*call) == 0
    assert f"{n_done} of 40 nights were staged before" in capsys.readouterr().err
    assert len(pd.read_csv(out / "statistics.csv")) == 40


def test_folders_without_permission(written, tmp_path, capsys):
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    tmp_path.chmod(0o500)
    assert run("stage", written, "--out", tmp_path / "out") == 1
    assert str(tmp_path / "out") in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a/b", "..", "a:b", "c%2Fd", "é ü"])
def test_ids_cannot_leave_the_folder(name, tmp_path):
    from sleep2vec_sklearn import Recording
    from sleep2vec_sklearn._night_work import NightStaging

    work = NightStaging(tmp_path, ("csv",), "bundled", None, "")
    (path,) = work._files_of(Recording({"spo2": np.full(480, 95.0)}, id=name))
    assert path.resolve().parent == tmp_path.resolve()


def test_report_of_a_cohort(study, tmp_path, capsys):
    out = tmp_path / "cohort.html"
    assert run("report", study, "--out", out) == 1
    assert "broken.edf" in out.read_text(encoding="utf-8")
    told = capsys.readouterr().err
    assert "cohort.html (" in told
    assert "1 of 4 nights failed" in told


def test_report_of_a_night(written, tmp_path):
    (tmp_path / "people.csv").write_text("recording,age\nsim-0001-n1,93\n")
    call = ("report", written / "sim-0001-n1.edf", "--out", tmp_path / "night.html")
    assert run(*call, "--metadata", tmp_path / "people.csv") == 0
    assert "93 years" in (tmp_path / "night.html").read_text(encoding="utf-8")
    assert run(*call, "--by", "sex") == 1


def test_pretrain_writes_an_encoder(study, tmp_path):
    out = tmp_path / "mine.safetensors"
    small = ("--max-epochs", 1, "--steps-per-epoch", 2, "--batch-size", 2)
    assert run("pretrain", study, "--out", out, *small) == 1
    (study / "broken.edf").unlink()
    assert len(Sleep2VecTransformer(out).fit_transform(read_cohort(study))) == 3


def test_doctor_examines_the_installation(capsys):
    assert run("doctor") == 0
    told = capsys.readouterr().out
    for part in ("sleep2vec-sklearn", "extras", "device", "cache", "as released", "is staged"):
        assert part in told


def test_doctor_reports_what_is_wrong(capsys, monkeypatch):
    monkeypatch.setattr("sleep2vec_sklearn._doctor._examine_encoders", lambda: 1 / 0)
    assert run("doctor") == 1
    assert "FAILED: ZeroDivisionError" in capsys.readouterr().out
