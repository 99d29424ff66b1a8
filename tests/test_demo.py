# SPDX-License-Identifier: BSD-3-Clause
"""The demo, on fewer and shorter nights than in ``make demo``."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pandas as pd
import pytest

DEMO = Path(__file__).parents[1] / "examples" / "demo.py"


def run_demo(monkeypatch, output, *arguments):
    spec = importlib.util.spec_from_file_location("demo", DEMO)
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    small = ["--subjects", "12", "--hours", "1", "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["demo.py", *small, *arguments])
    demo.main()


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    return tmp_path_factory.mktemp("demo")


@pytest.mark.slow
def test_demo_scores_cohort(monkeypatch, output):
    run_demo(monkeypatch, output)
    scores = pd.read_csv(output / "scores.csv")
    assert scores["one row per"].tolist() == ["epoch", "night"]
    assert scores["mean over 5 folds"][0] > 0.1
    assert (output / "hypnogram.png").stat().st_size > 10_000


@pytest.mark.slow
def test_demo_stages_night(monkeypatch, output):
    run_demo(monkeypatch, output)
    edf = next((output / "simulated_12x1h").glob("*1-n1.edf"))
    run_demo(monkeypatch, output, "--edf", str(edf))
    heads = pd.read_csv(output / f"{edf.stem}-scores.csv")["head"]
    assert heads.str.contains("within this night").sum() == 1
    assert len(pd.read_csv(output / f"{edf.stem}-stages.csv")) == 120
