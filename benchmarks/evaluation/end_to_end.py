# SPDX-License-Identifier: BSD-3-Clause
"""The same network trained for the task itself: from scratch, or on from a checkpoint's weights.

A plain loop: windows of the encoder's context at random places of the training nights, a linear
layer on the hidden states of all sensors side by side, AdamW, a number of passes that is fixed
beforehand. No held-out subject decides anything, so there is nothing to stop early by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.evaluation.encoders import random_twin
from benchmarks.evaluation.probes import as_rows, folds_by_subject, score_subjects
from benchmarks.evaluation.questions import Question
from sleep2vec_sklearn.encoding.windows import cut_windows, merge_windows
from sleep2vec_sklearn.signals import Recording, get_modality
from sleep2vec_sklearn.signals.conditioning import condition

__all__ = ["FINE_TUNED", "FROM_SCRATCH", "Training", "evaluate_training"]

FOLDS = 5


@dataclass(frozen=True)
class Training:
    """Settings of the loop, the same for every fold.

    Attributes
    ----------
    name : str
    from_checkpoint : bool
        Start from its weights, or from random ones with its input statistics.
    lr, head_lr : float
        Largest learning rates of the network and of the linear layer.
    n_passes : int
        As many windows as the training nights have room for make one pass.
    batch_size : int
        Windows.
    weight_decay : float
    seed : int
    """

    name: str
    from_checkpoint: bool
    lr: float
    head_lr: float = 1e-3
    n_passes: int = 20
    batch_size: int = 8
    weight_decay: float = 0.05
    seed: int = 0


FROM_SCRATCH = Training("trained from scratch, five folds", False, lr=5e-4)
FINE_TUNED = Training("fine-tuned, five folds", True, lr=1e-4, n_passes=8)


@dataclass(frozen=True)
class _Night:
    inputs: dict[str, Tensor]
    missing: dict[str, Tensor]
    y: Tensor

    def window(self, places: slice) -> _Night:
        inputs, missing = (
            {name: values[places] for name, values in part.items()}
            for part in (self.inputs, self.missing)
        )
        return _Night(inputs, missing, self.y[places])


class _Classifier(nn.Module):
    """A network's hidden states of all sensors side by side, and a linear layer."""

    def __init__(self, network, modalities: Sequence[str], n_classes: int):
        super().__init__()
        self.network = network
        self.modalities = tuple(modalities)
        self.head = nn.Linear(len(modalities) * network.config.hidden_size, n_classes)

    def forward(self, inputs: dict[str, Tensor], missing: dict[str, Tensor]) -> Tensor:
        """[B, L, ...] per sensor to [B, L, n_classes]."""
        hidden = []
        for name in self.modalities:
            tokenizer = self.network.tokenizers[name]
            read = (
                self.network.embed_features if _has_features(tokenizer) else self.network.tokenize
            )
            tokens = read(name, inputs[name], missing[name])
            states = self.network.encode(tokens, ~missing[name])
            hidden.append(states[:, -tokens.shape[1] :])
        return self.head(torch.cat(hidden, dim=-1))


def _has_features(tokenizer: nn.Module) -> bool:
    return hasattr(tokenizer, "features")


def evaluate_training(
    training: Training,
    checkpoint,
    recordings: Sequence[Recording],
    modalities: Sequence[str],
    question: Question,
    *,
    device: str = "cpu",
) -> pd.DataFrame:
    """Scores by subject, as of :func:`~benchmarks.evaluation.probes.evaluate_features`.

    Five folds of subjects, as a training is slow; each trains on the other subjects alone.
    """
    start = checkpoint if training.from_checkpoint else random_twin(checkpoint, training.seed)
    nights = [_prepare(r, start, modalities, question) for r in recordings]
    subjects = np.array([str(recording.subject) for recording in recordings])
    fold = folds_by_subject(subjects, FOLDS)
    found: dict[int, np.ndarray] = {}
    for number in range(fold.max() + 1):
        model = _train(
            training,
            start,
            [nights[i] for i in np.flatnonzero(fold != number)],
            modalities,
            question.n_classes,
            device,
        )
        for i in np.flatnonzero(fold == number):
            found[i] = _predict(model, nights[i], device)
    probability, y, groups = as_rows([found[i] for i in range(len(nights))], recordings, question)
    return score_subjects(y, probability, groups, question)


def _prepare(recording: Recording, checkpoint, modalities, question: Question) -> _Night:
    """What the tokenizers' learned layers read of a night, once and for all."""
    conditioning = {m.name: m.conditioning for m in checkpoint.config.modalities}
    network = checkpoint.build()
    inputs, missing = {}, {}
    for name, signal in recording.read(modalities).items():
        n_epochs, tokenizer = recording.n_epochs, network.tokenizers[name]
        found = condition(signal, get_modality(name), conditioning[name], n_epochs)
        if found is None:
            samples = torch.zeros(n_epochs, conditioning[name].width)
            missing[name] = torch.ones(n_epochs, dtype=torch.bool)
        else:
            samples = torch.from_numpy(found.epochs)
            missing[name] = torch.from_numpy(~found.valid)
        with torch.no_grad():
            inputs[name] = tokenizer.features(samples) if _has_features(tokenizer) else samples
    return _Night(inputs, missing, torch.from_numpy(_labels_by_epoch(recording, question)))


def _labels_by_epoch(recording: Recording, question: Question) -> np.ndarray:
    """Each label for all epochs that share it; -1 where none is asked for."""
    y = np.full(recording.n_epochs, -1)
    shared = np.repeat(question.labels(recording), question.epochs_per_label)
    y[: len(shared)] = shared
    return y


def _train(training: Training, start, nights, modalities, n_classes: int, device) -> _Classifier:
    generator = torch.Generator().manual_seed(training.seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(training.seed)
        model = _Classifier(start.build(), modalities, n_classes).to(device).train()
        context = start.config.context_epochs
        counts = torch.stack(
            [(torch.cat([n.y for n in nights]) == c).sum() for c in range(n_classes)]
        )
        weights = (counts.sum() / (n_classes * counts.clamp(min=1))).to(device)
        optimizer = torch.optim.AdamW(
            [
                {"params": model.network.parameters(), "lr": training.lr},
                {"params": model.head.parameters(), "lr": training.head_lr},
            ],
            weight_decay=training.weight_decay,
        )
        per_pass = -(-sum(-(-len(n.y) // context) for n in nights) // training.batch_size)
        total = training.n_passes * per_pass
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, [training.lr, training.head_lr], total_steps=total + 1, pct_start=0.1
        )
        for _ in range(total):
            batch = _draw(nights, training.batch_size, context, generator, device)
            logits = model(batch.inputs, batch.missing)
            loss = cross_entropy(logits.flatten(0, 1), batch.y.flatten(), weights, ignore_index=-1)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return model.eval()


def _draw(nights, batch_size: int, context: int, generator, device) -> _Night:
    """Windows of one length from nights drawn by their length."""
    lengths = torch.tensor([len(night.y) for night in nights])
    length = min(context, int(lengths.min()))
    drawn = torch.multinomial(lengths.float(), batch_size, replacement=True, generator=generator)
    windows = []
    for i in drawn.tolist():
        first = int(torch.randint(len(nights[i].y) - length + 1, (1,), generator=generator))
        windows.append(nights[i].window(slice(first, first + length)))
    return _Night(
        *(
            {
                name: torch.stack([getattr(w, part)[name] for w in windows]).to(device)
                for name in windows[0].inputs
            }
            for part in ("inputs", "missing")
        ),
        torch.stack([w.y for w in windows]).to(device),
    )


@torch.inference_mode()
def _predict(model: _Classifier, night: _Night, device) -> np.ndarray:
    """Probabilities of every epoch of a night, windows merged as the transformer merges them."""
    context = model.network.config.context_epochs
    inputs, missing = (
        {name: cut_windows(values, context).to(device) for name, values in part.items()}
        for part in (night.inputs, night.missing)
    )
    probability = model(inputs, missing).softmax(dim=-1).float().cpu()
    return merge_windows(probability, len(night.y), context).double().numpy()
