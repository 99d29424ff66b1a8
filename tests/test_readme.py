# SPDX-License-Identifier: BSD-3-Clause
"""The README's first example, run as it stands on a small folder of EDF files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from sleep2vec_sklearn import make_sleep_cohort
from sleep2vec_sklearn.datasets import write_edf_cohort

README = Path(__file__).parents[1] / "README.md"


def test_first_example_runs(tmp_path):
    cohort = make_sleep_cohort(
        6, hours=1, site_kinds=["laboratory"], modalities=["eeg", "spo2"], random_state=0
    )
    write_edf_cohort(cohort, tmp_path)
    example = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)[1]
    *setup, last = example.replace("my_study/", tmp_path.as_posix()).strip().splitlines()
    names = {}
    exec("\n".join(setup), names)
    scores = eval(last, names)
    assert scores.shape == (5,)
    assert np.isfinite(scores).all()
