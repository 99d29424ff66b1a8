# SPDX-License-Identifier: BSD-3-Clause
"""The page on scikit-learn: its code runs, and its sentence is the one that is raised."""

import re
from pathlib import Path

import numpy as np
from sklearn.base import clone

PAGE = (Path(__file__).parents[2] / "docs" / "scikit_learn.md").read_text(encoding="utf-8")


def test_page_runs_in_order():
    names = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, names)
    assert isinstance(names["rows"], np.ndarray)
    assert clone(names["columns"]).fit_transform(names["table"]).shape[1] == 603
