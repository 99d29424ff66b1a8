# SPDX-License-Identifier: BSD-3-Clause
"""The skorch net that trains, a batch of which is one step of the optimizer, and its callbacks."""

from __future__ import annotations

import itertools
import json
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EpochTimer, LRScheduler, PassthroughScoring
from skorch.history import History
from torch import Tensor, nn
from torch.utils.data import Dataset

from .._skorch import ProgressBar, StopTraining
from .._torch import decay_groups, rate_factor, step_randomness
from .._warnings import handed_on
from ..errors import TrainingError
from ..model.network import Sleep2Vec
from ._distributed import from_rank_zero, rank, sum_gradients, sum_over_ranks
from ._module import SHARED, EncodedPair, PretrainingModule, scale_of
from ._sampling import PairBatch
from ._validation import HeldOutBatches

_BETAS = (0.9, 0.95)
_AHEAD_PER_WORKER = 2
_OF_A_PROCESS = ("own", "other", "teacher")


@dataclass(frozen=True, eq=False)
class TrainingSteps(Dataset):
    """What the net is trained on: batches by their number and the progress of the run."""

    draw: Callable[[int, float], PairBatch]
    steps_per_epoch: int
    n_epochs: int
    held_out: HeldOutBatches | None = None

    def __len__(self) -> int:
        return self.n_epochs * self.steps_per_epoch


@dataclass(frozen=True, eq=False)
class StepBatch:
    """The batches whose gradients make one step, and when and how long they were waited for."""

    parts: list[PairBatch]
    asked: float
    waited: float

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    @property
    def pair(self) -> str:
        return "+".join(part.pair for part in self.parts)


class PretrainingNet(NeuralNet):
    """A skorch net over :class:`TrainingSteps`, with a moving average of its network."""

    def __init__(
        self, module: PretrainingModule, criterion: nn.Module, *, seed: int = 0,
        accumulate: int = 1, weight_decay: float = 1e-2,
        lr_scales: Mapping[str, float] | None = None, warmup_ratio: float = 0.03,
        min_lr_ratio: float = 0.1, max_grad_norm: float | None = 1.0, ema_decay: float = 0.996,
        precision: str = "float32", n_workers: int = 0, patience: int | None = None, **kwargs: Any,
    ):  # fmt: skip
        settings = {"train_split": None, "optimizer": torch.optim.AdamW, "verbose": 0, **kwargs}
        super().__init__(module, criterion, **settings)
        self.seed = seed
        self.accumulate = accumulate
        self.weight_decay = weight_decay
        self.lr_scales = lr_scales
        self.warmup_ratio = warmup_ratio
        self.min_lr_ratio = min_lr_ratio
        self.max_grad_norm = max_grad_norm
        self.ema_decay = ema_decay
        self.precision = precision
        self.n_workers = n_workers
        self.patience = patience

    @property
    def _default_callbacks(self) -> list[tuple[str, Callback]]:
        callbacks = [
            ("validation", ValidationScoring()),
            ("train_loss", PassthroughScoring("train_loss", lower_is_better=None, on_train=True)),
            ("epoch_timer", EpochTimer()),
        ]
        chosen = [c[-1] if isinstance(c, tuple) else c for c in self.callbacks or ()]
        kinds = [c if isinstance(c, type) else type(c) for c in chosen]
        has_scheduler = any(issubclass(kind, LRScheduler) for kind in kinds)
        return callbacks if has_scheduler else [("lr_schedule", WarmupCosine()), *callbacks]

    def initialize(self) -> Self:
        super().initialize()
        self.average_ = MovingAverage(self.module_.network, self.ema_decay)
        self.best_: dict[str, Tensor] | None = None
        # steps since the weights were made, where the schedule began, and epochs of it
        self.step_ = self.first_step_ = self.epoch_ = 0
        self.finished_ = False
        return self

    def initialize_optimizer(self, triggered_directly: Any = None) -> Self:
        """AdamW in which matrices alone decay, and parts have rates of their own."""
        scales = self.lr_scales or {}
        named = list(self.module_.named_parameters())
        for name, parameter in named:
            parameter.requires_grad_(scale_of(name, scales) > 0)
        groups = decay_groups(named, self.weight_decay, lambda name: scale_of(name, scales))
        for group in groups:
            # schedulers that begin within a run ask for the initial rate
            group["lr"] = group["initial_lr"] = self.lr * group["lr_scale"]
        _, options = self.get_params_for_optimizer("optimizer", [])
        fused = torch.device(self.device).type in ("cpu", "cuda")
        self.optimizer_ = self.optimizer(groups, **{"betas": _BETAS, "fused": fused, **options})
        return self

    def begin_schedule(self) -> None:
        """Start a schedule where the last one ended, or was broken off."""
        if self._within_epoch():
            self.history.record("train_batch_count", len(self.history[-1]["batches"]))
        self.first_step_, self.epoch_, self.finished_, self.best_ = self.step_, 0, False, None

    def partial_fit(
        self, X: TrainingSteps, y: Any = None, classes: Any = None, **fit_params: Any
    ) -> Self:
        """Train for some ``epochs``, or until a callback ends it; Ctrl-C is raised."""
        self.notify("on_train_begin", X=X, y=y)
        try:
            self.fit_loop(X, y, **fit_params)
        except StopTraining:
            self.finished_ = True
        self.notify("on_train_end", X=X, y=y)
        return self

    def notify(self, method_name: str, **kwargs: Any) -> None:
        try:
            super().notify(method_name, **kwargs)
        except KeyboardInterrupt as stop:
            raise StopTraining from stop
        if self.finished_ and method_name == "on_epoch_end":
            raise StopTraining

    def get_split_datasets(self, X: TrainingSteps, y: Any = None, **fit_params: Any) -> tuple:
        return X, X.held_out

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        """Steps to train; the validation has no batches, see :class:`ValidationScoring`."""
        return _StepIterator(self, dataset) if training else None

    def run_single_epoch(
        self, iterator: Any, training: bool, prefix: str, step_fn: Callable, **fit_params: Any
    ) -> None:
        if iterator is not None:
            # threads that draw ahead end with the epoch, also by an error
            with closing(iter(iterator)) as batches:
                super().run_single_epoch(batches, training, prefix, step_fn, **fit_params)

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """A new row of the history, unless a resumed run is within one."""
        if not self._within_epoch():
            super().on_epoch_begin(net, **kwargs)

    def _within_epoch(self) -> bool:
        return bool(self.history) and "train_batch_count" not in self.history[-1]

    def _set_training(self, training: bool = True) -> None:
        super()._set_training(training)
        freeze_parts(self.module_.network, self.lr_scales or {})

    def train_step(self, batch: StepBatch, **fit_params: Any) -> dict:
        """One step of the optimizer; one that fails leaves no trace."""
        buffers = list(self.module_.network.projection.buffers())
        before = [buffer.detach().clone() for buffer in buffers]
        try:
            return super().train_step(batch, **fit_params)
        except BaseException:
            # for want of memory, for instance, or because somebody pressed Ctrl-C
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
            self.optimizer_.zero_grad(set_to_none=True)
            self.history[-1]["batches"].pop()
            raise

    def train_step_single(self, batch: StepBatch, **fit_params: Any) -> dict:
        """Gradients of a step: of all its batches and all processes, clipped."""
        self._set_training(True)
        losses, measured = [], []
        with step_randomness([self.seed, self.step_, rank()], self.device):
            for part in batch.parts:
                part = part.to(self.device)
                encoded = self.infer(part, **fit_params)
                loss, parts = self.get_loss(encoded, part.weights, X=part, training=True)
                (loss / len(batch.parts)).backward()
                losses.append(loss.detach())
                # the contrast is of the whole batch, errors of the reconstruction are a process's
                summed = {n: sum_over_ranks(parts[n]) for n in _OF_A_PROCESS if n in parts}
                measured.append(parts | summed)
        parameters = [p for group in self.optimizer_.param_groups for p in group["params"]]
        sum_gradients(parameters)
        limit = float("inf") if self.max_grad_norm is None else self.max_grad_norm
        norm = nn.utils.clip_grad_norm_(parameters, limit)
        # the norm alone is known to every process alike
        if not norm.isfinite():
            raise self._not_finite(batch.parts, losses)
        means = {k: torch.stack([m[k] for m in measured]).mean().item() for k in measured[0]}
        total = torch.tensor(self.criterion_.total(means), dtype=torch.float64)
        # a sensor alone was contrasted with nothing
        contrasted = [
            m for m, part in zip(measured, batch.parts, strict=True) if not part.is_of_one
        ]
        for name in ("contrast", "accuracy"):
            of_pairs = [m[name].item() for m in contrasted]
            means[name] = float(np.mean(of_pairs)) if of_pairs else float("nan")
        return {"loss": total, "y_pred": encoded, "parts": means, "grad_norm": norm.item()}

    def infer(self, x: PairBatch, **fit_params: Any) -> EncodedPair:
        kind = torch.device(self.device).type
        with torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bfloat16"):
            return self.module_(x, **fit_params)

    def get_loss(
        self, y_pred: EncodedPair, y_true: Any, X: Any = None, training: bool = False
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The criterion of what was encoded and the weights of the batch: loss and its parts."""
        return self.criterion_(y_pred, y_true)

    def _not_finite(self, batches: list[PairBatch], losses: list[Tensor]) -> TrainingError:
        wrong = [b for b, loss in zip(batches, losses, strict=True) if not loss.isfinite()]
        what = "the loss" if wrong else "the gradient"
        return TrainingError(
            f"{what} is not finite at step {self.step_ + 1} of epoch {len(self.history)}: "
            f"{(wrong or batches)[0].describe()}. The network before this step is kept. Look at "
            "these signals, or lower lr, or pass precision='float32'."
        )

    def on_batch_end(
        self, net: NeuralNet, batch: Any = None, training: bool = False, **step: Any
    ) -> None:
        """Count the step, follow it with the average, and record it."""
        self.average_.update(self.module_.network, self.step_)
        self.step_ += 1
        row = {**step["parts"], "pair": batch.pair, "lr": self.optimizer_.param_groups[0]["lr"]}
        row |= {"grad_norm": step["grad_norm"], "data_wait": batch.waited}
        row["step_time"] = time.perf_counter() - batch.asked
        for name, value in row.items():
            self.history.record_batch(name, value)

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        rows = self.history[-1]["batches"]
        # of a resumed epoch skorch knows only what came after
        self.history.record("train_batch_count", len(rows))
        for part in ("contrast", "accuracy", *_OF_A_PROCESS):
            if part in rows[0]:
                known = [row[part] for row in rows if row[part] == row[part]]
                self.history.record(part, float(np.mean(known)) if known else float("nan"))
        waited, spent = (sum(row[k] for row in rows) for k in ("data_wait", "step_time"))
        self.history.record("data_wait_share", waited / max(spent, 1e-9))
        self.epoch_ += 1

    def watch_validation(self) -> None:
        """Keep the best average, and finish when it has not improved for ``patience`` epochs."""
        if self.patience is None:
            return
        losses = [row["valid_loss"] for row in self.history[-self.epoch_ :]]
        last = len(losses) - 1
        best = last if np.isnan(losses).all() else int(np.nanargmin(losses))
        if best == last:
            state = self.average_.network.state_dict()
            self.best_ = {name: value.detach().clone() for name, value in state.items()}
        elif last - best >= self.patience:
            self.finished_ = True

    def averaged(self) -> Sleep2Vec:
        """The network to use: the average at the end, or at the best epoch with patience."""
        network = self.average_.network
        if self.best_ is None:
            return network
        return type(network).from_state(network.config, self.best_).to(self.device)

    def continue_from(self, earlier: PretrainingNet) -> None:
        """Take over where another net of the same module is, its optimizer and its history."""
        state = earlier.state()
        mine = self.module_.state_dict()
        chosen = [(group["lr"], group["weight_decay"]) for group in self.optimizer_.param_groups]
        if set(mine) != set(state["module"]) or (self.lr_scales or {}) != (earlier.lr_scales or {}):
            # readers come and go with the reconstruction, parts with their scales; the optimizer
            # would not know them
            state |= {"module": mine, "optimizer": self.optimizer_.state_dict()}
        self.load_state(state)
        for group, (lr, weight_decay) in zip(self.optimizer_.param_groups, chosen, strict=True):
            group |= {"lr": lr, "initial_lr": lr, "weight_decay": weight_decay}

    def state(self) -> dict[str, Any]:
        """Everything a run needs to be resumed, as tensors, numbers and text."""
        return {
            "module": self.module_.state_dict(), "average": self.average_.network.state_dict(),
            "best": self.best_, "optimizer": self.optimizer_.state_dict(),
            "history": json.dumps(self.history.to_list()), "step": self.step_,
            "first_step": self.first_step_, "epoch": self.epoch_, "finished": self.finished_,
        }  # fmt: skip

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Be where the net was of which :meth:`state` was taken."""
        self.module_.load_state_dict(state["module"])
        self.average_.network.load_state_dict(state["average"])
        self.best_ = state["best"]
        self.optimizer_.load_state_dict(state["optimizer"])
        self.history = History(json.loads(state["history"]))
        self.step_, self.first_step_ = state["step"], state["first_step"]
        self.epoch_, self.finished_ = state["epoch"], state["finished"]


@dataclass(frozen=True, eq=False)
class _StepIterator:
    """The steps of an epoch that are left, each time it is iterated."""

    net: PretrainingNet
    steps: TrainingSteps

    def __iter__(self) -> Iterator[StepBatch]:
        net, steps = self.net, self.steps
        n_left = steps.steps_per_epoch - len(net.history[-1]["batches"])
        numbers = range(net.step_ * net.accumulate, (net.step_ + n_left) * net.accumulate)

        def draw(number: int) -> PairBatch:
            progress = (number // net.accumulate - net.first_step_) / len(steps)
            return steps.draw(number, progress)

        with closing(draw_ahead(draw, numbers, net.n_workers)) as batches:
            for _ in range(n_left):
                asked = time.perf_counter()
                parts = [next(batches) for _ in range(net.accumulate)]
                yield StepBatch(parts, asked, time.perf_counter() - asked)


def draw_ahead(draw: Callable[[int], Any], numbers: range, n_workers: int) -> Generator[Any]:
    """``draw(number)`` for every number, in order; by so many threads ahead, or when asked."""
    # threads and no DataLoader: its processes would each hold the nights
    if n_workers == 0:
        yield from map(draw, numbers)
        return
    waiting: deque = deque()
    with ThreadPoolExecutor(n_workers, thread_name_prefix="sleep2vec-batches") as pool:
        try:
            draw = handed_on(draw)
            for number in numbers:
                waiting.append(pool.submit(draw, number))
                if len(waiting) > _AHEAD_PER_WORKER * n_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def freeze_parts(network: Sleep2Vec, scales: Mapping[str, float]) -> None:
    """Set the parts that do not learn to evaluation: no dropout, BatchNorm as it was trained."""
    for part, scale in scales.items():
        module = getattr(network, part) if part in SHARED else network.tokenizers[part]
        if scale == 0 and isinstance(module, nn.Module):
            module.eval()


class MovingAverage:
    """An average of a network's parameters and buffers over the steps, in eval mode.

    torch's AveragedModel has no warm-up and copies buffers, so that an averaged projection would be
    normalised by BatchNorm statistics of another. 0 follows the network.
    """

    def __init__(self, network: Sleep2Vec, decay: float):
        self.network = type(network).from_state(network.config, network.state_dict())
        self.network.to(network.input_projection.weight.device)
        self.network.requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: Sleep2Vec, step: int) -> None:
        """Move towards the network after a step, counted from 0."""
        # less in the first steps, so that the random start is soon forgotten
        decay = min(self.decay, (1 + step) / (10 + step))
        averages, news = (list(n.state_dict().values()) for n in (self.network, network))
        moving = [decay > 0 and average.is_floating_point() for average in averages]
        first, second = (list(itertools.compress(tensors, moving)) for tensors in (averages, news))
        if first:
            torch._foreach_lerp_(first, second, 1 - decay)
        for average, new, moves in zip(averages, news, moving, strict=True):
            if not moves:
                average.copy_(new)


class WarmupCosine(Callback):
    """The learning rate of each step; follows from its number, so there is no state to keep."""

    def on_train_begin(
        self, net: PretrainingNet, X: Any = None, y: Any = None, **kwargs: Any
    ) -> None:
        self.total_ = len(X)

    def on_batch_begin(self, net: PretrainingNet, **kwargs: Any) -> None:
        step = net.step_ - net.first_step_
        factor = rate_factor(step, self.total_, net.warmup_ratio, net.min_lr_ratio)
        for group in net.optimizer_.param_groups:
            group["lr"] = net.lr * factor * group["lr_scale"]


class ValidationScoring(Callback):
    """Loss and retrieval of held-out subjects after an epoch, over all pairs and of each."""

    def on_epoch_end(
        self, net: PretrainingNet, dataset_train: Any = None, dataset_valid: Any = None,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        if dataset_valid is None:
            return
        # of one process, or rounding could have some stop early and others wait for them
        network, objective = net.average_.network, net.criterion_.objective
        columns = from_rank_zero(lambda: dataset_valid.measure(network, objective))
        earlier = [row["valid_loss"] for row in net.history[:-1] if "valid_loss" in row]
        loss = columns["valid_loss"]
        # what callbacks such as skorch's Checkpoint look at
        columns["valid_loss_best"] = loss == loss and not any(e <= loss for e in earlier)
        for name, value in columns.items():
            net.history.record(name, value)
        net.watch_validation()


class StateSaver(Callback):
    """Keeps the state of a run: after so many steps, after every epoch, and at an early end."""

    def __init__(self, save: Callable[[PretrainingNet], None], every: int):
        self.save = save
        self.every = every

    def on_batch_end(self, net: PretrainingNet, **kwargs: Any) -> None:
        is_last = len(net.history[-1]["batches"]) == self.steps_per_epoch_
        if not is_last and not net.step_ % self.every:
            self.save(net)

    def on_epoch_begin(self, net: PretrainingNet, dataset_train: Any = None, **kwargs: Any) -> None:
        self.steps_per_epoch_ = dataset_train.steps_per_epoch
        self.ended_ = False

    def on_epoch_end(self, net: PretrainingNet, **kwargs: Any) -> None:
        self.save(net)
        self.ended_ = True

    def on_train_end(self, net: PretrainingNet, **kwargs: Any) -> None:
        if not self.ended_:
            self.save(net)


class StepProgress(ProgressBar):
    """One bar for the whole run, whatever its epochs are."""

    def on_train_begin(
        self, net: PretrainingNet, X: Any = None, y: Any = None, **kwargs: Any
    ) -> None:
        done = net.step_ - net.first_step_
        self.open_bar(total=len(X), initial=done, desc="pretraining", unit="step")

    def on_batch_end(self, net: PretrainingNet, **kwargs: Any) -> None:
        row = net.history[-1]["batches"][-1]
        shown = {"epoch": len(net.history), "loss": f"{row['train_loss']:.3f}"}
        if "valid_recall" in (net.history[-2] if len(net.history) > 1 else {}):
            shown["recall"] = f"{net.history[-2]['valid_recall']:.3f}"
        self.bar_.set_postfix(shown, refresh=False)
        self.bar_.update()
