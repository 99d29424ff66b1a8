# SPDX-License-Identifier: BSD-3-Clause
"""The training of the bundled encoder, on made-up features of a tiny network."""

import dataclasses
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sleep2vec_sklearn.model import Sleep2Vec
from sleep2vec_sklearn.training import info_nce_loss

NAMES = ("effort", "spo2", "ibi")
CONTEXT = 8


@pytest.fixture(scope="module")
def pretrain(bundled):
    return bundled("pretrain")


@pytest.fixture
def config(small_config):
    modalities = tuple(m for m in small_config.modalities if m.name in NAMES)
    return dataclasses.replace(small_config, modalities=modalities, cls=False, dropout=0.0)


@pytest.fixture
def network(config):
    return Sleep2Vec.from_seed(config, 0)


def options(**changes):
    given = {
        "steps": 100, "batch": 4, "lr": 1e-3, "temperature": 0.2, "noise": 0.0, "offset": 0.0,
        "negatives": "recordings", "seed": 0, "bfloat16": False,
    }  # fmt: skip
    return SimpleNamespace(**{**given, **changes})


def stored(bundled, name, n_epochs=30, names=NAMES, width=42, seed=0):
    """A night whose features count its epochs in their first column."""
    features, valid = {}, {}
    for k, modality in enumerate(names):
        rows = np.random.default_rng((seed, k)).standard_normal((n_epochs, width))
        rows[:, 0] = np.arange(n_epochs)
        features[modality] = rows.astype(np.float32)
        valid[modality] = np.ones(n_epochs, dtype=bool)
    return bundled("store").StoredNight(name, features, valid)


@pytest.fixture
def nights(bundled):
    return [stored(bundled, f"n{k}", seed=k) for k in range(6)]


def batches_of(pretrain, nights, seed=0, batch=4):
    return pretrain.PairBatches(nights, NAMES, CONTEXT, batch, seed)


def test_a_batch_is_two_windows_of_the_same_nights(pretrain, nights):
    batches = batches_of(pretrain, nights)
    for _ in range(20):
        pair, shift, views = batches.draw()
        assert pair[0] != pair[1]
        assert abs(shift) <= CONTEXT // 2
        (first, valid, masked), (second, _, _) = views
        assert first.shape == second.shape == (4, CONTEXT, 42)
        assert valid.dtype == masked.dtype == torch.bool
        np.testing.assert_array_equal(second[:, 0, 0] - first[:, 0, 0], [shift] * 4)


def test_windows_are_runs_of_epochs_inside_their_night(pretrain, nights):
    batches = batches_of(pretrain, nights)
    starts = set()
    for _ in range(60):
        for features, valid, _ in batches.draw()[2]:
            assert valid.all()
            assert (features[:, :, 0].diff(dim=1) == 1).all()
            starts |= set(features[:, 0, 0].int().tolist())
    assert starts == set(range(30 - CONTEXT + 1))


def test_a_night_shorter_than_a_window_is_filled_up_with_invalid_epochs(pretrain, bundled):
    nights = [stored(bundled, f"n{k}", n_epochs=5) for k in range(3)]
    batches = batches_of(pretrain, nights)
    views = batches.draw()[2]
    valid = views[0][1]
    assert valid.sum(dim=1).max() <= 5
    assert not views[0][0][~valid].any()


def test_pairs_need_two_nights_that_have_both(pretrain, bundled):
    nights = [stored(bundled, f"n{k}", names=NAMES[:2]) for k in range(3)]
    nights.append(stored(bundled, "full"))
    batches = batches_of(pretrain, nights)
    assert batches.pairs == [NAMES[:2]]
    assert batches.pools[NAMES[:2]].tolist() == [0, 1, 2, 3]


def test_no_recording_is_its_own_negative_where_there_are_enough(pretrain, nights):
    batches = batches_of(pretrain, nights, batch=6)
    for _ in range(10):
        _, _, ((features, *_), _) = batches.draw()
        assert len({tuple(row[1:4, 5].tolist()) for row in features}) >= 5


def test_windows_with_little_signal_are_avoided(pretrain, nights):
    for night in nights:
        night.valid["ibi"][:15] = False
    batches = batches_of(pretrain, nights)
    shares = [float(v[1].float().mean()) for _ in range(40) for v in batches.draw()[2]]
    assert np.mean(shares) > 0.8


def test_about_a_seventh_is_masked(pretrain, nights):
    batches = batches_of(pretrain, nights)
    masked = [view[2].float().mean().item() for _ in range(150) for view in batches.draw()[2]]
    assert np.mean(masked) == pytest.approx(pretrain.MASKED_SHARE, abs=0.02)


def test_wearable_pairs_come_twice_as_often(pretrain):
    assert pretrain._pair_weight(("eeg", "ibi")) == 2 * pretrain._pair_weight(("eeg", "ecg"))
    assert pretrain._pair_weight(("eeg", "actigraphy")) == 2


def test_the_same_seed_draws_the_same_batches(pretrain, nights):
    first, second = (batches_of(pretrain, nights, seed=3) for _ in range(2))
    for _ in range(3):
        (a, shift_a, views_a), (b, shift_b, views_b) = first.draw(), second.draw()
        assert (a, shift_a) == (b, shift_b)
        assert torch.equal(views_a[0][0], views_b[0][0])


@pytest.mark.parametrize("shift", [-3, 0, 3])
def test_only_epochs_that_both_windows_hold_are_compared(pretrain, network, shift, monkeypatch):
    seen = {}

    def spy(first, second, **given):
        seen.update(given, first=first, second=second)
        return info_nce_loss(first, second, **given)

    monkeypatch.setattr(pretrain, "info_nce_loss", spy)
    # every epoch projects to what it is: its place in the night
    monkeypatch.setattr(network, "encode", lambda tokens, valid: tokens)
    monkeypatch.setattr(network, "project", lambda hidden, valid: hidden)
    monkeypatch.setattr(network, "embed_features", lambda name, features, missing: features)
    place = torch.arange(CONTEXT).float().expand(4, -1)[..., None]
    everything, nothing = (torch.full((4, CONTEXT), b) for b in (True, False))
    views = [(place + 10, everything, nothing), (place + 10 + shift, everything, nothing)]
    pretrain.step_loss(network, ("spo2", "ibi"), shift, views, options())
    assert seen["first"].shape[1] == CONTEXT - abs(shift)
    assert torch.equal(seen["first"], seen["second"])


def test_an_epoch_counts_where_both_modalities_are_there(pretrain, network, monkeypatch):
    seen = {}

    def spy(first, second, **given):
        seen.update(given)
        return info_nce_loss(first, second, **given)

    monkeypatch.setattr(pretrain, "info_nce_loss", spy)
    features = torch.randn(4, CONTEXT, 42, generator=torch.Generator().manual_seed(0))
    first, second, masked = (torch.ones(4, CONTEXT, dtype=torch.bool) for _ in range(3))
    first[:, 1], second[:, 6] = False, False
    views = [(features, first, ~masked), (features, second, ~masked)]
    network.eval()
    pretrain.step_loss(network, ("spo2", "ibi"), 0, views, options())
    assert seen["valid"][0].tolist() == [True, False, True, True, True, True, False, True]


def test_learning_rates_warm_up_and_fall_to_a_tenth(pretrain):
    rates = [pretrain.learning_rate(step, options()) for step in range(100)]
    assert rates[:5] == pytest.approx([2e-4, 4e-4, 6e-4, 8e-4, 1e-3])
    assert rates[5] == pytest.approx(1e-3)
    assert all(a > b for a, b in pairwise(rates[5:]))
    assert rates[-1] == pytest.approx(1e-4, rel=0.02)


def test_disturbance_is_in_standard_deviations_and_an_offset_holds_for_a_window(pretrain, network):
    tokenizer = network.tokenizers["spo2"]
    tokenizer.set_statistics(torch.zeros(42), torch.full((42,), 5.0))
    features = torch.zeros(300, CONTEXT, 42)
    with torch.random.fork_rng(devices=[]):
        noise = pretrain.disturb(network, "spo2", features, options(noise=0.2))
        offset = pretrain.disturb(network, "spo2", features, options(offset=0.4))
    assert noise.std().item() == pytest.approx(1.0, rel=0.05)
    assert offset.std().item() == pytest.approx(2.0, rel=0.05)
    assert torch.equal(offset[:, 0], offset[:, -1])
    assert torch.equal(pretrain.disturb(network, "spo2", features, options()), features)


def test_statistics_are_over_valid_epochs(pretrain, network, nights):
    for night in nights:
        night.valid["spo2"][10:] = False
        night.features["spo2"][10:] = 1e9
    pretrain.set_feature_statistics(network, nights)
    rows = np.concatenate([n.features["spo2"][:10][::4] for n in nights])
    mean = network.tokenizers["spo2"].feature_mean
    np.testing.assert_allclose(mean, rows.mean(axis=0), rtol=1e-4, atol=1e-5)


def test_only_matrices_are_decayed(pretrain, network):
    decayed, others = pretrain.make_optimizer(network, options()).param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.01, 0.0)
    assert all(p.ndim >= 2 for p in decayed["params"])
    assert all(p.ndim < 2 for p in others["params"])
    n_parameters = len(list(network.parameters()))
    assert len(decayed["params"]) + len(others["params"]) == n_parameters


def test_the_average_follows_parameters_and_buffers(pretrain, config):
    network, average = (Sleep2Vec.from_seed(config, seed) for seed in (0, 1))
    norms = [n.projection.output_norm for n in (network, average)]
    norms[0].running_mean.fill_(10)
    norms[0].num_batches_tracked.fill_(7)
    before = average.masks["ibi"].clone() * 0
    average.masks["ibi"].data.copy_(before)
    pretrain.update_average(average, network, step=0)
    torch.testing.assert_close(norms[1].running_mean, torch.full((8,), 9.0))
    assert norms[1].num_batches_tracked == 7
    torch.testing.assert_close(average.masks["ibi"].data, 0.9 * network.masks["ibi"].data)
    kept = norms[1].running_mean.clone()
    pretrain.update_average(average, network, step=10**6)
    torch.testing.assert_close(norms[1].running_mean, kept + 0.002 * (10 - kept))


def test_an_interrupted_run_ends_as_one_that_was_not(
    pretrain, config, nights, tmp_path, monkeypatch
):
    # the schedule depends on the number of steps, which is what is cut short here
    monkeypatch.setattr(pretrain, "learning_rate", lambda step, given: given.lr)
    ends = []
    for stops in ((4,), (2, 4)):
        path = tmp_path / f"{len(stops)}.state"
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            for steps in stops:
                network = Sleep2Vec.from_seed(config, 0)
                given = options(noise=0.2, steps=steps)
                average = pretrain.train(network, nights, given, path)
        ends.append(average.state_dict())
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])


def test_training_lowers_the_loss_of_views_that_agree(pretrain, config, bundled, tmp_path):
    nights = []
    for k in range(6):
        night = stored(bundled, f"n{k}", seed=k)
        for name in NAMES[1:]:
            night.features[name][:] = night.features[NAMES[0]]
        nights.append(night)
    network = Sleep2Vec.from_seed(config, 0)
    pair, shift, views = batches_of(pretrain, nights, seed=9, batch=6).draw()
    with torch.random.fork_rng(devices=[]):
        before, _ = pretrain.step_loss(network.train(), pair, shift, views, options())
        pretrain.train(network, nights, options(steps=40, batch=6, lr=3e-3), tmp_path / "s")
        after, _ = pretrain.step_loss(network, pair, shift, views, options())
    assert after < before
