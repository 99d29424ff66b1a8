# SPDX-License-Identifier: BSD-3-Clause
import pytest
import torch
from torch.nn.functional import linear

from sleep2vec_sklearn.errors import CheckpointError
from sleep2vec_sklearn.model.upstream.checkpoint import adapters_in, merge_adapter

PLACE = "encoder.encoder.layer.0.attention.self.query"
INSIDE = "encoder.base_model.model.encoder.layer.0.attention.self.query"
ALPHA, RANK = 6.0, 3


@pytest.fixture
def draw():
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(*shape, generator=generator)


@pytest.fixture
def adapted(draw):
    return {
        "cls_embedding.cls_token": draw(8),
        f"{INSIDE}.base_layer.weight": draw(8, 8),
        f"{INSIDE}.base_layer.bias": draw(8),
        f"{INSIDE}.lora_A.default.weight": draw(RANK, 8),
        f"{INSIDE}.lora_B.default.weight": draw(8, RANK),
    }


def parts(state, name="default"):
    base, bias = (state[f"{INSIDE}.base_layer.{p}"] for p in ("weight", "bias"))
    down, up = (state[f"{INSIDE}.lora_{p}.{name}.weight"] for p in "AB")
    return base, bias, down, up


def test_merged_layer_equals_adapted(adapted, draw):
    base, bias, down, up = parts(adapted)
    x = draw(5, 8)
    expected = linear(x, base, bias) + ALPHA / RANK * linear(linear(x, down), up)
    merged = merge_adapter(adapted, "default", ALPHA)
    assert set(merged) == {"cls_embedding.cls_token", f"{PLACE}.weight", f"{PLACE}.bias"}
    found = linear(x, merged[f"{PLACE}.weight"], merged[f"{PLACE}.bias"])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("ending", [".weight", ""])
def test_dora_sets_row_lengths(adapted, draw, ending):
    lengths = draw(8).abs()
    adapted[f"{INSIDE}.lora_magnitude_vector.default{ending}"] = lengths
    base, _, down, up = parts(adapted)
    merged = merge_adapter(adapted, "default", ALPHA)[f"{PLACE}.weight"]
    torch.testing.assert_close(merged.norm(dim=1), lengths)
    direction = base + ALPHA / RANK * up @ down
    cosine = torch.nn.functional.cosine_similarity(merged, direction)
    torch.testing.assert_close(cosine, torch.ones(8))


def test_one_adapter_is_merged(adapted, draw):
    for part, shape in (("A", (RANK, 8)), ("B", (8, RANK))):
        adapted[f"{INSIDE}.lora_{part}.ch_eeg_original.weight"] = draw(*shape)
    assert adapters_in(adapted) == ["ch_eeg_original", "default"]
    base, _, down, up = parts(adapted, "ch_eeg_original")
    merged = merge_adapter(adapted, "ch_eeg_original", ALPHA)
    torch.testing.assert_close(merged[f"{PLACE}.weight"], base + ALPHA / RANK * up @ down)
    assert adapters_in(merged) == []


def test_missing_parts_are_named(adapted):
    del adapted[f"{INSIDE}.lora_B.default.weight"], adapted[f"{INSIDE}.base_layer.weight"]
    with pytest.raises(
        CheckpointError, match=r"query\.lora_B; missing .*query\.base_layer\.weight"
    ):
        merge_adapter(adapted, "default", ALPHA)


def test_unfit_shapes_are_refused(adapted, draw):
    adapted[f"{INSIDE}.lora_B.default.weight"] = draw(8, RANK + 1)
    with pytest.raises(CheckpointError, match=r"\(8, 8\), \(3, 8\), \(8, 4\)"):
        merge_adapter(adapted, "default", ALPHA)


def test_unfit_magnitude_is_refused(adapted, draw):
    adapted[f"{INSIDE}.lora_magnitude_vector.default.weight"] = draw(7)
    with pytest.raises(CheckpointError, match=r"lora_magnitude_vector has shape \(7,\)"):
        merge_adapter(adapted, "default", ALPHA)


def test_unfit_rank_is_refused(adapted):
    with pytest.raises(CheckpointError, match=r"rank 3, its configuration says r=8"):
        merge_adapter(adapted, "default", ALPHA, rank=8)


def test_adapted_state_is_unchanged(adapted):
    before = {key: value.clone() for key, value in adapted.items()}
    merge_adapter(adapted, "default", ALPHA)
    assert all(torch.equal(adapted[key], before[key]) for key in before)
