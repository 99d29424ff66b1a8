# SPDX-License-Identifier: BSD-3-Clause
"""The module, its statistics, and learning rates of its parts."""

import dataclasses

import numpy as np
import pytest
import torch

from sleep2vec_sklearn._torch import decay_groups
from sleep2vec_sklearn.model import Sleep2Vec, TokenizerConfig
from sleep2vec_sklearn.pretraining import (
    Augmentation,
    DashObjective,
    InfoNCEObjective,
    info_nce_loss,
)
from sleep2vec_sklearn.pretraining._module import (
    PretrainingLoss,
    PretrainingModule,
    check_scales,
    column_statistics,
    parts_of,
    scale_of,
    standardise_tokenizers,
)
from sleep2vec_sklearn.pretraining._net import freeze_parts
from sleep2vec_sklearn.pretraining._sampling import PairSampler, find_pools, resolve_pair_weights

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
    shares = resolve_pair_weights(list(pools), None)
    settings = Augmentation(**augmentation)
    sampler = PairSampler(store, pools, 6, 5, 0, augmentation=settings, probabilities=shares)
    return sampler.draw(number)


def test_steps_contrast_projections(config, montage_store):
    module = module_of(config, montage_store)
    batch = draw(montage_store, modality_dropout=0.5)
    encoded = module(batch)
    loss, parts = PretrainingLoss(InfoNCEObjective(0.3))(encoded, None)
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


def test_shifted_views_overlap(config, montage_store):
    module = module_of(config, montage_store).eval()
    batches = (draw(montage_store, number, max_shift=4) for number in range(50))
    batch = next(batch for batch in batches if batch.shift == -3)
    encoded = module(batch)
    assert encoded.counted.shape == (5, 3 + config.cls)
    view = batch.views[0]
    tokens = module.network.embed_features(view.name, view.values, missing=view.replaced)
    hidden = module.network.encode(tokens, view.seen)
    whole = module.network.project(hidden)
    kept = encoded.projections[0][:, config.cls :][view.seen[:, :3]]
    torch.testing.assert_close(kept, whole[:, config.cls :][:, :3][view.seen[:, :3]])


def test_hidden_values_change_nothing(config, montage_store):
    module = module_of(config, montage_store).eval()
    batch = draw(montage_store, modality_dropout=0.7)
    before = module(batch).projections
    for view in batch.views:
        view.values[view.replaced] = 1e6
    for old, new in zip(before, module(batch).projections, strict=True):
        assert torch.equal(old, new)


@pytest.mark.parametrize("n_seen", [0, 1])
@pytest.mark.parametrize("objective", [InfoNCEObjective(), DashObjective()])
def test_empty_batches_teach_nothing(config, montage_store, n_seen, objective):
    module = module_of(config, montage_store)
    batch = draw(montage_store)
    for view in batch.views:
        view.valid[:] = False
        view.valid[0, :n_seen] = True
    weights = torch.ones(5, 5), torch.zeros(5, 5)
    loss, _ = PretrainingLoss(objective)(module(batch), weights)
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is None or not p.grad.any() for p in module.parameters())
    assert all(buffer.isfinite().all() for buffer in module.buffers())


def test_reconstruction_is_in_deviations(config, montage_store):
    module = module_of(config, montage_store, reconstruct=True)
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
    loss, parts = PretrainingLoss(InfoNCEObjective(reconstruction_weight=0.5))(encoded, None)
    torch.testing.assert_close(loss, parts["contrast"] + sum(errors))


def test_noise_is_for_training(config, montage_store):
    batch = draw(montage_store)
    quiet, noisy = (module_of(config, montage_store, noise=n).eval() for n in (0.0, 0.5))
    assert torch.equal(quiet(batch).projections[0], noisy(batch).projections[0])
    noisy.train()
    assert not torch.equal(quiet.train()(batch).projections[0], noisy(batch).projections[0])


def test_statistics_are_of_valid_epochs(montage_store):
    store = montage_store
    rows = [store.window(k, "ibi", 0, 99)[store.valid(k, "ibi")][::4] for k in range(8)]
    rows = np.concatenate(rows).astype(np.float64)
    mean, std = column_statistics(montage_store, ["ibi"])["ibi"]
    np.testing.assert_allclose(mean, rows.mean(axis=0), rtol=1e-4, atol=1e-5)
    varying = rows.std(axis=0) > 1e-3
    np.testing.assert_allclose(std[varying], rows.std(axis=0)[varying], rtol=1e-2)
    assert (std > 0).all()


def test_tokenizers_are_standardised_alike(config, montages, montage_store):
    from sleep2vec_sklearn.pretraining import NightStore, contents_of

    samples = NightStore.from_recordings(montages, contents_of(config, "samples"))
    networks = [Sleep2Vec.from_seed(config, 0) for _ in range(2)]
    for network, store in zip(networks, (montage_store, samples), strict=True):
        standardise_tokenizers(network, store)
    for name in NAMES:
        one, other = (network.tokenizers[name] for network in networks)
        assert not torch.equal(one.feature_mean, torch.zeros_like(one.feature_mean))
        torch.testing.assert_close(one.feature_mean, other.feature_mean, rtol=0.02, atol=0.02)


def scales_by_name(fitted):
    """Scale of the optimizer's group of every parameter; those in none have 0."""
    groups = fitted.net_.optimizer_.param_groups
    found = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    return {n: found.get(id(p), 0.0) for n, p in fitted.net_.module_.named_parameters()}


def test_parts_are_modalities_or_shared(small_config):
    network = torch.nn.ModuleDict({"network": Sleep2Vec.from_seed(small_config, 0)})
    scales = {part: k + 1.0 for k, part in enumerate(parts_of(small_config))}
    by_name = {name: scale_of(name, scales) for name, _ in network.named_parameters()}
    assert by_name["network.tokenizers.ibi.hidden.weight"] == scales["ibi"]
    assert by_name["network.masks.ibi"] == scales["ibi"]
    assert by_name["network.cls_token"] == scales["cls_token"]
    assert by_name["network.encoder.norm.weight"] == scales["encoder"]
    assert set(by_name.values()) == set(scales.values())
    assert scale_of("readers.ibi.weight", scales) == 1


def test_groups_have_their_rates(small_config):
    network = torch.nn.ModuleDict({"network": Sleep2Vec.from_seed(small_config, 0)})
    groups = decay_groups(
        network.named_parameters(), 0.3, lambda name: scale_of(name, {"encoder": 0.1, "ibi": 0.0})
    )
    assert [(g["lr_scale"], g["weight_decay"]) for g in groups] == [
        (1, 0.3), (1, 0), (0.1, 0.3), (0.1, 0)
    ]  # fmt: skip
    counted = sum(len(group["params"]) for group in groups)
    frozen = [n for n, _ in network.named_parameters() if scale_of(n, {"ibi": 0.0}) == 0]
    assert counted == len(list(network.parameters())) - len(frozen)
    names = {id(p): name for name, p in network.named_parameters()}
    assert all(p.ndim == 2 for group in groups[::2] for p in group["params"])
    not_decayed = {names[id(p)] for group in groups[1::2] for p in group["params"]}
    some = {"cls_token", "masks.eeg", "encoder.norm.weight", "input_projection.bias"}
    assert not_decayed >= {f"network.{name}" for name in some}


def test_parts_share_the_schedule(pretrainer, montage_store):
    fitted = pretrainer(lr_scales={"encoder": 0.1, "ibi": 0.5}).fit(montage_store)
    groups = fitted.net_.optimizer_.param_groups
    rate = fitted.history_[-1, "batches", -1, "lr"]
    assert {g["lr_scale"] for g in groups} == {1, 0.5, 0.1}
    assert all(g["lr"] == pytest.approx(rate * g["lr_scale"]) for g in groups)
    found = scales_by_name(fitted)
    assert found["network.encoder.norm.weight"] == 0.1
    assert found["network.masks.ibi"] == found["network.tokenizers.ibi.hidden.weight"] == 0.5
    assert found["network.projection.hidden.weight"] == found["network.masks.spo2"] == 1


def test_scales_of_one_change_nothing(pretrainer, montage_store):
    plain, scaled = (
        pretrainer(lr_scales=scales).fit(montage_store).checkpoint().sha256
        for scales in (None, {"encoder": 1.0})
    )
    assert plain == scaled


def test_frozen_parts_stay_equal(pretrainer, montage_store):
    scales = {"encoder": 0.0, "projection": 0.0, "ibi": 0}
    first = pretrainer(max_epochs=1).fit(montage_store).checkpoint()
    going_on = pretrainer(encoder=first, lr_scales=scales, dropout=0.3, mask_ratio=0.3)
    fitted = going_on.fit(montage_store)
    for state in (fitted.checkpoint().state, fitted.net_.module_.network.state_dict()):
        for name, tensor in first.state.items():
            is_frozen = scale_of(f"network.{name}", scales) == 0
            assert torch.equal(state[name], tensor) == (is_frozen or "feature_" in name), name
    network = fitted.net_.module_.network.train()
    freeze_parts(network, scales)
    assert not any(m.training for m in network.projection.modules())
    assert not network.tokenizers["ibi"].training
    assert network.tokenizers["spo2"].training


def test_warm_starts_thaw(pretrainer, montage_store):
    fitted = pretrainer(lr_scales={"encoder": 0.0}).fit(montage_store)
    before = fitted.checkpoint().state["encoder.norm.weight"]
    fitted.set_params(optimizer__lr_scales=None, warm_start=True).fit(montage_store)
    assert set(scales_by_name(fitted).values()) == {1}
    assert not torch.equal(before, fitted.checkpoint().state["encoder.norm.weight"])


@pytest.mark.parametrize(
    ("scales", "message"),
    [({"decoder": 1.0}, "no part decoder; accepted: .*encoder"),
     ({"encoder": -1}, "'encoder' must be a finite number from 0"),
     ({"encoder": float("nan")}, "finite"), ({"encoder": True}, "finite number")],
)  # fmt: skip
def test_wrong_scales_are_refused(small_config, scales, message):
    with pytest.raises(ValueError, match=message):
        check_scales(scales, small_config)
    with pytest.raises(ValueError, match="nothing would be trained"):
        check_scales(dict.fromkeys(parts_of(small_config), 0), small_config)


def test_frozen_pairs_are_refused(pretrainer, montage_store):
    shared = ("input_projection", "encoder", "projection")
    frozen = dict.fromkeys((*shared, "spo2", "ibi"), 0.0)
    with pytest.raises(ValueError, match="nothing to train with spo2-ibi"):
        pretrainer(lr_scales=frozen).fit(montage_store)
    shares = {("effort", "ibi"): 1.0, ("effort", "spo2"): 1.0}
    fitted = pretrainer(lr_scales=frozen, pair_weights=shares).fit(montage_store)
    moved = {name.split(".")[2] for name, scale in scales_by_name(fitted).items() if scale}
    assert moved == {"effort"}
