# SPDX-License-Identifier: BSD-3-Clause
import json

import pytest

from sleep2vec_sklearn.finetuning.config import HeadConfig, LoraConfig


@pytest.mark.parametrize(
    "config",
    [HeadConfig(8, ["eeg", "ibi"], 3, head="temporal_conv", head_size=4), LoraConfig(rank=2)],
)
def test_a_configuration_survives_json(config):
    assert type(config).from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_unknown_keys_are_named():
    with pytest.raises(ValueError, match=r"HeadConfig: unknown 'heads'; accepted: .*activation"):
        HeadConfig.from_dict({"heads": 2})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_outputs": 0}, "n_outputs must be a whole number from 1 on, got 0"),
        ({"n_layers": True}, "n_layers must be a whole number from 1 on, got True"),
        ({"n_covariates": -1}, "n_covariates must be a whole number from 0 on"),
        ({"head_size": 1.5}, "head_size must be a whole number"),
        ({"kernel_size": 4}, "kernel_size must be odd, got 4"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
        ({"unit": "hour"}, "unit must be one of 'epoch', 'night', got 'hour'"),
        ({"head": "svm"}, "head must be one of 'linear', 'mlp'"),
        ({"aggregation": "max"}, "aggregation must be one of 'mean', 'concat', 'gated'"),
        ({"pooling": "max"}, "pooling must be one of 'mean', 'attention', 'cls'"),
        ({"activation": "tanh"}, "activation must be one of 'elu'"),
        ({"modalities": ()}, "each modality once and at least one"),
        ({"modalities": ("eeg", "eeg")}, "each modality once"),
        ({"unit": "night", "head": "temporal_conv"}, "accepted for nights: 'linear', 'mlp'"),
    ],
)
def test_what_a_head_cannot_be_is_said(wrong, message):
    values = {"hidden_size": 8, "modalities": ("eeg",), "n_outputs": 2, **wrong}
    with pytest.raises(ValueError, match=message):
        HeadConfig(**values)


@pytest.mark.parametrize("alpha", [0, -1.0, float("nan"), "16"])
def test_alpha_is_a_positive_number(alpha):
    with pytest.raises(ValueError, match="alpha must be a positive number"):
        LoraConfig(alpha=alpha)
