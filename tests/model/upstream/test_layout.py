# SPDX-License-Identifier: BSD-3-Clause
import pytest
import torch

from sleep2vec_sklearn.errors import CheckpointError
from sleep2vec_sklearn.model import config_from_upstream, state_from_upstream
from sleep2vec_sklearn.recordings import MODALITIES, Conditioning


def test_widths_give_rates(upstream):
    document, _ = upstream("tokens")
    document["model"]["channels"][0]["input_dim"] = 120
    document["model"]["channels"][2]["input_dim"] = 960
    ibi, _, actigraphy = config_from_upstream(document).modalities
    assert (ibi.name, ibi.conditioning.rate, ibi.conditioning.width) == ("ibi", 4.0, 120)
    assert (actigraphy.conditioning.rate, actigraphy.conditioning.min_rate) == (32.0, 16.0)


def test_bare_model_config_is_read(upstream):
    document, _ = upstream("cls")
    config = config_from_upstream(document["model"])
    assert config == config_from_upstream(document)
    assert config.cls
    assert config.intermediate_size == 128
    del document["model"]["backbone"]["config_overrides"]
    config = config_from_upstream(document)
    assert (config.intermediate_size, config.max_positions) == (3072, 1536)


def test_projection_can_be_disabled(upstream, state_of):
    document, arrays = upstream("tokens")
    document["model"]["projection"]["enabled"] = False
    config = config_from_upstream(document)
    state = {k: v for k, v in state_of(arrays).items() if not k.startswith("proj_head")}
    assert config.projection is None
    assert not any("projection.hidden" in key for key in state_from_upstream(state, config))


def test_unfit_keys_are_listed(upstream, state_of):
    document, arrays = upstream("tokens")
    state = state_of(arrays)
    state["head.mlp.1.weight"] = torch.zeros(2)
    state["tokenizer_mapping.heartbeat.conv.weight"] = torch.zeros(2)
    del state["embedding_projection.bias"]
    with pytest.raises(CheckpointError) as caught:
        state_from_upstream(state, config_from_upstream(document))
    for key in ("head.mlp.1.weight", "heartbeat.conv.weight", "missing input_projection.bias"):
        assert key in str(caught.value)


@pytest.mark.parametrize(
    ("section", "change", "word"),
    [("backbone", {"name": "hf_bert"}, "hf_bert"),
     ("backbone", {"config_overrides": {"rotary_value": True}}, "rotary_value"),
     ("backbone", {"config_overrides": {"embedding_size": 32}}, "embedding_size"),
     ("cls", {"embedding_type": "mean"}, "mean"), ("projection", {"name": "mlp"}, "mlp"),
     ("backbone", {"num_attention_heads": 7}, "n_heads")],
)  # fmt: skip
def test_other_networks_are_refused(upstream, section, change, word):
    document, _ = upstream("tokens")
    document["model"][section].update(change)
    with pytest.raises(CheckpointError, match=word):
        config_from_upstream(document)


def test_unfit_documents_are_refused(upstream):
    document, _ = upstream("tokens")
    document["model"]["channels"][0]["name"] = "temperature"
    with pytest.raises(CheckpointError, match="temperature"):
        config_from_upstream(document)
    del document["model"]["backbone"]
    with pytest.raises(CheckpointError, match="backbone"):
        config_from_upstream(document)


def test_sundial2_keeps_extra_layers(upstream, state_of):
    document, arrays = upstream("sundial2")
    state = state_of(arrays)
    for channel in document["model"]["channels"]:
        channel["tokenizer"]["kwargs"] = {"num_mlp_layers": 3, "clamp_value": 4.0}
        prefix = f"tokenizer_mapping.{channel['name']}.extra_output_layers.0"
        state[f"{prefix}.weight"], state[f"{prefix}.bias"] = torch.eye(48), torch.zeros(48)
    renamed = state_from_upstream(state, config_from_upstream(document))
    assert torch.equal(renamed["tokenizers.eeg.extra.0.weight"], torch.eye(48))


def test_conditioning_follows_the_choice(upstream):
    document, _ = upstream("cls")
    eeg = {m.name: m.conditioning for m in config_from_upstream(document).modalities}["eeg"]
    assert (eeg.scaling, eeg.center, eeg.scale, eeg.band) == ("absolute", 0.0, 1.0, (None, None))
    assert eeg.limits == (None, None)
    own = config_from_upstream(document, conditioning="catalogue").modalities[1].conditioning
    known = MODALITIES["eeg"].conditioning
    assert (own.scaling, own.band, own.rate) == ("robust", known.band, 24 / 30)
    scaled = Conditioning(rate=0.2, min_rate=None, scaling="absolute", center=0.9, scale=0.2)
    config = config_from_upstream(document, conditioning={"ibi": scaled})
    assert config.modalities[0].conditioning == scaled
    assert config.modalities[1] == config_from_upstream(document).modalities[1]


@pytest.mark.parametrize(
    ("conditioning", "word"),
    [("ours", "accepted: 'as given', 'catalogue'"),
     ({"ppg": Conditioning(rate=1, min_rate=None)}, "conditioning for ppg; it reads ibi"),
     ({"ibi": Conditioning(rate=4, min_rate=None)}, "gives 120 samples an epoch, its input_dim")],
)  # fmt: skip
def test_unfit_conditioning_is_refused(upstream, conditioning, word):
    document, _ = upstream("cls")
    with pytest.raises(CheckpointError, match=word):
        config_from_upstream(document, conditioning=conditioning)
