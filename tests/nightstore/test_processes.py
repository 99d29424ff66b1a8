# SPDX-License-Identifier: BSD-3-Clause
"""Preparation in processes that are killed, and in several that write to one folder."""

import json
import os
import subprocess
import sys

import pytest

PREPARE = """
import json, os, random, signal, sys, threading, time, traceback
import numpy as np
from tqdm.auto import tqdm
from sleep2vec_sklearn import Recording
from sleep2vec_sklearn.pretraining import NightStore, prepare_cohort
from sleep2vec_sklearn.nightstore._files import StoreFolder
from pathlib import Path

# tqdm's own lock is one with all processes that are forked: one of them that is killed while it
# holds it never gives it back
tqdm.monitor_interval = 0
tqdm.set_lock(threading.RLock())

def night(k):
    rng = np.random.default_rng(k)
    signals = {"ibi": (0.9 + 0.05 * rng.standard_normal(1440), 4),
               "spo2": (95 + rng.uniform(-3, 3, 1440), 4)}
    return Recording(signals, id=f"n{k}")

def prepare(folder, numbers=None):
    nights = [night(k) for k in (range(N) if numbers is None else numbers)]
    return prepare_cohort(nights, folder, modalities=["ibi", "spo2"], verbose=0)

def fork(work):
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return child

def was_killed(child):
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)

def check_whole(folder):
    if (folder / "store.json").exists():
        folder_of_nights = StoreFolder.open(folder)
        for path in folder.glob("nights/??/*"):
            assert folder_of_nights.read_night(path.stem).n_epochs == 12
        if list(folder.glob("manifest-*")):
            assert len(NightStore.open(folder)) == N

def check_finished(folder):
    store = prepare(folder)
    for k in range(N):
        for name in ("ibi", "spo2"):
            np.testing.assert_array_equal(store.window(k, name, 0, 12), WHOLE[k, name])

folder_of_all, results = Path(sys.argv[1]), {}
N = 6
whole = prepare(folder_of_all / "whole")
WHOLE = {(k, name): whole.window(k, name, 0, 12) for k in range(N) for name in ("ibi", "spo2")}
"""

KILL_AT_EVERY_STEP = """
root, N = folder_of_all / "KILL_AT_EVERY_STEP", 2
STEPS = {"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.listdir"}

def die_at(folder, step):
    seen = 0
    def hook(event, args):
        nonlocal seen
        if event in STEPS and str(folder) in str(args):
            seen += 1
            if seen > step:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    prepare(folder)

step = 0
while True:
    folder = root / str(step)
    killed = was_killed(fork(lambda: die_at(folder, step)))
    check_whole(folder)
    check_finished(folder)
    if not killed:
        break
    step += 1
results["steps"] = step
"""

KILL_AT_RANDOM = """
root, N = folder_of_all / "KILL_AT_RANDOM", 6
rng = random.Random(0)
started = time.perf_counter()
prepare(root / "timed")
seconds = time.perf_counter() - started
folder, killed = root / "0", 0
for number in range(500):
    child = fork(lambda: prepare(folder))
    time.sleep(rng.uniform(0, seconds))
    os.kill(child, signal.SIGKILL)
    if not was_killed(child):
        check_finished(folder)
        folder = root / str(number)
        continue
    check_whole(folder)
    killed += 1
    if killed == 10:
        break
check_finished(folder)
results["killed"] = killed
"""

SEVERAL_AT_ONCE = """
root, N = folder_of_all / "SEVERAL_AT_ONCE", 6
for number in range(3):
    folder = root / f"crowded-{number}"
    parts = (range(4), range(2, N), range(N))
    children = [fork(lambda: prepare(folder, part)) for part in parts]
    assert not any([was_killed(child) for child in children])
    store = NightStore.open(folder)
    assert sorted(store.table.index) == [f"n{k}" for k in range(N)]
    for k, name in enumerate(store.table.index):
        np.testing.assert_array_equal(store.window(k, "ibi", 0, 12), WHOLE[int(name[1:]), "ibi"])
    assert list((folder / "unfinished").iterdir()) == []
results["crowds"] = number + 1
print(json.dumps(results))
"""


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What the three scripts counted, in one process of their own, which imports once for all."""
    scripts = PREPARE + KILL_AT_EVERY_STEP + KILL_AT_RANDOM + SEVERAL_AT_ONCE
    command = [sys.executable, "-c", scripts, str(tmp_path_factory.mktemp("killed"))]
    # a process that is forked must not have threads, of OpenMP or of a progress bar
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_fork
def test_kill_before_each_step(results):
    # one night: look for it, make its folder, write it, move it
    assert results["steps"] > 2 * 4


@needs_fork
def test_kill_at_random_moments(results):
    assert results["killed"] == 10


@needs_fork
def test_several_writers_lose_nothing(results):
    assert results["crowds"] == 3
