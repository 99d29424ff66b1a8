# SPDX-License-Identifier: BSD-3-Clause
import dataclasses

import numpy as np
import pytest
import torch

from sleep2vec_sklearn.model import Sleep2Vec, TokenizerConfig
from sleep2vec_sklearn.pretraining import info_nce_loss
from sleep2vec_sklearn.pretraining._module import Objective, PretrainingModule
from sleep2vec_sklearn.pretraining._run import column_statistics, standardise_tokenizers
from sleep2vec_sklearn.pretraining._sampling import (
    Augmentation,
    PairSampler,
    find_pools,
    resolve_shares,
)

NAMES = ("effort", "spo2", "ibi")


@pytest.fixture(params=[False, True], ids=["without CLS", "with CLS"])
def config(small_config, request):
    tokenizer = TokenizerConfig("spectral", 24, {"dropout": 0.0})
    modalities = tuple(
        dataclasses.replace(m, tokenizer=tokenizer)
        for m in small_config.modalities
        if m.name in NAMES
    )
    return dataclasses.replace(small_config, modalities=modalities, dropout=0.0, cls=request.param)


def module_of(config, store, **options):
    statistics = column_statistics(store, NAMES)
    return PretrainingModule(Sleep2Vec.from_seed(config, 0), store.contents, statistics, **options)


def draw(store, number=0, **augmentation):
    pools = find_pools(store, NAMES)
    pools = {pair: pools[pair] for pair in [("spo2", "ibi")]}
    shares = resolve_shares(list(pools), None)
    settings = Augmentation(**augmentation)
    sampler = PairSampler(store, pools, 6, 5, 0, augmentation=settings, shares=shares)
    return sampler.draw(number)


def test_a_step_is_the_contrast_of_the_projections_of_what_is_seen(config, montage_store):
    module = module_of(config, montage_store)
    batch = draw(montage_store, sensor_loss=0.5)
    encoded = module(batch)
    loss, parts = Objective("info_nce", temperature=0.3)(encoded, None)
    network, both = module.network, []
    for view in batch.views:
        tokens = network.embed_features(view.name, view.values, missing=view.replaced)
        hidden = network.encode(tokens, view.seen)
        both.append(network.project(hidden, network.with_cls(view.seen)))
    counted = batch.views[0].seen & batch.views[1].seen
    if config.cls:
        rows = [view.seen.any(dim=1, keepdim=True) for view in batch.views]
        counted = torch.cat([rows[0] & rows[1], counted], dim=1)
    expected, accuracy = info_nce_loss(*both, 0.3, counted)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(parts["accuracy"], accuracy)


def test_shifted_views_are_contrasted_where_they_overlap(config, montage_store):
    module = module_of(config, montage_store).eval()
    batch = next(
        b for b in (draw(montage_store, k, max_shift=4) for k in range(50)) if b.shift == -3
    )
    encoded = module(batch)
    assert encoded.counted.shape == (5, 3 + config.cls)
    view = batch.views[0]
    tokens = module.network.embed_features(view.name, view.values, missing=view.replaced)
    hidden = module.network.encode(tokens, view.seen)
    whole = module.network.project(hidden)
    kept = encoded.projections[0][:, config.cls :][view.seen[:, :3]]
    torch.testing.assert_close(kept, whole[:, config.cls :][:, :3][view.seen[:, :3]])


def test_what_is_hidden_changes_nothing(config, montage_store):
    module = module_of(config, montage_store).eval()
    batch = draw(montage_store, sensor_loss=0.7)
    before = module(batch).projections
    for view in batch.views:
        view.values[view.replaced] = 1e6
    for old, new in zip(before, module(batch).projections, strict=True):
        assert torch.equal(old, new)


@pytest.mark.parametrize("n_seen", [0, 1])
@pytest.mark.parametrize("objective", ["info_nce", "dash"])
def test_a_batch_in_which_next_to_nothing_is_seen_teaches_nothing(
    config, montage_store, n_seen, objective
):
    module = module_of(config, montage_store)
    batch = draw(montage_store)
    for view in batch.views:
        view.valid[:] = False
        view.valid[0, :n_seen] = True
    weights = torch.ones(5, 5), torch.zeros(5, 5)
    loss, _ = Objective(objective)(module(batch), weights)
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is None or not p.grad.any() for p in module.parameters())
    assert all(buffer.isfinite().all() for buffer in module.buffers())


def test_foretold_are_the_columns_in_their_deviations(config, montage_store):
    module = module_of(config, montage_store, foretell=True)
    batch = draw(montage_store)
    for reader in module.readers.values():
        torch.nn.init.zeros_(reader.weight)
        torch.nn.init.zeros_(reader.bias)
    encoded = module(batch)
    errors = []
    for view in batch.views:
        mean, std = column_statistics(montage_store, [view.name])[view.name]
        size = ((view.values - mean) / std).clamp(-4, 4).abs()
        huber = torch.where(size < 1, size.square() / 2, size - 0.5).mean(dim=-1)
        errors.append(huber[view.valid].mean())
    torch.testing.assert_close(encoded.own, sum(errors))
    torch.testing.assert_close(encoded.other, sum(errors))
    loss, parts = Objective("info_nce", prediction=0.5)(encoded, None)
    torch.testing.assert_close(loss, parts["contrast"] + sum(errors))


def test_noise_is_in_deviations_and_in_training_only(config, montage_store):
    batch = draw(montage_store)
    quiet, noisy = (module_of(config, montage_store, noise=n).eval() for n in (0.0, 0.5))
    assert torch.equal(quiet(batch).projections[0], noisy(batch).projections[0])
    noisy.train()
    assert not torch.equal(quiet.train()(batch).projections[0], noisy(batch).projections[0])


def test_statistics_are_those_of_the_valid_epochs(montage_store):
    rows = [
        montage_store.window(night, "ibi", 0, 99)[montage_store.valid(night, "ibi")][::4]
        for night in range(8)
    ]
    rows = np.concatenate(rows).astype(np.float64)
    mean, std = column_statistics(montage_store, ["ibi"])["ibi"]
    np.testing.assert_allclose(mean, rows.mean(axis=0), rtol=1e-4, atol=1e-5)
    varying = rows.std(axis=0) > 1e-3
    np.testing.assert_allclose(std[varying], rows.std(axis=0)[varying], rtol=1e-2)
    assert (std > 0).all()


def test_tokenizers_are_standardised_alike_from_features_and_samples(
    config, montages, montage_store
):
    from sleep2vec_sklearn.pretraining import NightStore, contents_of

    samples = NightStore.from_recordings(montages, contents_of(config, "samples"))
    networks = [Sleep2Vec.from_seed(config, 0) for _ in range(2)]
    for network, store in zip(networks, (montage_store, samples), strict=True):
        standardise_tokenizers(network, store)
    for name in NAMES:
        one, other = (network.tokenizers[name] for network in networks)
        assert not torch.equal(one.feature_mean, torch.zeros_like(one.feature_mean))
        torch.testing.assert_close(one.feature_mean, other.feature_mean, rtol=0.02, atol=0.02)
