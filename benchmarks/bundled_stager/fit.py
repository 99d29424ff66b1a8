# SPDX-License-Identifier: BSD-3-Clause
"""Training of the head: votes of modalities that have much in common, with sensors dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from benchmarks.bundled_stager.tokens import TokenTable
from sleep2vec_sklearn import load_checkpoint
from sleep2vec_sklearn.finetuning.stager import STAGES, StageHead

__all__ = ["fit_head"]

BATCH = 1024
PASSES = 2
FEWEST_STEPS = 20
RATE = 3e-3
WEIGHT_DECAY = 1e-2
# what a modality's weights may differ from those of all, as a penalty
APART = 0.05
# of a class' share: half way to equal shares
BALANCE = 0.5
# how much more often an epoch of a real night is drawn than one of a simulated night
REAL_WEIGHT: Mapping[str, float] = {"slpdb": 4.0}
OTHER_REAL_WEIGHT = 8.0


def fit_head(tables: Sequence[TokenTable], names: Sequence[str], seed: int = 0) -> StageHead:
    """Fit a head to tables of several data sets.

    Every epoch keeps a random subset of its sensors, so that any subset can be staged.

    Parameters
    ----------
    tables : sequence of TokenTable
    names : sequence of str
        Of their data sets; "simulated" is drawn as it is, others more often.
    seed : int, default=0
    """
    rng = np.random.default_rng(seed)
    chance = np.concatenate(
        [np.full(len(t), _weight(name)) for t, name in zip(tables, names, strict=True)]
    )
    chance /= chance.sum()
    owner = np.repeat(np.arange(len(tables)), [len(t) for t in tables])
    place = np.concatenate([np.arange(len(t)) for t in tables])
    spread = _spread(tables)
    votes = _Votes(*tables[0].tokens.shape[1:])
    class_weight = _class_weight(tables, names)
    steps = max(PASSES * (len(owner) // BATCH + 1), FEWEST_STEPS)
    optimiser = torch.optim.AdamW(votes.groups(), RATE, weight_decay=WEIGHT_DECAY)
    rates = [group["lr"] for group in optimiser.param_groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=steps)
    for _ in range(steps):
        drawn = rng.choice(len(owner), BATCH, p=chance)
        tokens, present, stages = _batch(tables, owner[drawn], place[drawn])
        kept = torch.from_numpy(_drop(present, rng))
        logits = votes(torch.from_numpy(tokens / spread), kept)
        loss = nn.functional.cross_entropy(logits, torch.from_numpy(stages), weight=class_weight)
        loss = loss + APART * (votes.own**2).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return votes.as_head(tables[0].modalities, spread)


class _Votes(nn.Module):
    def __init__(self, n_modalities: int, width: int):
        super().__init__()
        self.shared = nn.Parameter(torch.zeros(width, len(STAGES)))
        self.own = nn.Parameter(torch.zeros(n_modalities, width, len(STAGES)))
        self.bias = nn.Parameter(torch.zeros(n_modalities, len(STAGES)))
        self.level = nn.Parameter(torch.zeros(len(STAGES)))
        self.log_trust = nn.Parameter(torch.zeros(n_modalities))

    def groups(self) -> list[dict]:
        """Parameters for the optimiser; trust is of the order of one and not drawn to zero."""
        others = [self.shared, self.own, self.bias, self.level]
        return [
            {"params": others},
            {"params": [self.log_trust], "lr": 3 * RATE, "weight_decay": 0},
        ]

    def forward(self, tokens: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """Votes of the modalities kept, averaged by trust, of shape (n, 5)."""
        trust = kept * self.log_trust.exp()
        trust = trust / trust.sum(1, keepdim=True)
        tokens = tokens * trust[..., None]
        votes = tokens.sum(1) @ self.shared + torch.einsum("nmh,mho->no", tokens, self.own)
        return self.level + votes + trust @ self.bias

    def as_head(self, modalities: Sequence[str], spread: np.ndarray) -> StageHead:
        """The same votes on tokens as they come from the encoder."""
        with torch.no_grad():
            weight = (self.shared + self.own).numpy() / spread[..., None]
            bias = (self.level + self.bias).numpy()
            trust = self.log_trust.exp().numpy()
        sha256 = load_checkpoint("sleep2vec-mini").sha256
        return StageHead(tuple(modalities), weight, bias, trust, sha256)


def _weight(name: str) -> float:
    return 1.0 if name == "simulated" else REAL_WEIGHT.get(name, OTHER_REAL_WEIGHT)


def _class_weight(tables: Sequence[TokenTable], names: Sequence[str]) -> torch.Tensor:
    share = sum(
        np.bincount(table.stages, minlength=len(STAGES)) * _weight(name)
        for table, name in zip(tables, names, strict=True)
    )
    return torch.tensor((share.sum() / 5 / np.maximum(share, 1)) ** BALANCE, dtype=torch.float32)


def _spread(tables: Sequence[TokenTable]) -> np.ndarray:
    """Spread of each modality's tokens over all nights."""
    counts = sum(table.present.sum(axis=0) for table in tables)
    squares = sum(
        np.stack(
            [np.square(t.tokens[:, m], dtype=np.float32).sum(axis=0) for m in range(len(counts))]
        )
        for t in tables
    )
    return np.sqrt(squares / np.maximum(counts, 1)[:, None]).astype(np.float32) + 1e-3


def _batch(tables: Sequence[TokenTable], owner: np.ndarray, place: np.ndarray):
    shape = (len(owner), *tables[0].tokens.shape[1:])
    tokens = np.empty(shape, dtype=np.float32)
    present = np.empty(shape[:2], dtype=bool)
    stages = np.empty(len(owner), dtype=np.int64)
    for number, table in enumerate(tables):
        mine = np.flatnonzero(owner == number)
        rows = place[mine]
        tokens[mine] = table.tokens[rows]
        present[mine], stages[mine] = table.present[rows], table.stages[rows]
    return tokens, present, stages


def _drop(present: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A subset of the sensors of each epoch, of any size, never none."""
    kept = present & (rng.random(present.shape) < rng.random((len(present), 1)))
    lost = np.flatnonzero(~kept.any(axis=1))
    kept[lost, (present[lost] * rng.random((len(lost), present.shape[1]))).argmax(axis=1)] = True
    return kept
