# SPDX-License-Identifier: BSD-3-Clause
"""Training of skorch's nets: a progress bar over the steps or epochs, and an early end."""

from __future__ import annotations

from typing import Any

from skorch import NeuralNet
from skorch.callbacks import Callback
from tqdm.auto import tqdm


class StopTraining(KeyboardInterrupt):
    """A callback has ended training, as skorch's do by a KeyboardInterrupt; Ctrl-C is no such."""


class ProgressBar(Callback):
    """One bar from the beginning of training to its end, forgotten then: it cannot be pickled.

    Not :class:`skorch.callbacks.ProgressBar`, which draws a bar for every epoch.
    """

    def open_bar(self, **options: Any) -> None:
        self.bar_ = tqdm(**options)

    def on_train_end(self, net: NeuralNet, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        self.close()

    def close(self) -> None:
        if hasattr(self, "bar_"):
            self.bar_.close()
            del self.bar_
