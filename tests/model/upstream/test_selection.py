# SPDX-License-Identifier: BSD-3-Clause
import pytest
import torch

from sleep2vec_sklearn.errors import CheckpointError
from sleep2vec_sklearn.model.upstream.checkpoint import select_tensors


def tensor(value):
    return torch.full((2,), float(value))


@pytest.fixture
def pretrained():
    return {
        "model.mask_embed.spo2": tensor(1),
        "model.proj_head.bn1.weight": tensor(2),
        "model.proj_head.bn1.running_mean": tensor(3),
        "ema_model.mask_embed.spo2": tensor(10),
        "ema_model.proj_head.bn1.weight": tensor(20),
        "ema_model.proj_head.bn1.running_mean": tensor(0),
    }


@pytest.fixture
def finetuned():
    return {
        "backbone.mask_embed.spo2": tensor(1),
        "backbone.cls_embedding.cls_token": tensor(2),
        "model.backbone.mask_embed.spo2": tensor(1),
        "model.backbone.cls_embedding.cls_token": tensor(2),
        "model.cls_embedding.cls_token": tensor(2),
        "model.head.mlp.1.weight": tensor(3),
        "model.layer_mix.weight": tensor(4),
        "_classification_loss.weight": tensor(5),
    }


def first(tensors):
    return {key: value[0].item() for key, value in tensors.items()}


def test_average_with_student_statistics(pretrained):
    found = select_tensors(pretrained)
    names = ("mask_embed.spo2", "proj_head.bn1.weight", "proj_head.bn1.running_mean")
    assert first(found.backbone) == dict(zip(names, (10, 20, 3), strict=True))
    assert (found.weights, found.finetuned, found.head, found.notes) == ("ema", False, {}, ())
    assert first(select_tensors(pretrained, "student").backbone)["mask_embed.spo2"] == 1


def test_running_mean_has_own_statistics(pretrained):
    averaged = {k.replace("ema_model", "running_mean_model"): v for k, v in pretrained.items()}
    averaged["running_mean_model.proj_head.bn1.running_mean"] = tensor(4)
    found = select_tensors(averaged)
    assert found.weights == "running_mean"
    assert first(found.backbone)["proj_head.bn1.running_mean"] == 4


def test_absent_and_stale_networks(pretrained):
    with pytest.raises(CheckpointError, match=r"no 'running_mean' weights.*'ema', 'student'"):
        select_tensors(pretrained, "running_mean")
    alone = {key: value for key, value in pretrained.items() if key.startswith("ema_model.")}
    assert "never updated" in select_tensors(alone).notes[0]
    pretrained |= {"teacher.weight": tensor(0), "queue": tensor(0)}
    with pytest.raises(CheckpointError, match=r"unknown keys queue, teacher\.weight"):
        select_tensors(pretrained)


def test_finetuned_module_has_head(finetuned):
    found = select_tensors(finetuned)
    assert first(found.backbone) == {"mask_embed.spo2": 1, "cls_embedding.cls_token": 2}
    parts = {"head.mlp.1", "layer_mix", "_classification_loss"}
    assert set(found.head) == {f"{part}.weight" for part in parts}
    assert found.finetuned


def test_head_of_same_average(finetuned):
    finetuned["ema_model.backbone.mask_embed.spo2"] = tensor(11)
    finetuned["ema_model.head.mlp.1.weight"] = tensor(33)
    found = select_tensors(finetuned)
    assert first(found.backbone) == {"mask_embed.spo2": 11}
    assert first(found.head)["head.mlp.1.weight"] == 33


@pytest.mark.parametrize("key", ["backbone.mask_embed.spo2", "model.cls_embedding.cls_token"])
def test_differing_copies_are_refused(finetuned, key):
    finetuned[key] = tensor(7)
    with pytest.raises(CheckpointError, match=r"is there twice with different values"):
        select_tensors(finetuned)


def test_state_without_prefixes(finetuned):
    bare = {k.removeprefix("model."): v for k, v in finetuned.items() if k.startswith("model.")}
    found = select_tensors(bare)
    assert (found.weights, found.finetuned) == ("student", True)
    assert set(found.head) == {"head.mlp.1.weight", "layer_mix.weight"}
