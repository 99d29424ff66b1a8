# SPDX-License-Identifier: BSD-3-Clause
"""The page of the guide on reports, and what all reports share."""

import re
import warnings
from pathlib import Path

import pytest

import sleep2vec_sklearn
from sleep2vec_sklearn import Recording
from sleep2vec_sklearn.reports import night_report
from tests.reports.pages import check_page

ROOT = Path(sleep2vec_sklearn.__file__).parents[1]


def test_code_of_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    page = (ROOT / "docs" / "reports.md").read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, names)
        check_page(names["html"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cohort.html", "model.html", "night.html"]


def test_styles_come_along():
    html = night_report(Recording({"spo2": ([96.0, 95.0] * 600, 1)}), stager=None)
    style = html.partition("<style>")[2].partition("</style>")[0]
    assert "@media print" in style
    assert "overflow-x: auto" in style
    assert style.count("{") == style.count("}")


def test_other_warnings_pass(monkeypatch):
    def warn(*_, **__):
        warnings.warn("of another library", DeprecationWarning, stacklevel=1)
        raise ValueError("no statistics")

    monkeypatch.setattr("sleep2vec_sklearn.reports.night.sleep_statistics", warn)
    night = Recording({"spo2": ([96.0, 95.0] * 600, 1)}, stages=[2] * 40)
    with pytest.warns(DeprecationWarning, match="of another library"):
        html = night_report(night, stager=None)
    assert "Not available: ValueError: no statistics" in html
