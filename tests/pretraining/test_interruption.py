# SPDX-License-Identifier: BSD-3-Clause
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(scope="module")
def run():
    """Function of the arguments of a run, in a process of its own: exit status, CPU seconds."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.pretraining.interrupted"],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"

    def run(**arguments):
        print(json.dumps(arguments), file=process.stdin, flush=True)
        return json.loads(process.stdout.readline())

    yield run
    process.stdin.close()
    process.wait(30)


def read(path):
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory):
    """What a run gives that nobody kills, and its CPU seconds."""
    out = tmp_path_factory.mktemp("whole") / "whole.npz"
    status, seconds = run(out=str(out))
    assert status == 0
    return read(out), seconds


@pytest.mark.parametrize("number", range(1, 5))
def test_killed_runs_end_alike(run, whole, tmp_path, number):
    """Killed within the save of this number, and at a random moment before or after that."""
    expected, seconds = whole
    random = np.random.default_rng(number)
    folder, out = tmp_path / "run", tmp_path / "run.npz"
    arguments = {"out": str(out), "state_dir": str(folder)}
    early = random.uniform(0.01, 0.3) * seconds
    for kill in random.permutation([{"cpu_seconds": early}, {"within_save": number}]):
        assert run(**arguments, **kill)[0] < 0
        assert "cpu_seconds" in kill or len(list(folder.glob(".state.pt.*"))) == 1
    assert run(**arguments)[0] == 0
    assert sorted(os.listdir(folder)) == ["run.lock", "state.pt"]
    ended = read(out)
    assert ended.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(ended[name], value, err_msg=name)
