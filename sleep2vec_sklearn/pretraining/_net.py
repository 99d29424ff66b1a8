# SPDX-License-Identifier: BSD-3-Clause
"""The skorch net that trains: one batch is one step of the optimizer.

A batch follows from the seed and its number alone, so how many are drawn ahead changes nothing.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import EpochTimer, PassthroughScoring
from skorch.history import History

from .._torch import step_randomness
from ..errors import TrainingError
from ._distributed import from_rank_zero, rank, sum_gradients, sum_over_ranks
from ._optimization import MovingAverage, decay_groups, put_to_rest, rate_factor, scale_of

__all__ = [
    "PretrainingNet",
    "TrainingPlan",
    "draw_ahead",
]

_BETAS = (0.9, 0.95)


class PretrainingNet(NeuralNet):
    """A skorch net over batches that follow from a seed and their number.

    Parameters
    ----------
    module : PretrainingModule
    criterion : Objective
    seed : int
        Of batches, and of dropout and noise in each step.
    accumulate : int
        Batches whose gradients make one step.
    weight_decay, warmup, lr_floor, clip, ema_decay : float
        See :class:`Sleep2VecPretrainer`.
    precision : {"float32", "bfloat16"}
    lr_scales : dict of str to float, optional
        Of parts of the network; see ``check_scales``.
    n_workers, save_every, patience
        See :class:`Sleep2VecPretrainer`.
    **kwargs
        Of :class:`skorch.NeuralNet`.

    Attributes
    ----------
    average_ : MovingAverage
        Of the network.
    step_ : int
        Steps done since the weights were made.
    """

    def __init__(
        self,
        module,
        criterion,
        *,
        seed=0,
        accumulate=1,
        weight_decay=1e-2,
        warmup=0.03,
        lr_floor=0.1,
        clip=1.0,
        ema_decay=0.996,
        precision="float32",
        lr_scales=None,
        n_workers=0,
        save_every=100,
        patience=None,
        **kwargs,
    ):
        settings = {"train_split": None, "optimizer": torch.optim.AdamW, "verbose": 0, **kwargs}
        super().__init__(module, criterion, **settings)
        self.seed = seed
        self.accumulate = accumulate
        self.weight_decay = weight_decay
        self.warmup = warmup
        self.lr_floor = lr_floor
        self.clip = clip
        self.ema_decay = ema_decay
        self.precision = precision
        self.lr_scales = lr_scales
        self.n_workers = n_workers
        self.save_every = save_every
        self.patience = patience

    @property
    def _default_callbacks(self):
        loss = PassthroughScoring(name="train_loss", lower_is_better=None, on_train=True)
        return [("epoch_timer", EpochTimer()), ("train_loss", loss)]

    def initialize(self):
        """Make the optimizer and the average; weights are the module's own."""
        super().initialize()
        self.average_ = MovingAverage(self.module_.network, self.ema_decay)
        self.best_ = None
        self.step_ = self.first_step_ = self.epoch_ = 0
        self.finished_ = False
        return self

    def initialize_optimizer(self, triggered_directly=None):
        """AdamW in which matrices alone decay, and parts have rates of their own."""
        scales = self.lr_scales or {}
        for name, parameter in self.module_.named_parameters():
            parameter.requires_grad_(scale_of(name, scales) > 0)
        groups = decay_groups(self.module_.named_parameters(), self.weight_decay, scales)
        _, options = self.get_params_for_optimizer("optimizer", [])
        fused = torch.device(self.device).type in ("cpu", "cuda")
        self.optimizer_ = self.optimizer(groups, **{"betas": _BETAS, "fused": fused, **options})
        return self

    def begin(self) -> None:
        """Start a schedule where the last one ended, or was broken off."""
        if self._within_epoch():
            self.history.record("train_batch_count", len(self.history[-1]["batches"]))
        self.first_step_, self.epoch_, self.finished_, self.best_ = self.step_, 0, False, None

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        """Train to the end of the plan ``X``, or for as many epochs as are asked for."""
        plan = X
        last = plan.n_epochs
        if epochs is not None:
            last, self.finished_ = self.epoch_ + epochs, False
        while self.epoch_ < last and not self.finished_:
            self._train_epoch(plan)
            self._end_epoch(plan)
        return self

    def on_epoch_begin(self, net, **kwargs):
        """A new row of the history, unless a resumed run is within one."""
        if not self._within_epoch():
            super().on_epoch_begin(net, **kwargs)

    def _within_epoch(self) -> bool:
        return bool(self.history) and "train_batch_count" not in self.history[-1]

    def _set_training(self, training=True):
        super()._set_training(training)
        put_to_rest(self.module_.network, self.lr_scales or {})

    def _train_epoch(self, plan: TrainingPlan) -> None:
        total = plan.n_epochs * plan.steps_per_epoch
        self.notify("on_epoch_begin", dataset_train=None, dataset_valid=None)
        end = self.step_ + plan.steps_per_epoch - len(self.history[-1]["batches"])
        numbers = range(self.step_ * self.accumulate, end * self.accumulate)

        def draw(number):
            return plan.draw(number, (number // self.accumulate - self.first_step_) / total)

        self._set_training(True)
        with closing(draw_ahead(draw, numbers, self.n_workers)) as batches:
            while self.step_ < end:
                self._take_step(plan, batches, total)
                if plan.keep is not None and self.step_ < end and not self.step_ % self.save_every:
                    plan.keep(self)

    def _take_step(self, plan: TrainingPlan, batches, total: int) -> None:
        asked = time.perf_counter()
        parts = [next(batches) for _ in range(self.accumulate)]
        waited = time.perf_counter() - asked
        self.notify("on_batch_begin", batch=parts, training=True)
        factor = rate_factor(self.step_ - self.first_step_, total, self.warmup, self.lr_floor)
        for group in self.optimizer_.param_groups:
            group["lr"] = self.lr * factor * group.get("lr_scale", 1.0)
        try:
            result = self.train_step(parts, plan=plan)
        except BaseException:
            # a step that did not happen, for want of memory or because somebody pressed Ctrl-C
            self.history[-1]["batches"].pop()
            raise
        self.step_ += 1
        self._record(parts, result, waited, time.perf_counter() - asked)
        self.notify("on_batch_end", batch=parts, training=True, **result)

    def _end_epoch(self, plan: TrainingPlan) -> None:
        rows = self.history[-1]["batches"]
        self.history.record("train_batch_count", len(rows))
        for part in ("contrast", "accuracy", "own", "other"):
            if part in rows[0]:
                self.history.record(part, float(np.mean([row[part] for row in rows])))
        waited, spent = (sum(row[k] for row in rows) for k in ("data_wait", "step_time"))
        self.history.record("data_wait_share", waited / max(spent, 1e-9))
        self.epoch_ += 1
        if plan.validate is not None:
            # of one process, or rounding could have some stop early and others wait for them
            columns = from_rank_zero(lambda: plan.validate(self))
            for name, value in columns.items():
                self.history.record(name, value)
            self._watch_validation()
        self.notify("on_epoch_end", dataset_train=None, dataset_valid=None)
        if plan.keep is not None:
            plan.keep(self)

    def _watch_validation(self) -> None:
        """Keep the best average, and stop when it has not improved for ``patience`` epochs."""
        if self.patience is None:
            return
        losses = [row["valid_loss"] for row in self.history[-self.epoch_ :]]
        best = int(np.nanargmin(losses)) if not np.isnan(losses).all() else len(losses) - 1
        if best == len(losses) - 1:
            self.best_ = {
                k: v.detach().clone() for k, v in self.average_.network.state_dict().items()
            }
        elif len(losses) - 1 - best >= self.patience:
            self.finished_ = True

    def train_step(self, batch, plan=None, **fit_params):
        """One step over the batches whose gradients it sums up.

        Raises
        ------
        TrainingError
            If the loss or its gradient is not finite; the network is left as it was.
        """
        statistics = [b.detach().clone() for b in self.module_.network.projection.buffers()]
        parameters = [p for g in self.optimizer_.param_groups for p in g["params"]]
        self.optimizer_.zero_grad(set_to_none=True)
        losses, parts = [], []
        with step_randomness([self.seed, self.step_, rank()], self.device):
            for part in batch:
                loss, measured = self._loss(part)
                (loss / self.accumulate).backward()
                losses.append(loss.detach())
                parts.append(measured)
        sum_gradients(parameters)
        clip = float("inf") if self.clip is None else self.clip
        norm = torch.nn.utils.clip_grad_norm_(parameters, clip)
        # the norm alone is known to every process alike
        if not norm.isfinite():
            for kept, buffer in zip(
                statistics, self.module_.network.projection.buffers(), strict=True
            ):
                buffer.copy_(kept)
            self.optimizer_.zero_grad(set_to_none=True)
            raise self._not_finite(batch, losses, norm, plan)
        self.optimizer_.step()
        self.average_.update(self.module_.network, self.step_)
        means = {k: torch.stack([p[k] for p in parts]).mean().item() for k in parts[0]}
        return {"loss": self.criterion_.total(means), "parts": means, "norm": norm.item()}

    def _loss(self, batch):
        batch = batch.to(self.device)
        kind = torch.device(self.device).type
        with torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bfloat16"):
            encoded = self.module_(batch)
        loss, parts = self.criterion_(encoded, batch.weights)
        for name in ("own", "other"):
            if name in parts:
                parts[name] = sum_over_ranks(parts[name])
        return loss, parts

    def _record(self, parts, result, waited: float, spent: float) -> None:
        record = self.history.record_batch
        record("train_loss", result["loss"])
        record("train_batch_size", sum(len(part) for part in parts))
        for name, value in result["parts"].items():
            record(name, value)
        record("pair", "+".join(part.pair for part in parts))
        record("lr", self.optimizer_.param_groups[0]["lr"])
        record("grad_norm", result["norm"])
        record("data_wait", waited)
        record("step_time", spent)

    def _not_finite(self, batches, losses, norm, plan) -> TrainingError:
        batch = next(
            (b for b, loss in zip(batches, losses, strict=True) if not loss.isfinite()), batches[0]
        )
        what = "the loss" if not torch.stack(losses).isfinite().all() else "the gradient"
        where = plan.describe(batch) if plan is not None else f"batch {batch.number}"
        return TrainingError(
            f"{what} is not finite at step {self.step_ + 1} of epoch {len(self.history)}: {where}. "
            "The network before this step is kept. Look at these signals, or lower lr, or pass "
            "precision='float32'."
        )

    def averaged(self):
        """The network to use: the average at the end, or at the best epoch with patience."""
        network = self.average_.network
        if self.best_ is None:
            return network
        return type(network).from_state(network.config, self.best_).to(self.device)

    def continue_from(self, earlier: PretrainingNet) -> None:
        """Take over where another net of the same module is, its optimizer and its history."""
        state = earlier.state()
        mine = self.module_.state_dict()
        decays = [group["weight_decay"] for group in self.optimizer_.param_groups]
        if set(mine) != set(state["module"]) or (self.lr_scales or {}) != (earlier.lr_scales or {}):
            # readers come and go with prediction, parts with their scales; the optimizer would
            # not know them
            state |= {"module": mine, "optimizer": self.optimizer_.state_dict()}
        self.load_state(state)
        for group, decay in zip(self.optimizer_.param_groups, decays, strict=True):
            group["weight_decay"] = decay

    def state(self) -> dict:
        """Everything a run needs to go on, as tensors, numbers and text."""
        return {
            "module": self.module_.state_dict(),
            "average": self.average_.network.state_dict(),
            "best": self.best_,
            "optimizer": self.optimizer_.state_dict(),
            "history": json.dumps(self.history.to_list()),
            "step": self.step_,
            "first_step": self.first_step_,
            "epoch": self.epoch_,
            "finished": self.finished_,
        }

    def load_state(self, state: dict) -> None:
        """Be where the net was that :meth:`state` was taken of."""
        self.module_.load_state_dict(state["module"])
        self.average_.network.load_state_dict(state["average"])
        self.best_ = state["best"]
        self.optimizer_.load_state_dict(state["optimizer"])
        self.history = History(json.loads(state["history"]))
        self.step_, self.first_step_ = state["step"], state["first_step"]
        self.epoch_ = state["epoch"]
        self.finished_ = state["finished"]


@dataclass(frozen=True, eq=False)
class TrainingPlan:
    """Batches by their number, and what to do between them.

    Attributes
    ----------
    draw : callable
        Of a batch's number and the progress, to a batch.
    describe : callable
        Of a batch, to the words an error names it by.
    steps_per_epoch, n_epochs : int
    validate : callable or None
        Of the net, to what is recorded after an epoch.
    keep : callable or None
        Of the net, called when a state should be written.
    """

    draw: Callable
    describe: Callable
    steps_per_epoch: int
    n_epochs: int
    validate: Callable | None = None
    keep: Callable | None = None


_AHEAD_PER_WORKER = 2


def draw_ahead(draw: Callable[[int], object], numbers: range, n_workers: int) -> Iterator:
    """``draw(number)`` for every number, in order.

    Parameters
    ----------
    draw : callable
        Thread-safe if there are workers.
    numbers : range
    n_workers : int
        Threads; 0 draws when asked.
    """
    if n_workers == 0:
        yield from map(draw, numbers)
        return
    waiting: deque = deque()
    with ThreadPoolExecutor(n_workers, thread_name_prefix="sleep2vec-batches") as pool:
        try:
            for number in numbers:
                waiting.append(pool.submit(draw, number))
                if len(waiting) > _AHEAD_PER_WORKER * n_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
