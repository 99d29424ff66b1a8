# SPDX-License-Identifier: BSD-3-Clause
"""Sources that worker processes unpickle: each of them imports this file, so it imports little."""

import os
import signal
import warnings
from pathlib import Path

import numpy as np

from sleep2vec_sklearn import get_config
from sleep2vec_sklearn.errors import RecordingWarning
from sleep2vec_sklearn.recordings import Signal

RATE = 1.0
N_EPOCHS = 6


class Night:
    """A source that notes where it is read, and may kill its worker first."""

    def __init__(self, seed, folder=None, deadly=False):
        self.seed, self.folder, self.deadly = seed, folder, deadly
        self.caller = os.getpid()
        self.layout = {"spo2": self._signal().layout}

    def _signal(self):
        noise = np.random.default_rng(self.seed).standard_normal(int(N_EPOCHS * 30 * RATE))
        return Signal((95 + noise).astype(np.float32), RATE, "%")

    def read(self, names):
        if self.folder is not None:
            with open(Path(self.folder) / f"read-{self.seed}", "a") as file:
                file.write(f"{os.getpid()}\n")
            killed = Path(self.folder) / f"killed-{self.seed}"
            if self.deadly and os.getpid() != self.caller and not killed.exists():
                killed.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return {"spo2": self._signal()}

    def fingerprint(self):
        return f"night {self.seed}"


class NightThatEnds(Night):
    """Ends another process the first time it is read."""

    def __init__(self, seed, folder, victim):
        super().__init__(seed, folder)
        self.victim = victim

    def read(self, names):
        ended = Path(self.folder) / f"ended-{self.victim}"
        if not ended.exists():
            ended.touch()
            os.kill(self.victim, signal.SIGKILL)
        return super().read(names)


class NightThatNotesSettings(Night):
    def read(self, names):
        (Path(self.folder) / f"bytes-{self.seed}").write_text(str(get_config()["cache_bytes"]))
        return super().read(names)


class NightThatWarns(Night):
    def read(self, names):
        warnings.warn("the belt slipped", RecordingWarning, stacklevel=1)
        return super().read(names)


def note_nesting(X, folder):
    from sleep2vec_sklearn.encoding._parallel import count_workers

    with open(Path(folder) / "nesting", "a") as file:
        file.write(f"{count_workers()}\n")
    return X
