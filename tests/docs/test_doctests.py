# SPDX-License-Identifier: BSD-3-Clause
"""Every public name has an example that runs as it stands and shows an output."""

from __future__ import annotations

import doctest

import pytest

from sleep2vec_sklearn import config_context

FOREIGN = (
    "UpstreamCheckpoint", "convert_checkpoint", "read_upstream_checkpoint", "state_from_upstream",
)  # fmt: skip
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """An empty folder, no window for figures, and the settings put back."""
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    monkeypatch.chdir(tmp_path)
    with config_context():
        yield
    plt.close("all")


def test_the_example_of(public_name, pages, elsewhere):
    if public_name.group == "errors":
        pytest.skip("docs/errors.md has the real texts")
    if public_name.name in FOREIGN:
        pytest.skip("needs a checkpoint of the authors")
    example = doctest.DocTestParser().get_doctest(
        pages.documentation(public_name), {}, public_name.path, None, 0
    )
    assert any(line.want for line in example.examples), "no example with an output"
    said = []
    result = doctest.DocTestRunner(optionflags=FLAGS).run(example, out=said.append)
    assert result.failed == 0, "".join(said)
