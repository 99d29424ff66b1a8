# SPDX-License-Identifier: BSD-3-Clause
"""First example of the README and of the front page, and the citation."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from sleep2vec_sklearn import __version__, make_sleep_cohort
from sleep2vec_sklearn.datasets import write_edf_cohort

ROOT = Path(__file__).parents[1]
PAGES = [(ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "docs/index.md")]


def test_first_example_runs(tmp_path):
    cohort = make_sleep_cohort(
        6, hours=1, site_kinds=["laboratory"], modalities=["eeg", "spo2"], random_state=0
    )
    write_edf_cohort(cohort, tmp_path)
    example, same = (re.search(r"```python\n(.*?)```", page, re.DOTALL)[1] for page in PAGES)
    assert same == example
    *setup, last = example.replace("my_study/", tmp_path.as_posix()).strip().splitlines()
    names = {}
    exec("\n".join(setup), names)
    scores = eval(last, names)
    assert scores.shape == (5,)
    assert np.isfinite(scores).all()


def test_citation_states_version():
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
