# SPDX-License-Identifier: BSD-3-Clause
"""The page on evaluation: its code runs."""

import re
from pathlib import Path

import matplotlib as mpl
import pytest

mpl.use("Agg")
DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "evaluation.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def test_the_blocks_of_the_page_run_in_order(capsys):
    names = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, names)
    assert len(names["staged"].stages) == 120
    assert "StagingReport(720 epochs of 6 nights of 6 subjects" in capsys.readouterr().out


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#:]*)(?:#[^)]*)?\)", PAGE))
def test_links_lead_somewhere(link):
    assert (DOCS / link).exists()
