# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pandas as pd
import pytest

from benchmarks.evaluation.scores import as_markdown, bootstrap_interval


def test_interval_width_matches_normal():
    values = np.random.default_rng(0).standard_normal(100)
    low, high = bootstrap_interval(values, 4000)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 10, rel=0.1)
    assert bootstrap_interval(values, 4000) == (low, high)
    assert bootstrap_interval(np.full(5, 0.3), 10) == pytest.approx((0.3, 0.3))
    assert np.isnan(bootstrap_interval(values[:0])).all()


def test_tables_are_shown():
    table = pd.DataFrame({"kappa": [0.12345], "n": [3]}, index=pd.Index(["x"], name="who"))
    assert as_markdown(table).splitlines() == [
        "| who | kappa | n |",
        "| --- | --- | --- |",
        "| x | 0.123 | 3 |",
    ]
