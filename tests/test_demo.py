# SPDX-License-Identifier: BSD-3-Clause
"""The demo, on fewer and shorter nights than in ``make demo``."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pandas as pd
import pytest

DEMO = Path(__file__).parents[1] / "examples" / "demo.py"


def run_demo(output, *arguments):
    spec = importlib.util.spec_from_file_location("demo", DEMO)
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    small = ["--subjects", "12", "--hours", "1", "--output", str(output)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["demo.py", *small, *arguments])
        demo.main()


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """The folder that a run of the demo has filled."""
    output = tmp_path_factory.mktemp("demo")
    run_demo(output)
    return output


@pytest.mark.slow
def test_demo_scores_cohort(output):
    scores = pd.read_csv(output / "scores.csv")
    assert scores["one row per"].tolist() == ["epoch", "night"]
    assert scores["mean over 5 folds"][0] > 0.1
    assert (output / "hypnogram.png").stat().st_size > 10_000


@pytest.mark.slow
def test_demo_stages_night(output):
    edf = next((output / "simulated_12x1h").glob("*1-n1.edf"))
    run_demo(output, "--edf", str(edf))
    heads = pd.read_csv(output / f"{edf.stem}-scores.csv")["head"]
    assert heads.str.contains("within this night").sum() == 1
    assert len(pd.read_csv(output / f"{edf.stem}-stages.csv")) == 120
