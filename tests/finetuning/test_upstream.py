# SPDX-License-Identifier: BSD-3-Clause
"""Golden logits of the authors' fine-tuned networks, on random weights (float32, CPU)."""

import pytest
import torch

from sleep2vec_sklearn.errors import CheckpointError
from sleep2vec_sklearn.finetuning import load_finetuned
from sleep2vec_sklearn.finetuning._heads import build_head
from sleep2vec_sklearn.finetuning.config import HeadConfig
from tests.finetuned_golden import CASES, Case


@pytest.fixture
def write(tmp_path):
    """Function of a case: its file."""
    return lambda case: case.write(tmp_path / "best.ckpt")


@pytest.mark.parametrize("name", CASES[:4])
def test_head_logits_of_the_authors(write, name):
    case = Case.load(name)
    assert case.of_head(load_finetuned(write(case)).head) < 1e-5


def test_network_logits_with_lora(write):
    case = Case.load("stage5_lora")
    assert case.of_network(load_finetuned(write(case))) < 1e-5


def test_missing_modalities_are_fine(write):
    case = Case.load("stage5_lora")
    network = load_finetuned(write(case))
    present = case.present.clone()
    present[..., 0] = False
    with torch.no_grad():
        found = network({k: case.inputs[k] for k in ("resp", "eeg")}, present, case.valid)
    assert found.isfinite().all()


@pytest.mark.parametrize(
    ("name", "expected"),
    [("stage5", ("epoch", "mlp", "gated", 1)), ("sex_cls", ("night", "mlp", "gated", 1)),
     ("age_attn", ("night", "regression", "mean", 1)),
     ("stage5_layermix", ("epoch", "mlp", "gated", 2))],
)  # fmt: skip
def test_heads_follow_the_configuration(write, name, expected):
    config = load_finetuned(write(Case.load(name))).head.config
    assert config.modalities == ("ibi", "resp", "eeg")
    assert (config.unit, config.head, config.aggregation, config.n_layers) == expected


def test_mixed_layers(write):
    case = Case.load("stage5")
    case.document["finetune"]["layer_mix"] = {"enabled": True, "layer_indices": [1]}
    case.state["layer_mix.weight"] = torch.zeros(3, 1)
    network = load_finetuned(write(case))
    assert (network.layers, network.head.config.n_layers) == ((1,), 1)


def with_temporal_head(case, kind, state):
    case.document["model"]["head"] |= {"name": kind, "channel_agg": {"name": "concat"}}
    others = {k: v for k, v in case.state.items() if not k.startswith("head.")}
    case.state = {**others, **state}
    return case


@pytest.mark.parametrize("kind", ["temporal_conv", "temporal_transformer"])
def test_temporal_heads_are_read(write, draw, kind):

    options = {"aggregation": "concat", "head_size": 192, "depth": 2, "kernel_size": 3}
    config = HeadConfig(64, ("ibi", "resp", "eeg"), 5, head=kind, **options)
    theirs = build_head(config).eval()
    state = {f"head.{key}": value for key, value in theirs.state_dict().items()}
    network = load_finetuned(write(with_temporal_head(Case.load("stage5"), kind, state)))
    assert (network.head.config.head_size, network.head.config.depth) == (192, 2)
    features, valid = draw(1, 6, 192), torch.ones(1, 6, dtype=torch.bool)
    assert torch.equal(network.head.predictor(features, valid), theirs(features, valid))


@pytest.mark.parametrize(
    ("section", "message"),
    [({"name": "lstm"}, "temporal_agg 'lstm'; supported: 'mean', 'attn'"),
     ({"kwargs": {"temp": 2.0}}, "options of its temporal_agg not supported: temp")],
)  # fmt: skip
def test_unknown_poolings_are_refused(write, section, message):
    case = Case.load("age_attn")
    case.document["model"]["head"]["temporal_agg"] |= section
    with pytest.raises(CheckpointError, match=message):
        load_finetuned(write(case))


def test_single_channel_has_no_gates(write):
    case = Case.load("stage5")
    others = ("breath", "eeg_original")
    case.document["model"]["channels"] = case.document["model"]["channels"][:1]
    case.state = {k: v for k, v in case.state.items() if not any(o in k for o in others)}
    del case.state["head.fusion.aggregator.gates"]
    network = load_finetuned(write(case))
    outputs = network({"ibi": case.inputs["ibi"]}, case.present[..., :1], case.valid)
    assert outputs.shape == (4, 12, 5)


def test_layers_without_dropout(write):
    case = Case.load("stage5")
    for part in ("weight", "bias"):
        case.state[f"head.mlp.3.{part}"] = case.state.pop(f"head.mlp.4.{part}")
    case.document["model"]["head"]["dropout"] = 0.0
    assert case.of_head(load_finetuned(write(case)).head) < 1e-5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.document["finetune"].pop("task"), "epochs or of nights"),
        (
            lambda c: c.document["model"]["head"].update(name="moe"),
            "head 'moe'; supported: 'classification'",
        ),
        (
            lambda c: c.state.update({"survival_age_embedding.weight": torch.zeros(16, 1)}),
            "unknown survival_age_embedding.weight",
        ),
        (
            lambda c: c.document["model"]["head"].update(kwargs={"nhead": 4}),
            "options of its head not supported: nhead",
        ),
        (lambda c: c.state.pop("head.mlp.1.bias"), "missing predictor.layers.0.bias"),
        (
            lambda c: c.state.update({"head.mlp.1.bias": torch.zeros(3)}),
            r"predictor.layers.0.bias has shape \(3,\), expected \(64,\)",
        ),
        (
            lambda c: [c.state.pop(k) for k in list(c.state) if k.startswith("head.")],
            "a head of unknown layout|a checkpoint of pretraining",
        ),
    ],
)
def test_unreadable_heads_are_named(write, change, message):
    case = Case.load("stage5")
    change(case)
    with pytest.raises(CheckpointError, match=rf"best\.ckpt: .*(?:{message})"):
        load_finetuned(write(case))
