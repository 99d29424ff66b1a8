# SPDX-License-Identifier: BSD-3-Clause
import dataclasses
import json

import pytest

from sleep2vec_sklearn.model import EncoderConfig, ModalityConfig, ProjectionConfig, TokenizerConfig
from sleep2vec_sklearn.model.config import LIMITS
from sleep2vec_sklearn.recordings import MODALITIES, Conditioning


def test_config_survives_json(config):
    rebuilt = EncoderConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert rebuilt == config
    assert hash(rebuilt) == hash(config)
    assert rebuilt.modalities[0].conditioning == MODALITIES["eeg"].conditioning
    assert rebuilt.modalities[0].conditioning.band == (0.3, 35.0)


@pytest.mark.parametrize(
    "path", [(), ("projection",), ("modalities", 0), ("modalities", 0, "conditioning")]
)
def test_unknown_keys_are_named(config, path):
    document = config.to_dict()
    target = document
    for key in path:
        target = target[key]
    target["n_expert"] = 4
    with pytest.raises(ValueError, match="n_expert"):
        EncoderConfig.from_dict(document)


def test_missing_keys_are_named(config):
    document = config.to_dict()
    del document["hidden_size"]
    with pytest.raises(ValueError, match="lacks hidden_size"):
        EncoderConfig.from_dict(document)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"n_heads": 5}, "even multiple"), ({"n_layers": 0}, "n_layers"),
     ({"hidden_size": 32.0}, "hidden_size"), ({"dropout": 1.0}, "dropout"),
     ({"modalities": ()}, "at least one"), ({"context_epochs": 2000}, "max_positions"),
     ({"context_epochs": 1536, "cls": True}, "CLS")],
)  # fmt: skip
def test_impossible_encoders_are_refused(config, change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(config, **change)


def test_modalities_fit_each_other(config):
    with pytest.raises(ValueError, match="once"):
        dataclasses.replace(config, modalities=config.modalities[:1] * 2)
    other = dataclasses.replace(config.modalities[1], tokenizer=TokenizerConfig("linear", 8))
    with pytest.raises(ValueError, match="share one out_dim"):
        dataclasses.replace(config, modalities=(config.modalities[0], other))


@pytest.mark.parametrize(
    ("make", "message"),
    [(lambda: TokenizerConfig("conv", 8), "'conv'; accepted: linear"),
     (lambda: TokenizerConfig("linear", 8, {"pre_norm": True}), "pre_norm"),
     (lambda: TokenizerConfig("sundial2", 8, {"num_mlp_layers": 1}), "num_mlp_layers"),
     (lambda: TokenizerConfig("sundial", 8, {"dropout": -1}), "dropout"),
     (lambda: TokenizerConfig("sundial2", 8, {"clamp_value": 0}), "clamp_value"),
     (lambda: TokenizerConfig("spectral", 8, {"inner_dim": 0}), "inner_dim"),
     (lambda: ProjectionConfig(0, 8), "hidden_size"),
     (lambda: _modality("eegg"), "Did you mean 'eeg'"),
     (lambda: _modality("eeg", rate=0.01), "no sample"),
     (lambda: _modality("ibi", rate=0.5), "at least 1 Hz")],
)  # fmt: skip
def test_impossible_parts_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def _modality(name, rate=4):
    return ModalityConfig(
        name, Conditioning(rate=rate, min_rate=None), TokenizerConfig("spectral", 8)
    )


def test_options_are_copied():
    options = {"dropout": 0.0}
    tokenizer = TokenizerConfig("sundial", 8, options)
    options["dropout"] = 0.5
    assert tokenizer.option("dropout") == 0.0
    assert tokenizer.option("norm_layer") is True


@pytest.mark.parametrize(
    "change",
    [{"rate": 10**9}, {"rate": float("nan")}, {"rate": "x"}, {"min_rate": "x"}, {"min_rate": -1},
     {"band": (35.0, 0.3)}, {"band": "x"}, {"band": (-1.0, None)}, {"limits": ("a", "b")},
     {"resampling": "x"}, {"scaling": "x"}, {"center": "x"}, {"center": 10**400}, {"scale": 0},
     {"clip": -5}, {"clip": "x"}],
    ids=str,
)  # fmt: skip
def test_impossible_conditioning_is_refused(change):
    conditioning = dataclasses.replace(MODALITIES["spo2"].conditioning, **change)
    with pytest.raises(ValueError, match=f"'spo2'.*{next(iter(change))}"):
        ModalityConfig("spo2", conditioning, TokenizerConfig("linear", 8))


@pytest.mark.parametrize("name", ["n_layers", "hidden_size", "intermediate_size", "max_positions"])
def test_sizes_have_limits(config, name, monkeypatch):
    with pytest.raises(ValueError, match=rf"{name} must be up to .*config\.LIMITS"):
        dataclasses.replace(config, **{name: 10**9})
    monkeypatch.setitem(LIMITS, name if name in LIMITS else "other sizes", 10**10)
    assert getattr(dataclasses.replace(config, **{name: 10**9}), name) == 10**9


@pytest.mark.parametrize(
    "options", [{"pre_norm": 1}, {"ff_scale": "x"}, {"modality_scale": None}, {"dropout": "x"}]
)
def test_options_have_types(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        TokenizerConfig("sundial2", 8, options)
