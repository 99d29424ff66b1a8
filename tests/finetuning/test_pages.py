# SPDX-License-Identifier: BSD-3-Clause
"""The code on the pages about fine-tuning runs."""

import re
from pathlib import Path

import matplotlib as mpl
import pytest

DOCS = Path(__file__).parents[2] / "docs"


def run(page):
    names = {}
    for block in re.findall(r"```python\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL):
        exec(block, names)
    return names


def test_page_on_fine_tuning():
    names = run("fine_tuning.md")
    assert names["search"].best_params_["head"] in ("linear", "mlp")
    assert names["path"].exists()


@pytest.mark.slow
def test_page_on_events():
    mpl.use("Agg")
    names = run("events.md")
    assert names["detector"].predict(names["nights"]).shape == (3,)
    assert names["found"]
