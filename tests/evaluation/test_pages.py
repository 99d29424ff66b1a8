# SPDX-License-Identifier: BSD-3-Clause
"""The code of the pages on evaluation and survival runs."""

import re
import warnings
from pathlib import Path

import matplotlib as mpl
import pytest

mpl.use("Agg")
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(autouse=True)
def close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def run_blocks(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    names = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, names)
    return names


def test_evaluation_page_runs(capsys):
    names = run_blocks("evaluation.md")
    assert len(names["staged"].stages) == 120
    assert "StagingReport(720 epochs of 6 nights of 6 subjects" in capsys.readouterr().out


def test_survival_page_runs():
    with warnings.catch_warnings():
        # twelve simulated subjects may leave a score undefined
        warnings.simplefilter("ignore", UserWarning)
        names = run_blocks("survival.md")
    assert names["model"].score(names["nights"], names["y"]) > 0.5
    assert set(names["search"].cv_results_) >= {"mean_test_uno", "mean_test_brier"}
    assert list(names["display"].curves_) == ["low risk", "high risk"]
