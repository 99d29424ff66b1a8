# SPDX-License-Identifier: BSD-3-Clause
"""The script that compares steps of two checkouts, against this one."""

import sys
from pathlib import Path

import pytest

from benchmarks.speed import steps

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_a_checkout_equals_itself(monkeypatch, capsys):
    options = ["--steps", "10", "--runs", "1", "--nights", "3", "--hours", "0.5", "--threads", "1"]
    options += ["--batches", "4", "20", "--precision", "float32"]
    monkeypatch.setattr(steps, "best_rate", lambda n_threads: 100.0)
    monkeypatch.setattr(sys, "argv", ["steps", "--against", str(ROOT), *options])
    steps.main()
    lines = capsys.readouterr().out.splitlines()
    ours, theirs = (
        line.split(": ")[1] for line in lines if "losses: " in line and "first" not in line
    )
    assert ours == theirs
    assert len(ours.split()) == steps.TENTHS
    # some 880,000 weights, 160 epochs: two operations forward and four backward for each
    assert [line.split()[2] for line in lines if "products: " in line] == ["0.8", "0.8"]
    assert lines[-1] == "largest difference of the first losses: 0"
