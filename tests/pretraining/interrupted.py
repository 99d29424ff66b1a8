# SPDX-License-Identifier: BSD-3-Clause
"""A process that forks one training run per line it reads; runs are killed, it is not.

A fork has everything imported, so that all runs take the time of one start of Python.
"""

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch

# an optimizer's first step would import it, for seconds, in each fork
import torch._dynamo

from sleep2vec_sklearn._files import write_atomic
from sleep2vec_sklearn.pretraining import NightStore, _state, contents_of
from tests.pretraining.nights import make_night, tiny_pretrainer

PARAMETERS = {
    "max_epochs": 2, "steps_per_epoch": 6, "accumulate": 2, "dropout": 0.1, "noise": 0.1,
    "modality_dropout": 0.3, "reconstruction_weight": 0.5, "max_shift": 2, "patience": 5,
    "save_every": 1,
}  # fmt: skip
UNEQUAL = ("dur", "data_wait", "step_time", "data_wait_share")


def die_within_save(number):
    """Have one save write half of a state and be killed there."""
    count = 0

    def write(path, data):
        nonlocal count
        count += 1
        if count == number:
            path.with_name(f".{path.name}.half").write_bytes(data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        write_atomic(path, data)

    _state.write_atomic = write


def train(store, out, state_dir=None, within_save=None, cpu_seconds=0.0):
    if within_save is not None:
        die_within_save(within_save)
    # its signal ends a process as SIGKILL does, no more Python is run; no other load moves it
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
    fitted = tiny_pretrainer(**PARAMETERS, state_dir=state_dir).fit(store)
    weights = {k: v.numpy() for k, v in fitted.net_.averaged().state_dict().items()}
    steps = [
        {k: v for k, v in row.items() if k not in UNEQUAL}
        for epoch in fitted.history_
        for row in (*epoch["batches"], {k: v for k, v in epoch.items() if k != "batches"})
    ]
    with Path(out).open("wb") as file:
        np.savez(file, history=np.array(json.dumps(steps, sort_keys=True)), **weights)


def main():
    torch.set_num_threads(1)
    nights = [make_night(number) for number in range(8)]
    names = ["effort", "spo2", "ibi"]
    store = NightStore.from_recordings(nights, contents_of(modalities=names))
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                train(store, **json.loads(line))
                code = 0
            finally:
                os._exit(code)
        _, status, usage = os.wait4(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        print(json.dumps([code, usage.ru_utime + usage.ru_stime]), flush=True)


if __name__ == "__main__":
    main()
