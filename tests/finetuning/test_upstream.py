# SPDX-License-Identifier: BSD-3-Clause
"""Golden logits of the authors' fine-tuned networks, on random weights (float32, CPU)."""

import sys

import pytest
import torch
import yaml

from sleep2vec_sklearn.errors import CheckpointError
from sleep2vec_sklearn.finetuning import load_finetuned
from tests.finetuned_golden import HEADS, WHOLE, Case


@pytest.fixture
def write(tmp_path):
    """Function of a case: its file."""
    return lambda case: case.write(tmp_path / "best.ckpt")


@pytest.mark.parametrize("name", HEADS)
def test_head_logits_of_the_authors(write, name):
    case = Case.load(name)
    assert case.of_head(load_finetuned(write(case)).head) < 1e-5


@pytest.mark.parametrize("name", WHOLE)
def test_network_logits_with_lora(write, name):
    case = Case.load(name)
    network = load_finetuned(write(case))
    assert case.of_network(network) < 1e-5
    assert case.of_logits(network) < 1e-5


@pytest.mark.parametrize("name", WHOLE)
def test_missing_modalities_are_fine(write, name):
    case = Case.load(name)
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
     ("age_lstm", ("night", "regression", "concat", 1)),
     ("stage5_ttrans", ("epoch", "temporal_transformer", "mean", 1)),
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


@pytest.mark.parametrize("mix", [{"layer_indices": [1]}, {"enabled": False}, None])
def test_weights_of_mixing_count(write, mix):
    case = Case.load("stage5_layermix")
    case.document["finetune"]["layer_mix"] = mix
    with pytest.raises(
        CheckpointError, match=r"number of blocks of its layer_mix is 1 .* and 2 by"
    ):
        load_finetuned(write(case))


def test_loading_draws_no_numbers(write):
    path = write(Case.load("age_attn"))
    before = torch.get_rng_state()
    load_finetuned(path)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["age_lstm", "stage5_ttrans"])
def test_default_dtype_is_ignored(write, name):
    case = Case.load(name)
    case.logits = torch.from_numpy(load_finetuned(write(case)).logits(case.inputs, case.length))
    torch.set_default_dtype(torch.float64)
    try:
        network = load_finetuned(write(case))
        assert max(case.of_network(network), case.of_logits(network)) < 1e-5
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    ("section", "message"),
    [({"name": "gru"}, "temporal_agg 'gru'; supported: 'mean', 'attn', 'lstm'"),
     ({"name": "lstm"}, "missing pooling.lstm.bias_hh_l0.*unknown pooling.key"),
     ({"kwargs": {"temp": 0}}, "temperature must be a number above 0, got 0"),
     ({"kwargs": {"num_heads": 2}}, "num_heads of its temporal_agg is 2 .* and 1 by the shapes"),
     ({"kwargs": {"gate": 2.0}}, r"not supported: gate \(gate=2.0\); accepted: num_heads")],
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


def options(**kwargs):
    return lambda case: case.document["model"]["head"].update(kwargs=kwargs)


def section(name, value):
    return lambda case: case.document["model"]["head"].update({name: value})


def tuning(name, value):
    return lambda case: case.document["finetune"].update({name: value})


def task(**values):
    return lambda case: case.document["finetune"]["task"].update(values)


def state(**tensors):
    named = {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    return lambda case: case.state.update(named)


def without(start):
    def drop(case):
        case.state = {k: v for k, v in case.state.items() if not k.startswith(start)}

    return drop


REFUSED = {
    "no task": (lambda c: c.document["finetune"].pop("task"), "epochs or of nights"),
    "kind of head": (section("name", "moe"), "head 'moe'; supported: 'classification'"),
    "head is text": (section("channel_agg", "mean"), "channel_agg is 'mean'; accepted is a mapp"),
    "entry": (section("bias", False), "entries of head not supported: bias: False; accepted: name"),
    "activation": (section("act", "tanh"), "act 'tanh'; supported: 'elu', 'relu', 'gelu', 'silu'"),
    "width": (section("hidden_dim", 32), "hidden_dim of its head is 32 .* and 64 by the shapes"),
    "option": (options(nhead=4), r"options of its head not supported: nhead \(nhead=4\)"),
    "causal": (options(causal=True), r"causal=True\); accepted: num_layers"),
    "layers": (options(num_layers=3), "num_layers of its head is 3 .* and 2 by the shapes"),
    "channel option": (
        section("channel_agg", {"name": "mean", "kwargs": {"x": 1}}),
        "options of its channel_agg not supported: x .*accepted: none",
    ),
    "mixed layers": (
        tuning("layer_mix", {"layer_indices": [0, 1]}),
        "accepted are the blocks 1 to",
    ),
    "mixing": (tuning("layer_mix", {"kind": "sum"}), "entries of layer_mix not supported: kind"),
    "fusion": (
        tuning("survival", {"covariate_fusion": "risk"}),
        "covariate_fusion 'risk'; supported: 'feature_concat'",
    ),
    "task": (task(type="ranking"), "task.type 'ranking'; supported: 'classification'"),
    "outputs": (task(output_dim=4), "task.output_dim is 4, and its head has 5 outputs"),
    "extra": (
        state(survival_age_embedding__weight=torch.zeros(16, 1)),
        "unknown survival_age_embedding.weight",
    ),
    "too wide": (
        state(survival_sex_embedding__weight=torch.zeros(2, 16)),
        r"predictor.layers.0.weight has shape \(64, 64\), expected \(64, 80\)",
    ),
    "missing": (without("head.mlp.1.bias"), "missing predictor.layers.0.bias"),
    "gates": (without("head.fusion"), "missing aggregation.gates"),
    "shape": (
        state(head__mlp__1__bias=torch.zeros(3)),
        r"predictor.layers.0.bias has shape \(3,\), expected \(64,\)",
    ),
    "no matrix": (state(head__mlp__4__weight=torch.zeros(5)), r"shape \(5,\), no matrix"),
    "number": (
        state(layer_mix__weight=torch.tensor(0.0)),
        r"layer_mix.weight has shape \(\), no m",
    ),
    "age": (
        state(survival_age_embedding__weight=torch.tensor(0.0)),
        r"age_\w+.weight has shape \(\)",
    ),
    "dropout": (section("dropout", "x"), "dropout is 'x'; accepted is a number"),
    "blocks": (tuning("layer_mix", {"layer_indices": 2}), "layer_indices is 2; accepted are the"),
    "is_seq": (task(is_seq="no"), "task.is_seq of the finetune_config is 'no'; accepted are true"),
    "query": (state(temporal_agg__pool__q=torch.tensor(0.0)), r"pool.q has shape \(\), no row"),
    "NaN": (state(head__mlp__1__bias=torch.full((64,), torch.nan)), "has NaN or infinite values"),
    "no head": (without("head."), "a head of unknown layout|a checkpoint of pretraining"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_unreadable_heads_are_named(write, kind):
    change, message = REFUSED[kind]
    case = Case.load("stage5")
    change(case)
    with pytest.raises(CheckpointError, match=rf"best\.ckpt: .*(?:{message})"):
        load_finetuned(write(case))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [({"num_layers": 2, "num_heads": 7}, "num_heads of its head is 7; accepted are divisors of"),
     ({"num_layers": 3}, "num_layers of its head is 3 .* and 2 by the shapes"),
     ({"ff_mult": 4}, "not supported: ff_mult .*accepted: num_layers, num_heads")],
)  # fmt: skip
def test_unfit_transformers_are_refused(write, kwargs, message):
    case = Case.load("stage5_ttrans")
    case.document["model"]["head"]["kwargs"] = kwargs
    with pytest.raises(CheckpointError, match=message):
        load_finetuned(write(case))


@pytest.mark.parametrize(
    ("lora", "message"),
    [({"use_rslora": True}, "use_rslora: True; accepted is alpha / r"),
     ({"separate_adapters": True}, "an adapter ch_<channel>; it holds default"),
     ({"alpha_pattern": {"query": 8}}, "alpha_pattern: {'query': 8}; accepted is alpha / r"),
     ({"alpha": "x"}, "alpha is 'x'; accepted is a number")],
)  # fmt: skip
def test_unfit_adapters_are_refused(write, lora, message):
    case = Case.load("stage5_lora")
    case.document["finetune"]["lora"] |= lora
    with pytest.raises(CheckpointError, match=message):
        load_finetuned(write(case))


def test_separate_adapters_are_stated(write):
    case = Case.load("stage5_lora_sep")
    case.document["finetune"]["lora"]["separate_adapters"] = False
    with pytest.raises(CheckpointError, match=r"separate_adapters: False, .*holds ch_breath"):
        load_finetuned(write(case))


def test_zero_alpha_is_kept(write):
    case = Case.load("stage5_lora")
    case.document["finetune"]["lora"]["alpha"] = 0
    query = "encoder.base_model.model.encoder.layer.0.attention.self.query.base_layer.weight"
    network = load_finetuned(write(case))
    found = network.encoder.encoder.blocks[0].attention.query.weight
    assert torch.equal(found, case.state[f"backbone.{query}"])


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [("model", {"channels": None}, "channels is None; accepted is a list"),
     ("model", {"channels": {"a": 1}}, "channels is {'a': 1}; accepted is a list"),
     ("model", {"cls": "bert"}, "cls is 'bert'; accepted is a mapping"),
     ("finetune", {"lora": [1]}, r"lora is \[1\]; accepted is a mapping")],
)  # fmt: skip
def test_unfit_sections_are_named(write, kind, values, message):
    case = Case.load("stage5_lora")
    case.document[kind] |= values
    with pytest.raises(CheckpointError, match=rf"best\.ckpt: .*{message}"):
        load_finetuned(write(case))


def test_files_are_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"none.ckpt: cannot be read"):
        load_finetuned(tmp_path / "none.ckpt")
    for wrong in (3, ""):
        with pytest.raises(
            CheckpointError, match=rf"{wrong!r} is no checkpoint; accepted is a path"
        ):
            load_finetuned(wrong)
    with pytest.raises(ValueError, match="missing must be 'raise' or 'ignore', got 'drop'"):
        load_finetuned(tmp_path / "none.ckpt", missing="drop")


@pytest.mark.parametrize("name", ["best.yaml", "s2v-medium.yaml"])
def test_yaml_beside_completes(write, tmp_path, name):
    case = Case.load("stage5")
    whole = {"data": {"max_tokens": 90}, "finetune": case.document.pop("finetune")}
    path = write(case)
    (tmp_path / name).write_text(yaml.safe_dump(whole | {"model": case.document["model"]}))
    network = load_finetuned(path)
    assert network.unit_ == "epoch"
    assert network.encoder.config.context_epochs == 90
    assert load_finetuned(path, context_epochs=30).encoder.config.context_epochs == 30


@pytest.mark.parametrize(
    "text",
    ["- a", "", "a: [", "a: 1\n---\nb: 2", "a: !!python/name:os.x ''", "data: {max_tokens: 30}"],
)
def test_foreign_yaml_is_ignored(write, tmp_path, text):
    path = write(Case.load("stage5"))
    (tmp_path / "compose.yml").write_text(text)
    assert load_finetuned(path).encoder.config.context_epochs == 120


def test_windows_need_pyyaml(write, tmp_path, monkeypatch):
    path = write(Case.load("stage5"))
    (tmp_path / "config.yaml").write_text("data: {max_tokens: 30}")
    assert load_finetuned(path).encoder.config.context_epochs == 30
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(
        ImportError, match=r"pip install 'sleep2vec-sklearn\[yaml\]'.*context_epochs="
    ):
        load_finetuned(path)
    assert load_finetuned(path, context_epochs=40).encoder.config.context_epochs == 40


def test_state_dict_with_yaml(tmp_path):
    case = Case.load("stage5_lora_sep")
    torch.save(case.state, tmp_path / "plain.ckpt")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(case.document))
    assert case.of_logits(load_finetuned(tmp_path / "plain.ckpt")) < 1e-5


def test_adapted_layers_alone_differ(write):
    case = Case.load("stage5_lora_sep")
    network = load_finetuned(write(case))
    shared = {id(p) for p in network.encoder.parameters()}
    own = [n for n, p in network.adapted["ibi"].named_parameters() if id(p) not in shared]
    assert len(own) == 3 * 2
    assert all(name.endswith(("query.weight", "key.weight", "value.weight")) for name in own)


def test_averaged_weights_are_taken(write):
    case = Case.load("age_lstm")
    path = write(case)
    content = torch.load(path, weights_only=True)
    trained = {k: v for k, v in content["state_dict"].items() if k.startswith("model.")}
    averaged = {f"ema_{key}": value for key, value in trained.items()}
    others = {"_multilabel_loss.pos_weight": torch.ones(3)}
    changed = {k: v + 1 if ".head." in k else v for k, v in content["state_dict"].items()}
    torch.save({**content, "state_dict": {**changed, **averaged, **others}}, path)
    assert case.of_head(load_finetuned(path).head) < 1e-5
    assert case.of_head(load_finetuned(path, weights="student").head) > 0.1
