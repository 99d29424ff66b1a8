# SPDX-License-Identifier: BSD-3-Clause
"""A step of pretraining at the authors' size, against the same step through transformers.

``python -m benchmarks.speed.pretraining [--steps 4] [--threads 2] [--layers 12] [--keep-memory]
[--sizes 8x120 2x960]``

Every variant is a process of its own, so that its peak memory is its own; they take turns at the
steps of one batch, so that a change of the machine's speed meets all of them. Then the weights of
DASH-InfoNCE at the paper's batch, and the share of the default pretrainer's steps that is spent
waiting for windows of a store of features. With a GPU, steps of a larger batch there.

Both take the same batch from the same weights: tokens of two modalities, the encoder, the
projection head, DASH-InfoNCE, AdamW with decay groups, clipping, and the moving average. Dropout is
0 and the masked epochs are the batch's, so that the losses can be compared.
"""

from __future__ import annotations

import argparse
import copy
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from sleep2vec_sklearn._torch import decay_groups
from sleep2vec_sklearn.model.config import EncoderConfig, ProjectionConfig
from sleep2vec_sklearn.model.network import Sleep2Vec
from sleep2vec_sklearn.pretraining import Content, DashObjective, Demography
from sleep2vec_sklearn.pretraining._module import PretrainingLoss, PretrainingModule
from sleep2vec_sklearn.pretraining._net import PretrainingNet, StepBatch
from sleep2vec_sklearn.pretraining._sampling import PairBatch, as_view, draw_masks

from .encoder import dense_config, peak_flops, roformer_twin

PAIR = ("ecg", "ibi")
PAPER_BATCH = 320
UNTIMED = 2
GPU_WINDOWS, GPU_CONTEXT = 64, 120
# read by the C library of Linux when a process starts
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000"}
VARIANTS = ("transformers, eager, float32", "this library, float32", "this library, bfloat16")


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=4, help="timed, after two that are not")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--sizes", nargs="+", default=["8x120", "2x960"], help="windows x epochs")
    parser.add_argument("--keep-memory", action="store_true", help="never give memory back")
    parser.add_argument("--nights", type=int, default=48, help="of the store")
    parser.add_argument("--store-steps", type=int, default=60)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.keep_memory:
        os.environ |= KEEP_MEMORY
    table = pd.concat([measure(size, options) for size in options.sizes])
    kept = ", memory kept" if options.keep_memory else ""
    print(f"{options.layers} layers, {'-'.join(PAIR)}, {options.steps} steps in turns{kept}")
    print(table.to_string(index=False, float_format=lambda value: f"{value:.4g}"))
    ours = table[table["variant"] == VARIANTS[-1]].iloc[0]
    print(describe_weights(ours["seconds"] / int(ours["windows"])))
    if options.nights:
        waiting = measure_waiting(simulate(options.nights), options.store_steps)
        print(waiting.round(4).to_string(index=False))
    print(measure_gpu(options) if torch.cuda.is_available() else "no GPU here")


def measure(size: str, options) -> pd.DataFrame:
    """Rows of one batch: seconds, ratio to the first variant, loss, peak memory."""
    n_windows, context = map(int, size.split("x"))
    workers = {name: _Worker(name, n_windows, context, options) for name in VARIANTS}
    seconds = {name: [] for name in VARIANTS}
    losses = {name: [] for name in VARIANTS}
    for _ in range(UNTIMED + options.steps):
        for name, worker in workers.items():
            taken, loss = worker.ask("step")
            seconds[name].append(taken)
            losses[name].append(loss)
    peaks = {name: worker.close() for name, worker in workers.items()}
    reference = VARIANTS[0]
    times = {name: np.array(values[UNTIMED:]) for name, values in seconds.items()}
    return pd.DataFrame(
        {
            "windows": n_windows,
            "epochs": context,
            "variant": name,
            "seconds": np.median(times[name]),
            "times as fast": np.median(times[reference] / times[name]),
            "first loss": losses[name][0],
            "largest difference": np.abs(np.subtract(losses[name], losses[reference])).max(),
            "peak GiB": peaks[name],
        }
        for name in VARIANTS
    )


class _Worker:
    """A process that takes a step of one variant when it is asked to."""

    def __init__(self, variant: str, n_windows: int, context: int, options):
        here = multiprocessing.get_context("spawn")
        self._pipe, there = here.Pipe()
        settings = (there, variant, n_windows, context, options.layers, options.threads)
        self._process = here.Process(target=_serve, args=settings, daemon=True)
        self._process.start()
        there.close()
        self._pipe.recv()

    def ask(self, what: str):
        """What the process answers."""
        self._pipe.send(what)
        return self._pipe.recv()

    def close(self) -> float:
        """End the process; its peak memory in GiB."""
        peak = self.ask("end")
        self._process.join()
        return peak


def _serve(pipe, variant: str, n_windows: int, context: int, n_layers: int, threads: int) -> None:
    torch.set_num_threads(threads)
    config = without_dropout(dense_config(n_layers))
    batch = make_batch(config, PAIR, n_windows, context)
    if variant == VARIANTS[0]:
        step = transformers_step(config)
    else:
        step = our_step(config, variant.rsplit(" ", 1)[1])
    pipe.send("ready")
    while pipe.recv() == "step":
        started = time.perf_counter()
        loss = step(batch)
        pipe.send((time.perf_counter() - started, loss))
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


def describe_weights(seconds_per_window: float) -> str:
    """What :func:`dash_weights` costs at the paper's batch, beside a step of that batch."""
    sleepers = demography(PAPER_BATCH)
    places = np.arange(PAPER_BATCH)
    taken = []
    for _ in range(20):
        started = time.perf_counter()
        sleepers.take(places).weights()
        taken.append(time.perf_counter() - started)
    share = np.median(taken) / (seconds_per_window * PAPER_BATCH)
    return (
        f"weights at batch {PAPER_BATCH}: {1e3 * np.median(taken):.2f} ms, {100 * share:.4f} % of "
        f"a bfloat16 step of {seconds_per_window * PAPER_BATCH:.0f} s"
    )


def simulate(n_nights: int):
    """Laboratory nights of 8 h and nine modalities."""
    from sleep2vec_sklearn import make_sleep_cohort

    return make_sleep_cohort(
        n_nights, hours=8, n_sites=1, site_kinds=["laboratory"], missing=0, random_state=0
    )


def measure_waiting(nights, n_steps: int) -> pd.DataFrame:
    """The default pretrainer on a store of features: seconds of a step, and of waiting in it."""
    from sleep2vec_sklearn import Sleep2VecPretrainer
    from sleep2vec_sklearn.pretraining import prepare_cohort

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        store = prepare_cohort(nights, Path(folder) / "store", content="features")
        for n_workers in (0, 1):
            pretrainer = Sleep2VecPretrainer(
                max_epochs=1,
                steps_per_epoch=n_steps,
                validation=None,
                n_workers=n_workers,
                random_state=0,
            ).fit(store)
            steps = pretrainer.history_[0, "batches", :, ("data_wait", "step_time")]
            waited, spent = np.array(steps).T
            rows.append(
                {
                    "mini, workers": n_workers,
                    "steps": n_steps,
                    "windows": pretrainer.batch_size,
                    "precision": pretrainer.precision_,
                    "seconds": np.median(spent),
                    "share waiting": waited.sum() / spent.sum(),
                    "largest wait": waited.max(),
                }
            )
    return pd.DataFrame(rows)


def measure_gpu(options) -> str:
    """Steps per second there in bfloat16, and the share of its own best matrix product."""
    config = without_dropout(dense_config(options.layers))
    batch = make_batch(config, PAIR, GPU_WINDOWS, GPU_CONTEXT).to("cuda")
    step = our_step(config, "bfloat16", "cuda")
    taken = []
    for _ in range(3 + 10):
        started = time.perf_counter()
        step(batch)
        taken.append(time.perf_counter() - started)
    seconds = np.median(taken[3:])
    peak = peak_flops(torch.bfloat16, "cuda")
    share = step_flops(config, GPU_WINDOWS, GPU_CONTEXT) / seconds / peak
    return (
        f"{torch.cuda.get_device_name()}: {1 / seconds:.2f} steps/s of {GPU_WINDOWS} windows of "
        f"{GPU_CONTEXT} epochs in bfloat16, {100 * share:.0f} % of {peak / 1e12:.0f} TFLOP/s, "
        f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"
    )


def step_flops(config, n_windows: int, context: int) -> float:
    """Multiplications and additions in the matrix products of a step, forward and back.

    The first layers of a tokenizer need no gradient of their input.
    """
    token, hidden = config.token_dim, config.hidden_size
    block = 4 * hidden**2 + 2 * hidden * config.intermediate_size + 2 * context * hidden
    head = config.projection
    shared = token * hidden + hidden * head.hidden_size + head.hidden_size * head.out_size
    widths = {m.name: m.conditioning.width for m in config.modalities}
    tokenizers = [3 * 2 * token * token + 2 * 3 * widths[name] * token for name in PAIR]
    encoder = 3 * 2 * (config.n_layers * block + shared)
    return 2.0 * n_windows * context * (encoder + sum(tokenizers))


LR, WEIGHT_DECAY, BETAS, CLIP, EMA_DECAY = 5e-5, 1e-2, (0.9, 0.95), 1.0, 0.996
TEMPERATURE, MASK_SHARE, PROJECTION = 0.2, 0.15, 128


def without_dropout(config: EncoderConfig) -> EncoderConfig:
    """The same sizes, nothing dropped, and the authors' projection head."""
    modalities = tuple(
        replace(m, tokenizer=replace(m.tokenizer, options={"dropout": 0.0}))
        for m in config.modalities
    )
    head = ProjectionConfig(config.hidden_size, PROJECTION)
    return replace(config, modalities=modalities, dropout=0.0, projection=head)


def demography(n_samples: int, seed: int = 0) -> Demography:
    """Sleepers of ages 20 to 90 from four sites, one night each."""
    random = np.random.default_rng(seed)
    codes = np.arange(n_samples)
    return Demography(
        age=random.uniform(20, 90, n_samples), sex=random.integers(0, 2, n_samples).astype(float),
        site=random.integers(0, 4, n_samples), subject=codes, recording=codes,
    )  # fmt: skip


def make_batch(config: EncoderConfig, pair: Sequence[str], n_windows: int, context: int):
    """Windows of conditioned noise without gaps; what the samples are does not change the time."""
    random = np.random.default_rng(0)
    widths = {m.name: m.conditioning.width for m in config.modalities}
    views = []
    for name in pair:
        values = random.standard_normal((n_windows, context, widths[name]), np.float32)
        valid = np.ones((n_windows, context), dtype=bool)
        views.append(as_view(name, values, valid, masked=draw_masks(random, valid, MASK_SHARE)))
    places = np.arange(n_windows)
    weights = tuple(torch.as_tensor(w).float() for w in demography(n_windows).weights())
    return PairBatch(0, tuple(views), 0, places, 0 * places, slice(None), weights)


def our_step(config: EncoderConfig, precision: str, device: str = "cpu", seed: int = 0) -> Callable:
    """Function of a batch: the loss, after a step of the pretrainer's own net."""
    contents = {m.name: Content.samples(m.conditioning) for m in config.modalities}
    columns = {name: (torch.zeros(c.width), torch.ones(c.width)) for name, c in contents.items()}
    module = PretrainingModule(Sleep2Vec.from_seed(config, seed), contents, columns)
    net = PretrainingNet(
        module,
        PretrainingLoss(DashObjective(TEMPERATURE)),
        lr=LR,
        weight_decay=WEIGHT_DECAY,
        max_grad_norm=CLIP,
        ema_decay=EMA_DECAY,
        precision=precision,
        device=device,
        # the rate stays, and nothing is averaged over an epoch
        callbacks="disable",
    )
    net.initialize()
    net.notify("on_epoch_begin")

    def step(batch: PairBatch) -> float:
        # the net closes what it takes steps from, so a generator
        steps = (StepBatch([batch], time.perf_counter(), 0.0) for _ in range(1))
        net.run_single_epoch(steps, training=True, prefix="train", step_fn=net.train_step)
        return net.history[-1, "batches", -1, "train_loss"]

    return step


class _Upstream(nn.Module):
    """Our network with its encoder replaced, one modality after the other."""

    def __init__(self, network: Sleep2Vec):
        super().__init__()
        self.roformer = roformer_twin(network)
        self.network = network
        del network.encoder

    def forward(self, view) -> torch.Tensor:
        tokens = self.network.tokenize(view.name, view.values, missing=view.replaced)
        embeddings = self.network.input_projection(tokens)
        outputs = self.roformer(inputs_embeds=embeddings, attention_mask=view.seen)
        return self.network.project(outputs.last_hidden_state)


def transformers_step(config: EncoderConfig, device: str = "cpu", seed: int = 0) -> Callable:
    """Function of a batch: the loss, after a step written out with transformers and torch."""
    model = _Upstream(Sleep2Vec.from_seed(config, seed)).to(device).train()
    average = copy.deepcopy(model).requires_grad_(False)
    groups = decay_groups(model.named_parameters(), WEIGHT_DECAY)
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=BETAS)
    objective = DashObjective(TEMPERATURE)

    def step(batch: PairBatch) -> float:
        batch = batch.to(device)
        optimizer.zero_grad()
        first, second = (model(view) for view in batch.views)
        counted = batch.views[0].seen & batch.views[1].seen
        loss, _ = objective.contrast(first, second, counted, batch.weights)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        with torch.no_grad():
            for kept, new in zip(average.parameters(), model.parameters(), strict=True):
                kept.mul_(EMA_DECAY).add_(new, alpha=1 - EMA_DECAY)
        return loss.item()

    return step


if __name__ == "__main__":
    main()
