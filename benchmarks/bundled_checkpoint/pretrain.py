# SPDX-License-Identifier: BSD-3-Clause
"""Pretrain ``sleep2vec-mini``: InfoNCE between pairs of modalities, on features of whole nights.

Every batch is built around one pair of modalities: windows of ``context_epochs`` of nights that
have both, 15 % of either's tokens masked, InfoNCE against other nights at the same position. A run
that is interrupted goes on from its last state.

    python benchmarks/bundled_checkpoint/pretrain.py --data DIR --work DIR

``--data`` is a folder that holds the public set MMASH (physionet.org/content/mmash) as ``mmash/``;
without it only simulated nights are used.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
from pathlib import Path

import numpy as np
import torch
from card import make_card
from configuration import mini_config
from nights import real_nights, simulated_nights
from store import StoredNight, read_store, write_store
from tqdm import tqdm

from sleep2vec_sklearn import save_checkpoint
from sleep2vec_sklearn.model.sleep2vec import Sleep2Vec
from sleep2vec_sklearn.training.objective import info_nce_loss

MASKED_SHARE = 0.15
MIN_VALID_SHARE = 0.5
WARM_UP_SHARE = 0.05
FLOOR_OF_RATE = 0.1
EMA_DECAY = 0.998
STATE_EVERY = 100


class PairBatches:
    """Random windows of nights that have both modalities of a random pair."""

    def __init__(self, nights: list[StoredNight], names, context: int, batch_size: int, seed: int):
        self.nights = nights
        self.context = context
        self.batch_size = batch_size
        self.max_shift = context // 2
        self.random = np.random.default_rng(seed)
        self.pools = {}
        for pair in itertools.combinations(names, 2):
            pool = [i for i, night in enumerate(nights) if all(m in night.features for m in pair)]
            if len(pool) >= 2:
                self.pools[pair] = np.array(pool)
        self.pairs = list(self.pools)
        weights = np.array([_pair_weight(pair) for pair in self.pairs])
        self.shares = weights / weights.sum()

    def draw(self):
        """A pair, the shift between its windows, and features, validity and mask of both.

        The second view starts ``shift`` epochs after the first. Without it an epoch of a night
        could be told from the others by its place in the window, whatever the sensors show.
        """
        pair = self.pairs[self.random.choice(len(self.pairs), p=self.shares)]
        pool = self.pools[pair]
        chosen = self.random.choice(pool, self.batch_size, replace=len(pool) < self.batch_size)
        shift = int(self.random.integers(-self.max_shift, self.max_shift + 1))
        starts = np.array([self._start(self.nights[i], pair, shift) for i in chosen])
        views = [self._stack(pair[0], chosen, starts), self._stack(pair[1], chosen, starts + shift)]
        return pair, shift, views

    def _start(self, night: StoredNight, pair, shift: int) -> int:
        first = max(-shift, 0)
        last = max(night.n_epochs - self.context - max(shift, 0), first)
        both = night.valid[pair[0]] & night.valid[pair[1]]
        for _ in range(8):
            start = int(self.random.integers(first, last + 1))
            if both[start : start + self.context].mean() >= MIN_VALID_SHARE:
                break
        return start

    def _stack(self, name, chosen, starts):
        width = self.nights[chosen[0]].features[name].shape[1]
        features = np.zeros((len(chosen), self.context, width), dtype=np.float32)
        valid = np.zeros(features.shape[:2], dtype=bool)
        for row, (i, start) in enumerate(zip(chosen, starts, strict=True)):
            window = self.nights[i].features[name][start : start + self.context]
            features[row, : len(window)] = window
            valid[row, : len(window)] = self.nights[i].valid[name][start : start + self.context]
        masked = self.random.random(valid.shape) < MASKED_SHARE
        return torch.from_numpy(features), torch.from_numpy(valid), torch.from_numpy(masked)


def _pair_weight(pair: tuple[str, str]) -> float:
    """Wearable and cardiac pairs twice as often, since most real sensors are of that kind."""
    return 2.0 if {"ibi", "actigraphy"} & set(pair) else 1.0


def disturb(network: Sleep2Vec, name: str, features: torch.Tensor, options) -> torch.Tensor:
    """Another amplifier and another moment: noise on every feature, an offset for the window.

    Both views get their own, so that they agree on states of sleep and not on single epochs.
    In units of a feature's standard deviation over the training nights.
    """
    tokenizer = network.tokenizers[name]
    if not hasattr(tokenizer, "feature_std"):
        return features
    noise = options.noise * torch.randn_like(features)
    offset = options.offset * torch.randn(len(features), 1, features.shape[2])
    return features + tokenizer.feature_std * (noise + offset)


def set_feature_statistics(network: Sleep2Vec, nights: list[StoredNight]) -> None:
    """Standardise every tokenizer's features by their mean and deviation over valid epochs."""
    for name, tokenizer in network.tokenizers.items():
        if hasattr(tokenizer, "set_statistics"):
            rows = [n.features[name][n.valid[name]][::4] for n in nights if name in n.features]
            rows = np.concatenate(rows).astype(np.float64)
            tokenizer.set_statistics(
                torch.from_numpy(rows.mean(0)).float(), torch.from_numpy(rows.std(0)).float()
            )


def step_loss(network: Sleep2Vec, pair, shift: int, views, options):
    """Loss and accuracy of one batch, on the epochs that both windows hold."""
    projected = []
    for name, (features, valid, masked) in zip(pair, views, strict=True):
        hidden_positions = masked | ~valid
        embed = getattr(network.tokenizers[name], "embed", None)
        source = network.tokenize if embed is None else network.embed_features
        features = disturb(network, name, features, options)
        tokens = source(name, features, missing=hidden_positions)
        projected.append(network.project(network.encode(tokens, valid), valid))
    length = views[0][1].shape[1] - abs(shift)
    offsets = (max(shift, 0), max(-shift, 0))
    first, second = (
        p[:, offset : offset + length] for p, offset in zip(projected, offsets, strict=True)
    )
    both = views[0][1][:, offsets[0] :][:, :length] & views[1][1][:, offsets[1] :][:, :length]
    return info_nce_loss(
        first, second, temperature=options.temperature, valid=both, negatives=options.negatives
    )


def learning_rate(step: int, options) -> float:
    """Linear warm-up, then a cosine to a tenth."""
    warm_up = max(int(WARM_UP_SHARE * options.steps), 1)
    if step < warm_up:
        return options.lr * (step + 1) / warm_up
    progress = (step - warm_up) / max(options.steps - warm_up, 1)
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return options.lr * (FLOOR_OF_RATE + (1 - FLOOR_OF_RATE) * cosine)


def make_optimizer(network: Sleep2Vec, options) -> torch.optim.Optimizer:
    decayed = [p for p in network.parameters() if p.ndim >= 2]
    others = [p for p in network.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=options.lr, betas=(0.9, 0.95))


@torch.no_grad()
def update_average(average: Sleep2Vec, network: Sleep2Vec, step: int) -> None:
    """Exponential average of parameters and BatchNorm buffers, short at the start."""
    decay = min(EMA_DECAY, (1 + step) / (10 + step))
    for kept, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new, 1 - decay)
        else:
            kept.copy_(new)


def train(network: Sleep2Vec, nights: list[StoredNight], options, state_path: Path) -> Sleep2Vec:
    """Train, or go on with an interrupted run; returns the averaged network."""
    average = Sleep2Vec.from_state(network.config, network.state_dict())
    optimizer = make_optimizer(network, options)
    batches = PairBatches(
        nights, network.config.names, network.config.context_epochs, options.batch, options.seed
    )
    first_step = load_state(state_path, network, average, optimizer, batches)
    network.train()
    bar = tqdm(range(first_step, options.steps), initial=first_step, total=options.steps)
    running = None
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, options)
        pair, shift, views = batches.draw()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=options.bfloat16):
            loss, accuracy = step_loss(network, pair, shift, views, options)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        update_average(average, network, step)
        values = np.array([loss.item(), accuracy.item()])
        running = values if running is None else 0.98 * running + 0.02 * values
        bar.set_postfix(loss=f"{running[0]:.3f}", accuracy=f"{running[1]:.3f}", refresh=False)
        if (step + 1) % STATE_EVERY == 0 or step + 1 == options.steps:
            save_state(state_path, network, average, optimizer, batches, step + 1)
    return average


def save_state(path: Path, network, average, optimizer, batches, step: int) -> None:
    state = {
        "network": network.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random": json.dumps(batches.random.bit_generator.state),
        "torch_random": torch.get_rng_state(),
        "step": step,
    }
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def load_state(path: Path, network, average, optimizer, batches) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    network.load_state_dict(state["network"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    batches.random.bit_generator.state = json.loads(state["random"])
    torch.set_rng_state(state["torch_random"])
    return state["step"]


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="folder that holds mmash/")
    parser.add_argument("--work", type=Path, required=True, help="folder for features and states")
    parser.add_argument("--name", default="sleep2vec-mini", help="stem of the files written")
    parser.add_argument("--subjects", type=int, default=400, help="simulated subjects")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=48, help="windows per step")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--temperature", type=float, default=0.1)
    parser.add_argument("--noise", type=float, default=0.2, help="on features, in their SD")
    parser.add_argument("--offset", type=float, default=0.2, help="of a window's features")
    negatives = ("recordings", "night", "both")
    parser.add_argument("--negatives", default=negatives[0], choices=negatives)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--context", type=int, default=120, help="epochs per window")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="processes for the features")
    parser.add_argument("--threads", type=int, default=2, help="threads of the training")
    parser.add_argument("--float32", dest="bfloat16", action="store_false")
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    config = mini_config(n_layers=options.layers, context_epochs=options.context)
    groups = {"simulated": simulated_nights(options.subjects)}
    if options.data is not None:
        groups |= real_nights(options.data)
    nights = []
    for group, recordings in groups.items():
        write_store(recordings, options.work / group, config, options.jobs)
        nights += read_store(options.work / group)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    network = Sleep2Vec.from_seed(config, options.seed)
    set_feature_statistics(network, nights)
    average = train(network, nights, options, options.work / f"{options.name}.state")
    card = make_card(options, config, groups, network)
    path = options.work / f"{options.name}.safetensors"
    print(path, save_checkpoint(path, average, config, card=card, dtype="float16"))


if __name__ == "__main__":
    main()
