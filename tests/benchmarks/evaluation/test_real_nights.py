# SPDX-License-Identifier: BSD-3-Clause
"""The whole protocol, on nights that are written in the layouts of the public data sets."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.evaluation import probes
from benchmarks.evaluation.real_nights import _option, _parse, main

N_EPOCHS = 40


@pytest.fixture
def data(tmp_path):
    """Six nights of a watch in the layout of sleep-accel."""
    folder = tmp_path / "sleep-accel"
    for name in ("labels", "heart_rate", "activity_counts"):
        (folder / name).mkdir(parents=True)
    for k in range(6):
        stages = np.random.default_rng(k).permutation(np.repeat([0, 2, 3, 5], 10))
        text = "".join(f"{30 * i} {code}\n" for i, code in enumerate(stages))
        (folder / "labels" / f"{k}_labeled_sleep.txt").write_text(text)
        rows = "".join(f"{t},{60 + (t // 30 * (k + 1)) % 11}\n" for t in range(0, 1200, 5))
        (folder / "heart_rate" / f"{k}_heartrate.txt").write_text(rows)
        rows = "".join(f"{30 * i},{30 * (code == 0) + i % 3}\n" for i, code in enumerate(stages))
        (folder / "activity_counts" / f"{k}_counts_30s.csv").write_text("seconds,count\n" + rows)
    return tmp_path


@pytest.fixture
def run(data, checkpoint_path, monkeypatch):
    """Function of options: runs the protocol with a small encoder and gives its folder."""
    monkeypatch.setattr(probes, "BOOSTING", {**probes.BOOSTING, "max_iter": 5, "max_bins": 8})

    def run(*arguments):
        out = data / "out"
        given = ["--data", str(data), "--out", str(out), "--checkpoint", str(checkpoint_path)]
        main([*given, "--jobs", "1", "--random-seeds", "1", "--folds", "2", *arguments])
        return out

    return run


def test_full_run_has_every_set(run, capsys):
    out = run("--tasks", "sleep-accel") / "sleep-accel"
    scores = pd.read_csv(out / "scores.csv")
    assert set(scores["features"]) == {
        "hand-crafted, short context", "hand-crafted, long context",
        "hand-crafted, long context, boosting",
        "small", "small, random weights", "small, tokenizers only", "small, without the time",
    }  # fmt: skip
    assert set(scores["question"]) == {"W/NREM/REM", "W/N1+N2/N3/REM"}
    differences = pd.read_csv(out / "differences_small.csv")
    assert (differences["subjects"] == 6).all()
    assert "small minus" in capsys.readouterr().out
    assert len(pd.read_csv(out / "subjects.csv")) == 2 * 7 * 6


def test_quick_run_has_two_sets(run):
    out = run("--tasks", "sleep-accel", "--quick", "--encoder-options", "fusion=mean", "layer=1")
    scores = pd.read_csv(out / "sleep-accel" / "scores.csv")
    assert set(scores["features"]) == {"hand-crafted, long context", "small"}
    assert set(scores["question"]) == {"W/NREM/REM"}


def test_encoder_options_are_parsed():
    assert _option("layer=3") == ("layer", 3)
    assert _option("fusion=mean") == ("fusion", "mean")
    assert _parse(["--data", "x", "--quick"]).folds == 10
    assert _parse(["--data", "x"]).folds is None
    with pytest.raises(SystemExit):
        _parse(["--data", "x", "--encoder-options", "layer"])
