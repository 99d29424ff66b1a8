# SPDX-License-Identifier: BSD-3-Clause
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import linear

from sleep2vec_sklearn.errors import CheckpointError
from sleep2vec_sklearn.model.upstream.checkpoint import adapters_in, merge_adapter

# y = x (m V / |V|)^T + b with V = W + alpha / r B A and norms of rows, in float64 by numpy
DORA = Path(__file__).parents[2] / "data" / "golden" / "dora.npz"
LAYER = "encoder.encoder.layer.0.attention.self.query"
WRAPPED = "encoder.base_model.model.encoder.layer.0.attention.self.query"
ALPHA, RANK = 6.0, 3


@pytest.fixture
def draw():
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(*shape, generator=generator)


@pytest.fixture
def adapted(draw):
    return {
        "cls_embedding.cls_token": draw(8),
        f"{WRAPPED}.base_layer.weight": draw(8, 8),
        f"{WRAPPED}.base_layer.bias": draw(8),
        f"{WRAPPED}.lora_A.default.weight": draw(RANK, 8),
        f"{WRAPPED}.lora_B.default.weight": draw(8, RANK),
    }


def parts(state, name="default"):
    base, bias = (state[f"{WRAPPED}.base_layer.{p}"] for p in ("weight", "bias"))
    down, up = (state[f"{WRAPPED}.lora_{p}.{name}.weight"] for p in "AB")
    return base, bias, down, up


def test_merged_layer_equals_adapted(adapted, draw):
    before = {key: value.clone() for key, value in adapted.items()}
    base, bias, down, up = parts(adapted)
    x = draw(5, 8)
    expected = linear(x, base, bias) + ALPHA / RANK * linear(linear(x, down), up)
    merged = merge_adapter(adapted, "default", ALPHA)
    assert set(merged) == {"cls_embedding.cls_token", f"{LAYER}.weight", f"{LAYER}.bias"}
    found = linear(x, merged[f"{LAYER}.weight"], merged[f"{LAYER}.bias"])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert all(torch.equal(adapted[key], before[key]) for key in before)


@pytest.mark.parametrize("ending", [".weight", ""])
def test_dora_gives_golden_outputs(ending):
    with np.load(DORA) as file:
        golden = {name: torch.from_numpy(file[name]) for name in file.files}
    state = {
        f"{WRAPPED}.base_layer.weight": golden["base_weight"],
        f"{WRAPPED}.base_layer.bias": golden["base_bias"],
        f"{WRAPPED}.lora_A.default.weight": golden["lora_A"],
        f"{WRAPPED}.lora_B.default.weight": golden["lora_B"],
        f"{WRAPPED}.lora_magnitude_vector.default{ending}": golden["lora_magnitude_vector"],
    }
    merged = merge_adapter(state, "default", golden["alpha"].item())
    found = linear(golden["inputs"], merged[f"{LAYER}.weight"], merged[f"{LAYER}.bias"])
    torch.testing.assert_close(found, golden["outputs"], rtol=0, atol=1e-5)


def test_one_adapter_is_merged(adapted, draw):
    for part, shape in (("A", (RANK, 8)), ("B", (8, RANK))):
        adapted[f"{WRAPPED}.lora_{part}.ch_eeg_original.weight"] = draw(*shape)
    assert adapters_in(adapted) == ["ch_eeg_original", "default"]
    base, _, down, up = parts(adapted, "ch_eeg_original")
    merged = merge_adapter(adapted, "ch_eeg_original", ALPHA)
    torch.testing.assert_close(merged[f"{LAYER}.weight"], base + ALPHA / RANK * up @ down)
    assert adapters_in(merged) == []


@pytest.mark.parametrize(
    ("changes", "rank", "message"),
    [
        (
            {"lora_B.default.weight": None, "base_layer.weight": None},
            None,
            r"query\.lora_B; missing .*query\.base_layer\.weight",
        ),
        ({"lora_B.default.weight": (8, RANK + 1)}, None, r"\(8, 8\), \(3, 8\), \(8, 4\)"),
        ({"lora_magnitude_vector.default.weight": (7,)}, None, r"vector has shape \(7,\)"),
        ({}, 8, r"rank 3, its configuration says r=8"),
    ],
)
def test_unfit_adapters_are_refused(adapted, draw, changes, rank, message):
    for part, shape in changes.items():
        adapted.pop(f"{WRAPPED}.{part}", None)
        if shape is not None:
            adapted[f"{WRAPPED}.{part}"] = draw(*shape)
    with pytest.raises(CheckpointError, match=message):
        merge_adapter(adapted, "default", ALPHA, rank)
