# SPDX-License-Identifier: BSD-3-Clause
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest


class Nursery:
    """Starts training runs in processes of their own, and kills them."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.pretraining.interrupted"],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout.readline() == "ready\n"

    def run(self, kill_after=None, **arguments):
        """Exit status of a run; negative for a signal."""
        print(json.dumps(arguments), file=self.process.stdin, flush=True)
        pid = int(self.process.stdout.readline())
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(pid, signal.SIGKILL)
        print(file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)


@pytest.fixture(scope="module")
def nursery():
    nursery = Nursery()
    yield nursery
    nursery.close()


def read(path):
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("n_kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_runs_end_alike(nursery, tmp_path, n_kills):
    assert nursery.run(out=str(tmp_path / "whole.npz")) == 0
    whole = read(tmp_path / "whole.npz")
    random = np.random.default_rng(0)
    kills = within_save = runs = 0
    while kills < n_kills or runs == 0:
        folder, out = tmp_path / f"run{runs}", tmp_path / f"run{runs}.npz"
        status = -1
        while status != 0:
            arguments = {"out": str(out), "state_dir": str(folder)}
            if kills >= n_kills:
                status = nursery.run(**arguments)
            elif kills % 3 == 0:
                status = nursery.run(**arguments, within_save=int(random.integers(1, 6)))
                left = list(folder.glob(".state.pt.*"))
                within_save += len(left) == 1
            else:
                status = nursery.run(**arguments, kill_after=random.uniform(0.02, 0.5))
            assert status in (0, -signal.SIGKILL)
            kills += status != 0
        assert sorted(os.listdir(folder)) == ["run.lock", "state.pt"]
        ended = read(out)
        assert ended.keys() == whole.keys()
        for name, value in whole.items():
            np.testing.assert_array_equal(ended[name], value, err_msg=name)
        runs += 1
    assert within_save >= n_kills // 4 + 1
