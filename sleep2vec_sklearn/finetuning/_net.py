# SPDX-License-Identifier: BSD-3-Clause
"""The skorch net that fine-tunes: a head on tokens, or an encoder with a head."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import EpochTimer
from torch import Tensor, nn

from .._progress import ProgressBar
from .._torch import decay_groups, rate_factor, step_randomness
from ..errors import TrainingError
from ._data import Batch, TrainingSet

__all__ = [
    "FineTuningModule",
    "FineTuningNet",
    "FineTuningPlan",
    "FitProgress",
    "drop_modalities",
]

_WARMUP, _LR_FLOOR, _LARGEST_NORM = 0.05, 0.05, 1.0
_BATCH_STREAM, _STEP_STREAM = 11, 12

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


class FineTuningModule(nn.Module):
    """What is trained: batches to one row of outputs per row of X.

    Parameters
    ----------
    network : Head or FineTuned
    reads_tokens : bool
        Whether it is a head on tokens that do not change.
    modality_dropout : (float, float)
        By night and by epoch.
    """

    def __init__(self, network: nn.Module, reads_tokens: bool, modality_dropout=(0.0, 0.0)):
        super().__init__()
        self.network = network
        self.reads_tokens = reads_tokens
        self.modality_dropout = modality_dropout

    def forward(self, batch: Batch) -> Tensor:
        """Outputs [n_rows, O]."""
        present = batch.present
        if self.training:
            present = drop_modalities(present, *self.modality_dropout)
        if self.reads_tokens:
            outputs = self.network(batch.inputs, present, batch.valid, batch.covariates, batch.cls)
        else:
            outputs = self.network(
                batch.inputs, present, batch.valid, batch.covariates, features=True
            )
        return batch.take_rows(outputs.float())


@dataclass(frozen=True, slots=True)
class FineTuningPlan:
    """What a net is trained on, and how long.

    Attributes
    ----------
    training : TrainingSet
    held_out : TrainingSet or None
    loss : callable
        Of outputs, targets and weights of rows.
    max_epochs, batch_size : int
    patience : int or None
    seed : int
    """

    training: TrainingSet
    held_out: TrainingSet | None
    loss: Loss
    max_epochs: int
    batch_size: int
    patience: int | None
    seed: int


class FineTuningNet(NeuralNet):
    """A skorch net over the batches of a :class:`FineTuningPlan`.

    Parameters
    ----------
    module : FineTuningModule
    encoder_lr : float
        Of the encoder's parameters, if there is one that trains.
    weight_decay : float
        Of matrices.
    precision : {"float32", "bfloat16"}
    **kwargs
        Of :class:`skorch.NeuralNet`.
    """

    def __init__(
        self, module, *, encoder_lr=1e-4, weight_decay=1e-2, precision="float32", **kwargs
    ):
        settings = {"train_split": None, "optimizer": torch.optim.AdamW, "verbose": 0, **kwargs}
        # the loss is the estimator's, and a part of the plan
        super().__init__(module, nn.Identity, **settings)
        self.encoder_lr = encoder_lr
        self.weight_decay = weight_decay
        self.precision = precision

    @property
    def _default_callbacks(self):
        return [("epoch_timer", EpochTimer())]

    def initialize_optimizer(self, triggered_directly=None):
        """AdamW; the encoder has a rate of its own, and matrices alone decay."""
        trained = [(n, p) for n, p in self.module_.named_parameters() if p.requires_grad]
        groups = []
        for rate, mine in (
            (self.lr, [(n, p) for n, p in trained if not n.startswith("network.encoder.")]),
            (self.encoder_lr, [(n, p) for n, p in trained if n.startswith("network.encoder.")]),
        ):
            parts = decay_groups(mine, self.weight_decay) if mine else []
            groups += [{**part, "lr": rate, "peak_lr": rate} for part in parts]
        self.optimizer_ = self.optimizer(groups)
        return self

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        """Train on the plan ``X``, and keep the weights of its best epoch if subjects are held out.

        Raises
        ------
        TrainingError
            If a loss is not finite.
        """
        plan: FineTuningPlan = X
        best, best_state, step = math.inf, None, 0
        since_best = 0
        for epoch in range(plan.max_epochs):
            self.notify("on_epoch_begin", dataset_train=None, dataset_valid=None)
            step = self._train_epoch(plan, epoch, step)
            if plan.held_out is not None:
                loss = self.validate(plan)
                self.history.record("valid_loss", loss)
                since_best += 1
                if loss < best:
                    best, since_best, best_state = loss, 0, self._copy_of_trained()
            self.notify("on_epoch_end", dataset_train=None, dataset_valid=None)
            if plan.patience is not None and since_best >= plan.patience:
                break
        if best_state is not None:
            self.module_.load_state_dict(best_state, strict=False)
        self.module_.eval()
        # moments are of use to nobody after the end, and twice the size of the network
        self.optimizer_.state.clear()
        return self

    def _train_epoch(self, plan: FineTuningPlan, epoch: int, step: int) -> int:
        rng = np.random.default_rng([plan.seed, _BATCH_STREAM, epoch])
        batches = plan.training.draw(rng, plan.batch_size)
        total = plan.max_epochs * len(batches)
        losses, sizes = [], []
        self.module_.train()
        for pieces in batches:
            batch = plan.training.batch(pieces)
            factor = rate_factor(step, total, _WARMUP, _LR_FLOOR)
            for group in self.optimizer_.param_groups:
                group["lr"] = group["peak_lr"] * factor
            loss = self.train_step(batch, plan=plan, step=step)
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss is not finite at step {step + 1}, in epoch {epoch + 1}. Look at the "
                    "targets for values that are far off, or lower lr and encoder_lr."
                )
            losses.append(loss)
            sizes.append(batch.n_rows)
            step += 1
        self.history.record("train_loss", float(np.average(losses, weights=sizes)))
        self.history.record("lr", self.optimizer_.param_groups[0]["lr"])
        return step

    def train_step(self, batch, plan=None, step=0, **fit_params) -> float:
        """One step of the optimizer, which is not made where the loss is not finite."""
        batch = batch.to(self.device)
        self.optimizer_.zero_grad(set_to_none=True)
        with step_randomness([plan.seed, _STEP_STREAM, step], self.device):
            loss = plan.loss(self._outputs(batch), batch.targets, batch.weights)
        loss.backward()
        return loss.item() if self.make_step() else math.nan

    def make_step(self) -> bool:
        """Clip the gradients and step, unless they are not finite; whether it was made."""
        trained = [p for group in self.optimizer_.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(trained, _LARGEST_NORM)
        if norm.isfinite():
            self.optimizer_.step()
        return bool(norm.isfinite())

    def validate(self, plan: FineTuningPlan) -> float:
        """The loss of all rows that are held out, taken together."""
        parts = [plan.held_out.batch(pieces) for pieces in plan.held_out.whole()]
        outputs = torch.cat([self.outputs(batch) for batch in parts])
        targets = torch.cat([batch.targets for batch in parts]).to(outputs.device)
        weights = torch.cat([batch.weights for batch in parts]).to(outputs.device)
        with torch.inference_mode():
            return float(plan.loss(outputs, targets, weights))

    def outputs(self, batch: Batch) -> Tensor:
        """Outputs of a batch without gradients, in evaluation."""
        self.module_.eval()
        with torch.inference_mode():
            return self._outputs(batch.to(self.device))

    def _outputs(self, batch: Batch) -> Tensor:
        kind = torch.device(self.device).type
        with torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bfloat16"):
            return self.module_(batch)

    def _copy_of_trained(self) -> dict[str, Tensor]:
        names = {name for name, p in self.module_.named_parameters() if p.requires_grad}
        state = self.module_.state_dict()
        return {name: state[name].detach().clone() for name in names}


class FitProgress(ProgressBar):
    """One bar over the epochs of training.

    Parameters
    ----------
    total : int
        Epochs at most.
    """

    def __init__(self, total: int):
        self.total = total

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Open the bar."""
        self.open_bar(total=self.total, desc="fine-tuning", unit="epoch")

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Count an epoch and show its losses."""
        row = net.history[-1]
        losses = {k: f"{row[k]:.4f}" for k in ("train_loss", "valid_loss") if k in row}
        self.bar_.set_postfix(losses, refresh=False)
        self.bar_.update()


def drop_modalities(present: Tensor, by_night: float, by_epoch: float) -> Tensor:
    """Hide modalities at random; an epoch never loses its last one.

    Parameters
    ----------
    present : bool Tensor of shape [B, L, M]
    by_night : float
        Chance that a sequence loses a modality altogether.
    by_epoch : float
        Chance that an epoch does.

    Returns
    -------
    bool Tensor of shape [B, L, M]
        Draws from torch's generator.

    Examples
    --------
    >>> import torch
    >>> from sleep2vec_sklearn.finetuning._net import drop_modalities
    >>> present = torch.tensor([[[True, True], [False, True]]])
    >>> drop_modalities(present, 0.99, 0.0).sum(-1)
    tensor([[1, 1]])
    """
    shape = present.shape
    for share, length in ((by_night, 1), (by_epoch, shape[1])):
        if share == 0:
            continue
        draw = torch.rand(shape[0], length, shape[2], device=present.device).expand(shape)
        # of those an epoch has, the one with the highest number stays
        survivor = draw.masked_fill(~present, -1.0).argmax(dim=-1, keepdim=True)
        spared = torch.zeros_like(present).scatter(-1, survivor, True)
        present = present & ((draw >= share) | spared)
    return present
