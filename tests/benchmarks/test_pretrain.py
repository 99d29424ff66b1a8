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


@pytest.fixture(scope="module")
def batching(bundled):
    return bundled("batches")


@pytest.fixture(scope="module")
def losses(bundled):
    return bundled("losses")


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
        "negatives": "recordings", "seed": 0, "bfloat16": False, "own": 1.0, "other": 1.0,
    }  # fmt: skip
    return SimpleNamespace(**{**given, **changes})


def stored(bundled, name, n_epochs=30, names=NAMES, width=42, seed=0, is_real=False):
    """A night whose features count its epochs in their first column."""
    features, valid = {}, {}
    for k, modality in enumerate(names):
        rows = np.random.default_rng((seed, k)).standard_normal((n_epochs, width))
        rows[:, 0] = np.arange(n_epochs)
        features[modality] = rows.astype(np.float32)
        valid[modality] = np.ones(n_epochs, dtype=bool)
    return bundled("store").StoredNight(name, is_real, features, valid)


@pytest.fixture
def nights(bundled):
    return [stored(bundled, f"n{k}", seed=k) for k in range(6)]


def batches_of(batching, nights, seed=0, batch=4):
    return batching.PairBatches(nights, NAMES, CONTEXT, batch, seed)


def test_a_batch_is_two_windows_of_the_same_nights(batching, nights):
    batches = batches_of(batching, nights)
    for _ in range(20):
        shift, (first, second) = batches.draw()
        assert first.name != second.name
        assert abs(shift) <= CONTEXT // 2
        assert first.features.shape == second.features.shape == (4, CONTEXT, 42)
        assert {v.dtype for v in (first.valid, first.masked, first.lost)} == {torch.bool}
        steps = second.features[:, 0, 0] - first.features[:, 0, 0]
        np.testing.assert_array_equal(steps, [shift] * 4)


def test_windows_are_runs_of_epochs_inside_their_night(batching, nights):
    batches = batches_of(batching, nights)
    starts = set()
    for _ in range(60):
        for view in batches.draw()[1]:
            assert view.valid.all()
            assert (view.features[:, :, 0].diff(dim=1) == 1).all()
            starts |= set(view.features[:, 0, 0].int().tolist())
    assert starts == set(range(30 - CONTEXT + 1))


def test_a_night_shorter_than_a_window_is_filled_up_with_invalid_epochs(batching, bundled):
    nights = [stored(bundled, f"n{k}", n_epochs=5) for k in range(3)]
    batches = batches_of(batching, nights)
    view = batches.draw()[1][0]
    assert view.valid.sum(dim=1).max() <= 5
    assert not view.features[~view.valid].any()


def test_pairs_need_two_nights_that_have_both(batching, bundled):
    nights = [stored(bundled, f"n{k}", names=NAMES[:2]) for k in range(3)]
    nights.append(stored(bundled, "full"))
    batches = batches_of(batching, nights)
    assert batches.pairs == [NAMES[:2]]
    assert batches.pools[NAMES[:2]].tolist() == [0, 1, 2, 3]


def test_no_recording_is_its_own_negative_where_there_are_enough(batching, nights):
    batches = batches_of(batching, nights, batch=6)
    for _ in range(10):
        _, (view, _) = batches.draw()
        assert len({tuple(row[1:4, 5].tolist()) for row in view.features}) >= 5


def test_windows_with_little_signal_are_avoided(batching, nights):
    for night in nights:
        night.valid["ibi"][:15] = False
    batches = batches_of(batching, nights)
    shares = [float(v.valid.float().mean()) for _ in range(40) for v in batches.draw()[1]]
    assert np.mean(shares) > 0.8


def test_about_a_seventh_is_masked(batching, nights):
    batches = batches_of(batching, nights)
    masked = [v.masked.float().mean().item() for _ in range(150) for v in batches.draw()[1]]
    assert np.mean(masked) == pytest.approx(batching.MASKED_SHARE, abs=0.02)


def test_wearable_pairs_come_twice_as_often(batching):
    assert batching._pair_weight(("eeg", "ibi")) == 2 * batching._pair_weight(("eeg", "ecg"))
    assert batching._pair_weight(("eeg", "actigraphy")) == 2


def test_the_same_seed_draws_the_same_batches(batching, nights):
    first, second = (batches_of(batching, nights, seed=3) for _ in range(2))
    for _ in range(3):
        (shift_a, views_a), (shift_b, views_b) = first.draw(), second.draw()
        assert (views_a[0].name, shift_a) == (views_b[0].name, shift_b)
        assert torch.equal(views_a[0].features, views_b[0].features)


def view_of(batching, name, features, valid=None, lost=None):
    everything = torch.ones(features.shape[:2], dtype=torch.bool)
    return batching.View(
        name,
        features,
        everything if valid is None else valid,
        ~everything if lost is None else lost,
        ~everything,
    )


@pytest.fixture
def foretelling(losses, network):
    statistics = {name: (torch.zeros(42), torch.ones(42)) for name in NAMES}
    return losses.Foretelling(network.config.hidden_size, statistics)


@pytest.fixture
def contrasted(losses, monkeypatch):
    """What the contrast was given, by name."""
    seen = {}

    def spy(first, second, **given):
        seen.update(given, first=first, second=second)
        return info_nce_loss(first, second, **given)

    monkeypatch.setattr(losses, "info_nce_loss", spy)
    return seen


@pytest.mark.parametrize("shift", [-3, 0, 3])
def test_only_epochs_that_both_windows_hold_are_compared(
    losses, batching, network, contrasted, monkeypatch, shift
):
    # every epoch projects to what it is: its place in the night
    monkeypatch.setattr(network, "encode", lambda tokens, valid: tokens)
    monkeypatch.setattr(network, "project", lambda hidden, valid: hidden)
    monkeypatch.setattr(network, "embed_features", lambda name, features, missing: features)
    statistics = {name: (torch.zeros(1), torch.ones(1)) for name in NAMES}
    foretelling = losses.Foretelling(1, statistics)
    place = torch.arange(CONTEXT).float().expand(4, -1)[..., None]
    views = [
        view_of(batching, "spo2", place + 10),
        view_of(batching, "ibi", place + 10 + shift),
    ]
    losses.step_loss(network, foretelling, shift, views, options())
    assert contrasted["first"].shape[1] == CONTEXT - abs(shift)
    assert torch.equal(contrasted["first"], contrasted["second"])


def test_an_epoch_is_contrasted_where_both_modalities_are_there_and_not_lost(
    losses, batching, network, foretelling, contrasted
):
    features = torch.randn(4, CONTEXT, 42, generator=torch.Generator().manual_seed(0))
    first, second, lost = (torch.ones(4, CONTEXT, dtype=torch.bool) for _ in range(3))
    first[:, 1], second[:, 6], lost[:, :7] = False, False, False
    views = [
        view_of(batching, "spo2", features, first),
        view_of(batching, "ibi", features, second, lost),
    ]
    losses.step_loss(network.eval(), foretelling, 0, views, options())
    assert contrasted["valid"][0].tolist() == [True, False, True, True, True, True, False, False]


def test_a_lost_epoch_cannot_be_seen(losses, batching, network, foretelling):
    features = torch.randn(4, CONTEXT, 42, generator=torch.Generator().manual_seed(0))
    changed = features.clone()
    changed[:, :3] += 5
    lost = torch.zeros(4, CONTEXT, dtype=torch.bool)
    lost[:, :3] = True
    hidden = [
        losses._hidden(
            network.eval(), foretelling, view_of(batching, "ibi", f, None, lost), options()
        )
        for f in (features, changed)
    ]
    assert torch.equal(*hidden)


def test_lost_epochs_are_foretold_and_missing_ones_are_not(losses, batching, network, foretelling):
    features = torch.zeros(2, CONTEXT, 42)
    gap = torch.zeros(2, CONTEXT, dtype=torch.bool)
    gap[:, 2] = True
    losses_seen = []
    for valid, lost in ((~gap, None), (None, gap)):
        views = [view_of(batching, name, features.clone(), valid, lost) for name in NAMES[:2]]
        for view in views:
            view.features[:, 2] = 3.0
        _, parts = losses.step_loss(network.eval(), foretelling, 0, views, options())
        losses_seen.append(parts[1])
    assert losses_seen[1] > losses_seen[0] + 0.3


def test_features_are_foretold_in_standard_deviations(losses):
    statistics = {"ibi": (torch.tensor([10.0, 0.0]), torch.tensor([5.0, 1.0]))}
    foretelling = losses.Foretelling(3, statistics)
    for parameter in foretelling.parameters():
        parameter.data.zero_()
    features = torch.tensor([[[20.0, 0.0], [10.0, 100.0]]])
    counted = torch.tensor([[True, False]])
    loss = foretelling(torch.zeros(1, 2, 3), "ibi", features, counted)
    # two deviations off: Huber gives 2 - 0.5, halved by the other feature, which is right
    assert loss.item() == pytest.approx(0.75)


def test_weights_of_zero_leave_the_contrast_alone(losses, batching, network, foretelling):
    features = torch.randn(4, CONTEXT, 42, generator=torch.Generator().manual_seed(0))
    views = [view_of(batching, name, features) for name in NAMES[:2]]
    given = options(own=0.0, other=0.0)
    loss, parts = losses.step_loss(network.eval(), foretelling, 0, views, given)
    assert loss.item() == pytest.approx(parts[0].item())
    assert parts[1] > 0
    assert parts[2] > 0


def test_learning_rates_warm_up_and_fall_to_a_tenth(pretrain):
    rates = [pretrain.learning_rate(step, options()) for step in range(100)]
    assert rates[:5] == pytest.approx([2e-4, 4e-4, 6e-4, 8e-4, 1e-3])
    assert rates[5] == pytest.approx(1e-3)
    assert all(a > b for a, b in pairwise(rates[5:]))
    assert rates[-1] == pytest.approx(1e-4, rel=0.02)


def test_disturbance_is_in_standard_deviations_and_an_offset_holds_for_a_window(losses):
    features, std = torch.zeros(300, CONTEXT, 42), torch.full((42,), 5.0)
    with torch.random.fork_rng(devices=[]):
        noise = losses.disturb(features, std, options(noise=0.2))
        offset = losses.disturb(features, std, options(offset=0.4))
    assert noise.std().item() == pytest.approx(1.0, rel=0.05)
    assert offset.std().item() == pytest.approx(2.0, rel=0.05)
    assert torch.equal(offset[:, 0], offset[:, -1])
    assert torch.equal(losses.disturb(features, std, options()), features)


def test_statistics_are_over_valid_epochs(losses, nights):
    for night in nights:
        night.valid["spo2"][10:] = False
        night.features["spo2"][10:] = 1e9
    mean, std = losses.feature_statistics(nights, NAMES)["spo2"]
    rows = np.concatenate([n.features["spo2"][:10][::4] for n in nights])
    np.testing.assert_allclose(mean, rows.mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(std, rows.std(axis=0), rtol=1e-4)


def test_only_matrices_are_decayed(pretrain, network):
    decayed, others = pretrain.make_optimizer([network], options()).param_groups
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


def test_training_lowers_the_contrast_of_views_that_agree(
    pretrain, losses, batching, foretelling, config, bundled, tmp_path
):
    nights = []
    for k in range(6):
        night = stored(bundled, f"n{k}", seed=k)
        for name in NAMES[1:]:
            night.features[name][:] = night.features[NAMES[0]]
        nights.append(night)
    network = Sleep2Vec.from_seed(config, 0)
    shift, views = batches_of(batching, nights, seed=9, batch=6).draw()
    views = [dataclasses.replace(view, lost=torch.zeros_like(view.lost)) for view in views]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        before, _ = losses.step_loss(
            network.train(), foretelling, shift, views, options(own=0, other=0)
        )
        pretrain.train(network, nights, options(steps=40, batch=6, lr=3e-3), tmp_path / "s")
        after, _ = losses.step_loss(network, foretelling, shift, views, options(own=0, other=0))
    assert after < before
