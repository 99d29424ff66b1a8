# SPDX-License-Identifier: BSD-3-Clause
"""Heads of the authors in all their configurations, against computations of their own.

Layers are made by torch in the order of the reference, or step by step in numpy, and their
parameters are given the authors' names.
"""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.special import expit
from scipy.special import softmax as soften
from torch import nn
from torch.nn.functional import gelu

from sleep2vec_sklearn.finetuning import load_finetuned
from tests.finetuned_golden import Case

SIZE = 64
ACTIVATIONS = {"elu": nn.ELU, "relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}
# without padding, so that every epoch has to be the same
FULL = slice(0, None, 2)


@pytest.fixture
def load(tmp_path):
    """Function of a case: its network."""
    return lambda case: load_finetuned(case.write(tmp_path / "best.ckpt"))


@pytest.fixture(autouse=True)
def _same_numbers():
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


def epochs(kind="stage5"):
    """A case with one channel."""
    return Case.load(kind).with_eeg_alone()


def randomised(module, prefix):
    """State of a module under the authors' names, its norms and biases random too."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
    return {prefix + key: value for key, value in module.state_dict().items()}


@torch.no_grad()
def states(network, case):
    """The encoder's last states, of every modality [B, L, M, H]."""
    return network.encode(case.inputs, case.present, case.valid)[0][:, :, :, -1]


def check(network, case, expected, rows=FULL):
    """Both ways of asking a network give what is expected of the sequences without padding."""
    case.logits = torch.as_tensor(np.asarray(expected.detach()))
    with torch.no_grad():
        outputs = network(case.inputs, case.present, case.valid)
    found = torch.from_numpy(network.logits(case.inputs, case.length))
    for other in (outputs, found):
        torch.testing.assert_close(other[rows], case.logits[rows], rtol=0, atol=1e-5)


def mlp(n_in, n_out, hidden, n_layers, dropout, act):
    """Activation first; dropout takes a number in the list only where there is any."""
    sizes = [n_in, *[hidden or n_in] * (n_layers - 1), n_out]
    layers = []
    for i, pair in enumerate(pairwise(sizes)):
        layers += [nn.Dropout(dropout)] * (i > 0 and dropout > 0)
        layers += [ACTIVATIONS[act](), nn.Linear(*pair)]
    return nn.Sequential(*layers).eval()


@pytest.mark.parametrize(("dropout", "act"), [(0.1, "elu"), (0.0, "gelu"), (0.5, "silu")])
@pytest.mark.parametrize(("n_layers", "hidden"), [(1, None), (2, 24), (3, None), (4, 10)])
def test_classification_of_any_depth(load, n_layers, hidden, dropout, act):
    theirs = mlp(SIZE, 5, hidden, n_layers, dropout, act)
    numbers = [int(key.split(".")[0]) for key in theirs.state_dict()][::2]
    assert numbers == [1 + (3 if dropout else 2) * i for i in range(n_layers)]
    case = epochs().with_head(
        randomised(theirs, "head.mlp."), name="classification", hidden_dim=hidden, act=act,
        dropout=dropout, kwargs={"num_layers": n_layers},
    )  # fmt: skip
    network = load(case)
    check(network, case, theirs(states(network, case)[:, :, 0]))


@pytest.mark.parametrize("dropout", [[], [nn.Dropout(0.1)]])
@pytest.mark.parametrize(("hidden", "act"), [(None, "relu"), (20, "silu")])
def test_regression_of_any_width(load, hidden, act, dropout):
    sizes = (SIZE, hidden or SIZE)
    theirs = nn.Sequential(
        nn.Linear(*sizes), ACTIVATIONS[act](), *dropout, nn.Linear(sizes[1], 3)
    ).eval()
    case = epochs("age_attn").with_task(output_dim=3).with_head(
        randomised(theirs, "head.regressor."), name="regression", hidden_dim=hidden, act=act
    )  # fmt: skip
    network = load(case)
    check(network, case, theirs(states(network, case)[:, :, 0].mean(dim=1)))


def norm(x, state, name):
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    scaled = (x - mean) / np.sqrt(variance + 1e-5)
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def dense(x, state, name):
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def convolve(x, weight, bias, dilation):
    """Each channel of x [L, W] by its own filter [W, 1, k], centred, with zeros beyond the ends."""
    length, span = len(x), weight.shape[-1]
    out = np.tile(bias, (length, 1))
    for t in range(length):
        for j in range(span):
            at = t + (j - span // 2) * dilation
            if 0 <= at < length:
                out[t] += weight[:, 0, j] * x[at]
    return out


def temporal_conv(x, state, n_layers, act):
    state = {k.removeprefix("head."): v.double().numpy() for k, v in state.items()}
    if "proj_in.weight" in state:
        x = dense(x, state, "proj_in")
    for i in range(n_layers):
        block = f"blocks.{i}"
        y = convolve(x, *(state[f"{block}.depthwise.{p}"] for p in ("weight", "bias")), 2**i)
        y = y @ state[f"{block}.pointwise.weight"][..., 0].T + state[f"{block}.pointwise.bias"]
        x = x + ACTIVATIONS[act]()(torch.from_numpy(norm(y, state, f"{block}.norm"))).numpy()
    return dense(norm(x, state, "norm"), state, "classifier")


def conv_state(n_in, hidden, n_layers, span, projected):
    size, module = hidden or n_in, nn.Module()
    if projected:
        module.proj_in = nn.Linear(n_in, size)
    blocks = []
    for _ in range(n_layers):
        block = nn.Module()
        block.depthwise = nn.Conv1d(size, size, span, groups=size)
        block.pointwise, block.norm = nn.Conv1d(size, size, 1), nn.LayerNorm(size)
        blocks.append(block)
    module.blocks = nn.ModuleList(blocks)
    module.norm, module.classifier = nn.LayerNorm(size), nn.Linear(size, 5)
    return randomised(module, "head.")


@pytest.mark.parametrize(
    ("n_layers", "span", "hidden", "projected", "act"),
    [(4, 7, None, False, "elu"), (2, 3, 24, True, "gelu"), (1, 9, SIZE, True, "relu"),
     (3, 5, 10, True, "silu")],
)  # fmt: skip
def test_temporal_conv(load, n_layers, span, hidden, projected, act):
    state = conv_state(SIZE, hidden, n_layers, span, projected)
    case = epochs().with_head(
        state, name="temporal_conv", hidden_dim=hidden, act=act,
        kwargs={"num_layers": n_layers, "kernel_size": span},
    )  # fmt: skip
    network = load(case)
    features = states(network, case)[:, :, 0].double().numpy()
    expected = [temporal_conv(x, state, n_layers, act) for x in features]
    check(network, case, torch.tensor(np.stack(expected), dtype=torch.float32))


def test_conv_options_show_in_shapes(load):
    case = Case.load("stage5").with_head(
        conv_state(3 * SIZE, None, 2, 3, False), name="temporal_conv",
        channel_agg={"name": "concat"},
    )  # fmt: skip
    network = load(case)
    config = network.head.config
    assert (config.depth, config.kernel_size, config.head_size) == (2, 3, 192)
    assert network.logits(case.inputs, case.length).shape == (4, 12, 5)


def test_conv_alone_reads_padding(load):
    case = epochs().with_head(conv_state(SIZE, None, 2, 3, False), name="temporal_conv")
    network, length = load(case), case.length[3]
    batch = network.logits(case.inputs, case.length)[3, :length]
    with torch.no_grad():
        ours = network(case.inputs, case.present, case.valid)[3, :length].numpy()
    alone = network.logits(case.inputs["eeg"][3, :length])
    np.testing.assert_allclose(ours, alone, rtol=0, atol=1e-5)
    assert np.abs(batch - alone).max() > 1e-3


def transformer_state(n_in, size, n_layers, feed, n_positions=2048):
    module = nn.Module()
    if n_in != size:
        module.proj_in = nn.Linear(n_in, size)
    module.pos_emb = nn.Embedding(n_positions, size)
    layer = nn.TransformerEncoderLayer(size, 1, feed, norm_first=True)
    module.encoder = nn.TransformerEncoder(
        layer, n_layers, nn.LayerNorm(size), enable_nested_tensor=False
    )
    module.classifier = nn.Linear(size, 5)
    return randomised(module, "head.")


def temporal_transformer(x, state, n_layers, n_heads):
    """Pre-norm blocks on x [L, W]; heads are slices of queries, keys and values."""
    state = {k.removeprefix("head."): v.double().numpy() for k, v in state.items()}
    if "proj_in.weight" in state:
        x = dense(x, state, "proj_in")
    x = x + state["pos_emb.weight"][: len(x)]
    for i in range(n_layers):
        at = f"encoder.layers.{i}"
        y = norm(x, state, f"{at}.norm1")
        qkv = y @ state[f"{at}.self_attn.in_proj_weight"].T + state[f"{at}.self_attn.in_proj_bias"]
        heads = [np.split(part, n_heads, axis=1) for part in np.split(qkv, 3, axis=1)]
        mixed = [
            soften(q @ k.T / np.sqrt(q.shape[1]), axis=1) @ v
            for q, k, v in zip(*heads, strict=True)
        ]
        x = x + dense(np.hstack(mixed), state, f"{at}.self_attn.out_proj")
        y = dense(norm(x, state, f"{at}.norm2"), state, f"{at}.linear1")
        x = x + dense(gelu(torch.from_numpy(y)).numpy(), state, f"{at}.linear2")
    return dense(norm(x, state, "encoder.norm"), state, "classifier")


@pytest.mark.parametrize(
    ("n_layers", "n_heads", "size"),
    [(1, None, SIZE), (2, 1, SIZE), (3, 4, 24), (4, 8, SIZE)],
)  # fmt: skip
def test_temporal_transformer(load, n_layers, n_heads, size):
    state = transformer_state(SIZE, size, n_layers, 4 * size)
    options = {"num_layers": n_layers} | ({} if n_heads is None else {"num_heads": n_heads})
    case = epochs().with_head(state, name="temporal_transformer", hidden_dim=size, kwargs=options)
    network = load(case)
    features = states(network, case)[:, :, 0].double().numpy()
    for i, length in enumerate(case.length):
        expected = temporal_transformer(features[i, :length], state, n_layers, n_heads or 8)
        found = network.logits(case.inputs, case.length)[i, :length]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def lstm(x, state, layer, suffix):
    """States [L, H] of one direction; gates are input, forget, cell and output."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    into, across, *biases = (state[f"{name}_l{layer}{suffix}"] for name in names)
    hidden = cell = np.zeros(across.shape[1])
    found = []
    for row in x[::-1] if suffix else x:
        gates = into @ row + across @ hidden + biases[0] + biases[1]
        enter, keep, new, leave = np.split(gates, 4)
        cell = expit(keep) * cell + expit(enter) * np.tanh(new)
        hidden = expit(leave) * np.tanh(cell)
        found.append(hidden)
    return np.stack(found[::-1] if suffix else found)


@pytest.mark.parametrize("n_layers", [1, 2])
def test_lstm_pooling(load, n_layers):
    theirs = nn.LSTM(SIZE, SIZE // 2, n_layers, batch_first=True, bidirectional=True)
    regressor = nn.Sequential(nn.Linear(SIZE, 8), nn.ELU(), nn.Dropout(0.1), nn.Linear(8, 2)).eval()
    case = epochs("age_attn").with_task(output_dim=2).with_head(
        randomised(theirs, "temporal_agg.lstm.") | randomised(regressor, "head.regressor."),
        name="regression", hidden_dim=8,
        temporal_agg={"name": "lstm", "kwargs": {"num_layers": n_layers, "bidirectional": True}},
    )  # fmt: skip
    network = load(case)
    state = {key: value.double().numpy() for key, value in theirs.state_dict().items()}
    pooled = []
    for x, length in zip(states(network, case)[:, :, 0], case.length, strict=True):
        x = x[:length].double().numpy()
        for layer in range(n_layers):
            x = np.hstack([lstm(x, state, layer, suffix) for suffix in ("", "_reverse")])
        pooled.append(x.mean(axis=0))
    pooled = torch.tensor(np.stack(pooled), dtype=torch.float32)
    check(network, case, regressor(pooled), slice(None))


@pytest.mark.parametrize(("n_queries", "temperature"), [(1, 0.5), (3, 2.0)])
def test_attention_pooling(load, n_queries, temperature):
    key, query = nn.Linear(SIZE, SIZE), nn.Parameter(torch.randn(n_queries, SIZE))
    theirs = nn.Sequential(nn.ELU(), nn.Linear(n_queries * SIZE, 2)).eval()
    pool = randomised(key, "temporal_agg.pool.W.") | {"temporal_agg.pool.q": query}
    options = {"num_heads": n_queries, "temp": temperature}
    case = epochs("sex_cls").with_head(
        pool | randomised(theirs, "head.mlp."), name="classification",
        temporal_agg={"name": "attn", "kwargs": options},
    )  # fmt: skip
    case.document["model"]["cls"]["downstream"] = "tokens"
    network = load(case)
    pooled = []
    for x, length in zip(states(network, case)[:, :, 0], case.length, strict=True):
        weights = (key(x[:length]).tanh() @ query.T / temperature).softmax(dim=0)
        pooled.append(torch.cat([w @ x[:length] for w in weights.T]))
    check(network, case, theirs(torch.stack(pooled)), slice(None))


@pytest.mark.parametrize(("name", "n_in"), [("mean", 1), ("concat", 3), ("gated_scalar", 1)])
def test_channels_are_combined(load, name, n_in):
    theirs = mlp(n_in * SIZE, 5, None, 2, 0.1, "elu")
    gates = torch.tensor([0.3, -1.0, 2.0])
    state = randomised(theirs, "head.mlp.")
    if name == "gated_scalar":
        state["head.fusion.aggregator.gates"] = gates
    case = Case.load("stage5").with_head(state, name="classification", channel_agg={"name": name})
    network = load(case)
    tokens = states(network, case)
    fused = {
        "mean": tokens.mean(dim=2), "concat": tokens.flatten(2),
        "gated_scalar": torch.einsum("blmh,m->blh", tokens, gates.softmax(dim=0)),
    }[name]  # fmt: skip
    check(network, case, theirs(fused))


@pytest.mark.parametrize("shared", [True, False])
def test_pooled_layers_are_mixed(load, shared):
    theirs = mlp(SIZE, 2, None, 2, 0.1, "elu")
    weight = torch.randn(1 if shared else 3, 2)
    case = Case.load("sex_cls").with_head(
        randomised(theirs, "head.mlp.") | {"layer_mix.weight": weight},
        name="classification", channel_agg={"name": "mean"},
    )  # fmt: skip
    mix = {"enabled": True, "shared_across_modalities": shared, "layer_indices": [1, 2]}
    case.document["finetune"]["layer_mix"] = mix
    network = load(case)
    _, cls = network.encode(case.inputs, case.present, case.valid)
    fused = (cls * weight.softmax(dim=1)[None, :, :, None]).sum(dim=2).mean(dim=1)
    check(network, case, theirs(fused.detach()), slice(None))


AGES, SEXES = np.array([30.0, 45, 60, 75]), np.array([0, 1, 1, 0])


@pytest.mark.parametrize("kind", ["survival", "multilabel_classification"])
@pytest.mark.parametrize("fields", [("age", "sex"), ("age",), ("sex",)])
def test_age_and_sex_are_appended(load, kind, fields):
    age, sex = nn.Linear(1, 16), nn.Embedding(2, 16)
    theirs = mlp(SIZE + 16 * len(fields), 7, 12, 2, 0.1, "elu")
    state = randomised(theirs, "head.mlp.")
    columns = []
    for name, module, values in (
        ("age", age, torch.tensor(AGES, dtype=torch.float32)[:, None] / 100),
        ("sex", sex, torch.tensor(SEXES)),
    ):
        if name in fields:
            state |= randomised(module, f"survival_{name}_embedding.")
            columns.append(module(values))
    case = epochs("sex_cls").with_head(state, name="classification", hidden_dim=12)
    case.document["model"]["cls"]["downstream"] = "tokens"
    network = load(case.with_task(type=kind, output_dim=7))
    pooled = torch.stack([x[:n].mean(dim=0) for x, n in zip(
        states(network, case)[:, :, 0], case.length, strict=True)])  # fmt: skip
    expected = theirs(torch.cat([pooled, *columns], dim=1)).detach().numpy()
    stated = {"age": AGES, "sex": SEXES}
    found = network.logits(case.inputs, case.length, **{name: stated[name] for name in fields})
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("part", ["lora_A", "lora_B"])
def test_each_channel_needs_its_adapter(load, part):
    case = Case.load("stage5_lora_sep")
    lost = [key for key in case.state if f"{part}.ch_breath" in key]
    for key in lost:
        del case.state[key]
    with pytest.raises(ValueError, match=rf"'ch_breath' cannot be merged: missing .*{part}"):
        load(case)


def test_adapters_are_of_one_channel(load):
    case = Case.load("stage5_lora_sep")
    before = load(case).encode(case.inputs, case.present, case.valid)[0]
    for key in [key for key in case.state if "ch_breath" in key or "lora_B.default" in key]:
        case.state[key] = torch.randn_like(case.state[key])
    after = load(case).encode(case.inputs, case.present, case.valid)[0]
    same = [torch.equal(before[:, :, m], after[:, :, m]) for m in range(3)]
    assert same == [True, False, True]


def test_single_channel_with_own_adapter(load):
    case = Case.load("stage5_lora_sep")
    three = load(case)
    expected, _ = three.encode(case.inputs, case.present, case.valid)
    case = case.with_eeg_alone()
    alone, _ = load(case).encode(case.inputs, case.present, case.valid)
    torch.testing.assert_close(alone[:, :, 0], expected[:, :, 2], rtol=0, atol=1e-5)
