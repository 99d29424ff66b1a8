# SPDX-License-Identifier: BSD-3-Clause
import pytest
import torch

from sleep2vec_sklearn.model import Sleep2Vec
from sleep2vec_sklearn.pretraining._optimization import (
    check_scales,
    decay_groups,
    parts_of,
    put_to_rest,
    scale_of,
)


def scales_by_name(fitted):
    """Scale of the optimizer's group of every parameter; those in none have 0."""
    groups = fitted.net_.optimizer_.param_groups
    found = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    return {n: found.get(id(p), 0.0) for n, p in fitted.net_.module_.named_parameters()}


def test_a_part_is_a_modality_or_shared(small_config):
    names = [
        f"network.{name}" for name, _ in Sleep2Vec.from_seed(small_config, 0).named_parameters()
    ]
    scales = {part: k + 1.0 for k, part in enumerate(parts_of(small_config))}
    by_name = {name: scale_of(name, scales) for name in names}
    assert by_name["network.tokenizers.ibi.hidden.weight"] == scales["ibi"]
    assert by_name["network.masks.ibi"] == scales["ibi"]
    assert by_name["network.cls_token"] == scales["cls_token"]
    assert by_name["network.encoder.norm.weight"] == scales["encoder"]
    assert set(by_name.values()) == set(scales.values())
    assert scale_of("readers.ibi.weight", scales) == 1


def test_groups_have_a_rate_each_and_the_frozen_none(small_config):
    network = torch.nn.ModuleDict({"network": Sleep2Vec.from_seed(small_config, 0)})
    groups = decay_groups(network.named_parameters(), 0.3, {"encoder": 0.1, "ibi": 0.0})
    assert [(g["lr_scale"], g["weight_decay"]) for g in groups] == [
        (1, 0.3), (1, 0), (0.1, 0.3), (0.1, 0)
    ]  # fmt: skip
    counted = sum(len(group["params"]) for group in groups)
    frozen = [n for n, _ in network.named_parameters() if scale_of(n, {"ibi": 0.0}) == 0]
    assert counted == len(list(network.parameters())) - len(frozen)


def test_the_learning_rate_of_a_part_is_its_share_of_the_schedule(pretrainer, montage_store):
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
    plain = pretrainer().fit(montage_store).checkpoint()
    assert (
        pretrainer(lr_scales={"encoder": 1.0}).fit(montage_store).checkpoint().sha256
        == plain.sha256
    )


def test_a_frozen_part_stays_the_same_to_the_bit_and_rests(pretrainer, montage_store):
    scales = {"encoder": 0.0, "projection": 0.0, "ibi": 0}
    first = pretrainer(max_epochs=1).fit(montage_store).checkpoint()
    going_on = pretrainer(init=first, lr_scales=scales, dropout=0.3, mask_share=0.3)
    fitted = going_on.fit(montage_store)
    for state in (fitted.checkpoint().state, fitted.net_.module_.network.state_dict()):
        for name, tensor in first.state.items():
            is_frozen = scale_of(f"network.{name}", scales) == 0
            assert torch.equal(state[name], tensor) == (is_frozen or "feature_" in name), name
    network = fitted.net_.module_.network.train()
    put_to_rest(network, scales)
    assert not any(m.training for m in network.projection.modules())
    assert not network.tokenizers["ibi"].training
    assert network.tokenizers["spo2"].training


def test_a_warm_start_thaws(pretrainer, montage_store):
    fitted = pretrainer(lr_scales={"encoder": 0.0}).fit(montage_store)
    before = fitted.checkpoint().state["encoder.norm.weight"]
    fitted.set_params(lr_scales=None, warm_start=True).fit(montage_store)
    assert set(scales_by_name(fitted).values()) == {1}
    assert not torch.equal(before, fitted.checkpoint().state["encoder.norm.weight"])


@pytest.mark.parametrize(
    ("scales", "message"),
    [
        ({"decoder": 1.0}, "no part decoder; accepted: .*encoder"),
        ({"encoder": -1}, "'encoder' must be a finite number, 0 or above"),
        ({"encoder": float("nan")}, "finite"),
        ({"encoder": True}, "finite number"),
        ([0.1], "mapping"),
    ],
)
def test_scales_that_cannot_be_are_refused(small_config, scales, message):
    with pytest.raises(ValueError, match=message):
        check_scales(scales, small_config)


def test_freezing_everything_is_refused(small_config):
    with pytest.raises(ValueError, match="nothing would be trained"):
        check_scales(dict.fromkeys(parts_of(small_config), 0), small_config)


def test_pairs_that_move_nothing_are_refused(pretrainer, montage_store):
    shared = ("input_projection", "encoder", "projection")
    frozen = dict.fromkeys((*shared, "spo2", "ibi"), 0.0)
    with pytest.raises(ValueError, match="nothing to train with spo2-ibi"):
        pretrainer(lr_scales=frozen).fit(montage_store)
    shares = {("effort", "ibi"): 1.0, ("effort", "spo2"): 1.0}
    fitted = pretrainer(lr_scales=frozen, pair_shares=shares).fit(montage_store)
    moved = {name.split(".")[2] for name, scale in scales_by_name(fitted).items() if scale}
    assert moved == {"effort"}
