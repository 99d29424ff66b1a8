# SPDX-License-Identifier: BSD-3-Clause
"""A progress bar over the steps of a run, with the time that is left."""

from __future__ import annotations

from skorch.callbacks import Callback

__all__ = ["ProgressBar", "StepProgress"]


class ProgressBar(Callback):
    """A callback with a bar, forgotten when it closes, as it cannot be pickled with the net."""

    def on_train_end(self, net, X=None, y=None, **kwargs):
        """Close the bar."""
        self.close()

    def close(self) -> None:
        """Close the bar if there is one."""
        if hasattr(self, "bar_"):
            self.bar_.close()
            del self.bar_


class StepProgress(ProgressBar):
    """One bar for the whole run, whatever its epochs are.

    Parameters
    ----------
    total : int
        Steps of the run.
    """

    def __init__(self, total: int):
        self.total = total

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Open the bar where the run is at."""
        from tqdm.auto import tqdm

        done = net.step_ - net.first_step_
        self.bar_ = tqdm(total=self.total, initial=done, desc="pretraining", unit="step")

    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        """Count a step and show its loss."""
        row = net.history[-1]["batches"][-1]
        shown = {"epoch": len(net.history), "loss": f"{row['train_loss']:.3f}"}
        if "valid_recall" in (net.history[-2] if len(net.history) > 1 else {}):
            shown["recall"] = f"{net.history[-2]['valid_recall']:.3f}"
        self.bar_.set_postfix(shown, refresh=False)
        self.bar_.update()
