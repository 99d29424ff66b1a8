# SPDX-License-Identifier: BSD-3-Clause
"""Doctests of all public names."""

from __future__ import annotations

import doctest

import pytest

from sleep2vec_sklearn import config_context

NEEDS_UPSTREAM = (
    "UpstreamCheckpoint", "convert_checkpoint", "read_upstream_checkpoint", "state_from_upstream",
)  # fmt: skip
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.fixture
def isolated(monkeypatch, tmp_path):
    """An empty folder, a backend without windows, and the settings restored."""
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    monkeypatch.chdir(tmp_path)
    with config_context():
        yield
    plt.close("all")


def test_example_runs(public_name, pages, isolated):
    if public_name.group == "errors":
        pytest.skip("explained in docs/errors.md")
    if public_name.name in NEEDS_UPSTREAM:
        pytest.skip("needs a checkpoint of the authors")
    example = doctest.DocTestParser().get_doctest(
        pages.documentation(public_name), {}, public_name.path, None, 0
    )
    assert any(line.want for line in example.examples), "no example with an output"
    report = []
    result = doctest.DocTestRunner(optionflags=FLAGS).run(example, out=report.append)
    assert result.failed == 0, "".join(report)
