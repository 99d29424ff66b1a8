# SPDX-License-Identifier: BSD-3-Clause
"""Pretrain ``sleep2vec-mini``: InfoNCE between pairs of modalities, on features of whole nights.

Every batch is built around one pair of modalities: windows of ``context_epochs`` of nights that
have both, 15 % of either's tokens masked, in a third of them the sensor lost for a stretch. InfoNCE
against other nights at the same position; beside it the features of both modalities are foretold.
A run that is interrupted goes on from its last state.

    python benchmarks/bundled_checkpoint/pretrain.py --data DIR --work DIR

``--data`` is a folder that holds the public set MMASH (physionet.org/content/mmash) as ``mmash/``;
without it only simulated nights are used.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from pathlib import Path

import torch
from batches import PairBatches
from card import make_card
from configuration import mini_config
from losses import Foretelling, feature_statistics, step_loss
from nights import real_nights, simulated_nights
from store import StoredNight, read_store, write_store
from tqdm import tqdm

from sleep2vec_sklearn import save_checkpoint
from sleep2vec_sklearn.model.sleep2vec import Sleep2Vec

WARM_UP_SHARE = 0.05
FLOOR_OF_RATE = 0.1
EMA_DECAY = 0.998
STATE_EVERY = 100


def learning_rate(step: int, options) -> float:
    """Linear warm-up, then a cosine to a tenth."""
    warm_up = max(int(WARM_UP_SHARE * options.steps), 1)
    if step < warm_up:
        return options.lr * (step + 1) / warm_up
    progress = (step - warm_up) / max(options.steps - warm_up, 1)
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return options.lr * (FLOOR_OF_RATE + (1 - FLOOR_OF_RATE) * cosine)


def make_optimizer(modules, options) -> torch.optim.Optimizer:
    parameters = [p for module in modules for p in module.parameters()]
    decayed = [p for p in parameters if p.ndim >= 2]
    others = [p for p in parameters if p.ndim < 2]
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
    statistics = feature_statistics(nights, network.config.names)
    for name, tokenizer in network.tokenizers.items():
        if hasattr(tokenizer, "set_statistics"):
            tokenizer.set_statistics(*statistics[name])
    foretelling = Foretelling(network.config.hidden_size, statistics)
    average = Sleep2Vec.from_state(network.config, network.state_dict())
    optimizer = make_optimizer([network, foretelling], options)
    batches = PairBatches(
        nights, network.config.names, network.config.context_epochs, options.batch, options.seed
    )
    modules = {"network": network, "average": average, "foretelling": foretelling}
    first_step = load_state(state_path, modules, optimizer, batches)
    network.train()
    bar = tqdm(range(first_step, options.steps), initial=first_step, total=options.steps)
    running = None
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, options)
        shift, views = batches.draw()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=options.bfloat16):
            loss, parts = step_loss(network, foretelling, shift, views, options)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        update_average(average, network, step)
        running = parts if running is None else 0.98 * running + 0.02 * parts
        shown = zip(("contrast", "own", "other", "accuracy"), running.tolist(), strict=True)
        bar.set_postfix({name: f"{value:.3f}" for name, value in shown}, refresh=False)
        if (step + 1) % STATE_EVERY == 0 or step + 1 == options.steps:
            save_state(state_path, modules, optimizer, batches, step + 1)
    return average


def save_state(path: Path, modules, optimizer, batches: PairBatches, step: int) -> None:
    state = {
        **{name: module.state_dict() for name, module in modules.items()},
        "optimizer": optimizer.state_dict(),
        "random": json.dumps(batches.random.bit_generator.state),
        "torch_random": torch.get_rng_state(),
        "step": step,
    }
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def load_state(path: Path, modules, optimizer, batches: PairBatches) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    for name, module in modules.items():
        module.load_state_dict(state[name])
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
    parser.add_argument("--steps", type=int, default=1700)
    parser.add_argument("--batch", type=int, default=48, help="windows per step")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--temperature", type=float, default=0.1)
    parser.add_argument("--noise", type=float, default=0.2, help="on features, in their SD")
    parser.add_argument("--offset", type=float, default=0.2, help="of a window's features")
    negatives = ("recordings", "night", "both")
    parser.add_argument("--negatives", default=negatives[0], choices=negatives)
    parser.add_argument("--own", type=float, default=1.0, help="weight of own features foretold")
    parser.add_argument("--other", type=float, default=1.0, help="of the other modality's")
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
        nights += read_store(options.work / group, is_real=group != "simulated")
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    network = Sleep2Vec.from_seed(config, options.seed)
    average = train(network, nights, options, options.work / f"{options.name}.state")
    card = make_card(options, config, groups, network)
    path = options.work / f"{options.name}.safetensors"
    print(path, save_checkpoint(path, average, config, card=card, dtype="float16"))


if __name__ == "__main__":
    main()
