# SPDX-License-Identifier: BSD-3-Clause
import re
import warnings
from pathlib import Path

import matplotlib as mpl

PAGE = Path(__file__).parents[2] / "docs" / "survival.md"


def test_the_code_of_the_page_runs():
    mpl.use("Agg")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    with warnings.catch_warnings():
        # twelve simulated people may leave a score undefined
        warnings.simplefilter("ignore", UserWarning)
        for block in blocks:
            exec(compile(block, PAGE.name, "exec"), names)
    assert names["model"].score(names["nights"], names["y"]) > 0.5
    assert set(names["search"].cv_results_) >= {"mean_test_uno", "mean_test_brier"}
    assert list(names["display"].curves_) == ["low risk", "high risk"]
