# SPDX-License-Identifier: BSD-3-Clause
import dataclasses
import functools
import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sleep2vec_sklearn.model import TokenizerConfig
from sleep2vec_sklearn.pretraining import _distributed as distributed
from sleep2vec_sklearn.pretraining import prepare_cohort
from tests.pretraining import steps
from tests.pretraining.nights import TINY
from tests.pretraining.ranks import Ranks


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    ranks = Ranks(tmp_path_factory.mktemp("ranks"))
    yield ranks
    ranks.close()


@pytest.fixture(scope="module")
def config(small_config):
    """A network without dropout, whose draws would differ from those of one process."""
    tokenizer = TokenizerConfig("spectral", 24, {"dropout": 0.0})
    modalities = tuple(dataclasses.replace(m, tokenizer=tokenizer) for m in small_config.modalities)
    return dataclasses.replace(small_config, modalities=modalities, dropout=0.0)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=3e-6)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("n_rows", [6, 5])
def test_steps_equal_one_process(two_ranks, config, n_rows, padded):
    request = config, ("eeg", "ibi"), n_rows, padded
    expected = steps.network_step(*request)
    assert not any("spo2" in name for name in expected)
    assert "tokenizers.eeg.hidden.weight" in expected
    assert "projection.output_norm.running_var" in expected
    for found in two_ranks(steps.network_step, *request):
        close(found, expected)


def test_ranks_have_equal_bits(two_ranks, config):
    first, second = two_ranks(steps.network_step, config, ("eeg", "spo2"), 5, True)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("n_rows", [2, 4, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.bool])
def test_gathered_rows_keep_order(two_ranks, n_rows, dtype):
    batch = noise(n_rows, 3, 2).to(dtype)
    for found in two_ranks(steps.gathered, batch):
        assert torch.equal(found, batch)


def test_gathered_rows_and_means(two_ranks):
    found = two_ranks(steps.gathered_gradient, noise(5, 2))
    assert [rows[:, 0].tolist() for rows in found] == [[0, 2, 4], [1, 3]]
    expected = steps.mean_over_rows(noise(5))
    for found in two_ranks(steps.mean_over_rows, noise(5)):
        close(found, expected)


@pytest.mark.parametrize("shapes", [[(1, 2), (2, 2)], [(3, 2), (1, 2)], [(2, 2), (2, 3)]])
def test_foreign_rows_are_refused(two_ranks, shapes):
    for message in two_ranks(steps.wrong_share, shapes):
        assert str(shapes) in message
        assert "same batch" in message


@pytest.mark.parametrize("bucket_bytes", [1, 16, 2**20])
def test_missing_gradients_are_zero(two_ranks, bucket_bytes):
    ones, other = torch.ones(2, 3), torch.ones((), dtype=torch.float64)
    gradients = [[ones, None, other, ones.T], [2 * ones, ones[0], None, None]]
    for found in two_ranks(steps.summed, gradients, bucket_bytes):
        *known, unused = found
        assert all(map(torch.equal, known, [3 * ones, ones[0], other, ones.T]))
        assert unused is None


def assert_normalised(two_ranks, rows, owners, **options):
    _, *expected, state = steps.normalised(rows, owners, **options)
    task = functools.partial(steps.normalised, **options)
    for mine, *found, found_state in two_ranks(task, rows, owners):
        close(found, [values[mine] for values in expected])
        close(found_state, state)


@settings(max_examples=15)
@given(owners=st.lists(st.integers(0, 1), min_size=2, max_size=9))
def test_any_split_normalises_alike(two_ranks, owners):
    rows = 3 + noise(len(owners), 4).double()
    assert_normalised(two_ranks, rows, torch.tensor(owners))


@pytest.mark.parametrize(
    "options",
    [{"train": False}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}],
)
def test_batchnorm_options_stay(two_ranks, options):
    assert_normalised(two_ranks, noise(6, 4), torch.tensor([0, 0, 1, 0, 1, 0]), **options)


def test_half_precision_normalises_alike(two_ranks):
    rows, owners = (100 + noise(40, 4)).bfloat16(), torch.arange(40) % 2
    _, expected, gradient, state = steps.normalised(rows, owners)
    for mine, found, found_gradient, found_state in two_ranks(steps.normalised, rows, owners):
        assert found.dtype == found_gradient.dtype == torch.bfloat16
        torch.testing.assert_close(found, expected[mine], rtol=0.02, atol=0.02)
        torch.testing.assert_close(found_gradient, gradient[mine], rtol=0.02, atol=0.02)
        close(found_state["0.running_var"], state["0.running_var"])


def test_modules_and_values_follow(two_ranks):
    assert two_ranks(steps.converted) == [(True, [True, False])] * 2
    assert two_ranks(steps.broadcast) == [(True, {"stop": True})] * 2
    assert all("all ranks have 1" in message for message in two_ranks(steps.too_few_rows))


def test_alone_nothing_changes(monkeypatch):
    rows, norm = noise(4, 3), nn.BatchNorm1d(3)
    assert distributed.gather_rows(rows) is rows
    assert distributed.sum_over_ranks(rows) is rows
    assert distributed.convert_batchnorm(norm) is norm
    assert distributed.broadcast_value(norm) is norm
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with distributed.process_group():
        assert not distributed.is_distributed()


def test_groups_of_one_are_alone(tmp_path):
    options = {"init_method": f"file://{tmp_path / 'meeting'}", "rank": 0, "world_size": 1}
    with distributed.process_group("gloo", **options):
        assert torch.distributed.is_initialized()
        assert not distributed.is_distributed()
    assert not torch.distributed.is_initialized()


@pytest.fixture(scope="module")
def store(tmp_path_factory, montages):
    folder = tmp_path_factory.mktemp("nights")
    prepare_cohort(montages, folder)
    return folder


# rounding differs, and at full rate AdamW makes much of it where gradients are small
SLOWLY = {"lr": 1e-4}
RUNS = [
    {},
    {"batch_size": 3},
    {"cls": True, "objective": "info_nce", "accumulate": 2},
    {"modality_dropout": 0.5, "max_shift": 2, "reconstruction_weight": 1.0, "context_epochs": 30},
]


@pytest.mark.parametrize("parameters", RUNS)
def test_runs_equal_one_process(two_ranks, store, tmp_path, parameters):
    alone, first, second = (tmp_path / name for name in ("alone", "first", "second"))
    expected = steps.pretrained(store, [alone], {**SLOWLY, **parameters})
    assert len(expected[0]) == TINY["max_epochs"] * TINY["steps_per_epoch"]
    for found in two_ranks(steps.pretrained, store, [first, second], {**SLOWLY, **parameters}):
        close(found, expected)
    assert first.exists()
    assert not second.exists()


@pytest.mark.parametrize("alone_at_first", [False, True])
def test_runs_resume_with_other_ranks(two_ranks, store, tmp_path, alone_at_first):
    expected = steps.pretrained(store, [tmp_path / "whole"], SLOWLY)
    parts = [two_ranks, lambda task, *arguments: [task(*arguments)]]
    begin, go_on = reversed(parts) if alone_at_first else parts
    folders = [tmp_path / "seen by the first", tmp_path / "elsewhere"]
    request = steps.pretrained, store, folders, SLOWLY
    assert not any(begin(*request, 5))
    for found in go_on(*request):
        close(found, expected)


def test_failures_reach_all_ranks(two_ranks, store, tmp_path):
    (tmp_path / "state.pt").write_bytes(b"no state")
    first, second = two_ranks(steps.failure, store, {"state_dir": tmp_path})
    assert "state.pt: no state of a run that this version can read" in first
    assert second == f"the process of rank 0 failed: TrainingError: {first}"
    first, second = two_ranks(steps.failing_validation, store)
    assert first == "lost"
    assert second == "the process of rank 0 failed: OSError: lost"


def test_ranks_share_the_folder(two_ranks, store, tmp_path):
    assert two_ranks(steps.failure, store, {"state_dir": tmp_path}) == [None, None]
    assert sorted(os.listdir(tmp_path)) == ["run.lock", "state.pt"]
