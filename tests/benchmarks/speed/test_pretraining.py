# SPDX-License-Identifier: BSD-3-Clause
"""The steps that are timed against each other: they do the same."""

from functools import partial
from multiprocessing import Pipe
from types import SimpleNamespace

import numpy as np
import pytest
from torch.utils.flop_counter import FlopCounterMode

import sleep2vec_sklearn
from benchmarks.speed import pretraining
from benchmarks.speed.pretraining import make_batch, our_step, transformers_step, without_dropout
from sleep2vec_sklearn import make_sleep_cohort
from sleep2vec_sklearn.model.config import EncoderConfig, ModalityConfig, TokenizerConfig
from sleep2vec_sklearn.recordings import MODALITIES


@pytest.fixture(scope="module")
def config():
    """One layer of 32, two modalities, nothing dropped."""
    modalities = tuple(
        ModalityConfig(name, MODALITIES[name].conditioning, TokenizerConfig("sundial", 32))
        for name in pretraining.PAIR
    )
    return without_dropout(EncoderConfig(modalities, 32, 1, 4, 64))


@pytest.fixture(scope="module")
def batch(config):
    return make_batch(config, pretraining.PAIR, 4, 10)


def test_both_steps_have_equal_losses(config, batch):
    pytest.importorskip("transformers")
    ours, theirs = our_step(config, "float32"), transformers_step(config)
    losses = np.array([[ours(batch), theirs(batch)] for _ in range(4)])
    np.testing.assert_allclose(losses[:, 0], losses[:, 1], atol=1e-4)
    assert (np.diff(losses, axis=0) < -1e-4).all()


def test_batch_is_masked_and_weighted(config, batch):
    assert batch.pair == "-".join(pretraining.PAIR)
    assert [int(view.masked.sum()) for view in batch.views] == [4, 4]
    weights, history = batch.weights
    assert weights.std() > 0.1
    assert not history.any()


def test_operations_match_torch_counter(config, batch):
    step = our_step(config, "float32")
    with FlopCounterMode(display=False) as counter:
        step(batch)
    products_of_loss = 3 * 2 * 10 * 4 * 4 * config.projection.out_size
    counted = counter.get_total_flops() - products_of_loss
    assert pretraining.step_flops(config, 4, 10) == pytest.approx(counted, rel=0.02)


@pytest.mark.parametrize("variant", pretraining.VARIANTS)
def test_worker_reports_seconds_and_loss(config, monkeypatch, variant):
    if variant == pretraining.VARIANTS[0]:
        pytest.importorskip("transformers")
    monkeypatch.setattr(pretraining, "dense_config", lambda n_layers: config)
    monkeypatch.setattr(pretraining.torch, "set_num_threads", lambda n: None)
    here, there = Pipe()
    for request in ("step", "step", "end"):
        here.send(request)
    pretraining._serve(there, variant, 4, 10, n_layers=1, threads=1)
    assert here.recv() == "ready"
    (_, first), (seconds, second) = here.recv(), here.recv()
    assert second < first
    assert seconds > 0
    assert 0.05 < here.recv() < 100


def test_ratios_are_to_first_variant(monkeypatch):
    seconds = dict(
        zip(pretraining.VARIANTS, ([9, 9, 6, 8, 4], [9, 9, 3, 2, 2], [9, 9, 1, 2, 2]), strict=True)
    )
    losses = dict(zip(pretraining.VARIANTS, (1.0, 1.5, 0.75), strict=True))

    class Worker:
        def __init__(self, name, *settings):
            self.name, self.seconds = name, iter(seconds[name])

        def ask(self, what):
            return next(self.seconds), losses[self.name]

        def close(self):
            return 2.5

    monkeypatch.setattr(pretraining, "_Worker", Worker)
    table = pretraining.measure("8x120", SimpleNamespace(steps=3))
    assert table["times as fast"].tolist() == [1, 2, 4]
    assert table["seconds"].tolist() == [6, 2, 2]
    assert table["largest difference"].tolist() == [0, 0.5, 0.25]
    assert set(table["windows"]) == {8}


def test_weights_as_share_of_step():
    text = pretraining.describe_weights(1000.0)
    assert text.startswith("weights at batch 320: ")
    assert text.endswith("a bfloat16 step of 320000 s")


def test_waiting_with_and_without_prefetch(monkeypatch):
    small = partial(sleep2vec_sklearn.Sleep2VecPretrainer, batch_size=8)
    monkeypatch.setattr(sleep2vec_sklearn, "Sleep2VecPretrainer", small)
    nights = make_sleep_cohort(
        8, hours=0.25, modalities=["ibi", "spo2"], n_sites=1, site_kinds=["laboratory"],
        missing=0, random_state=0,
    )  # fmt: skip
    table = pretraining.measure_waiting(nights, 2)
    assert table["mini, workers"].tolist() == [0, 1]
    assert table["share waiting"].between(0, 1).all()
    assert (table["seconds"] > 0).all()
