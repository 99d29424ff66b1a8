# SPDX-License-Identifier: BSD-3-Clause
"""Targets that are distilled, and nights of one modality."""

from __future__ import annotations

import numpy as np
import pytest

from sleep2vec_sklearn.pretraining import EncoderSpec, InfoNCEObjective


def targets_of(nights):
    """Two classes by the saturation, unknown in the first epochs."""
    found = []
    for night in nights:
        level = night["spo2"].reshape(night.n_epochs, -1).mean(axis=1)
        high = (level > np.median(level)).astype(float)
        target = np.column_stack([high, 1 - high])
        target[:3] = np.nan
        found.append(target)
    return found


def objective(**weights):
    return InfoNCEObjective(**weights)


def test_targets_are_learned(pretrainer, montages):
    long = {"max_epochs": 4, "steps_per_epoch": 30, "lr": 1e-2}
    fitted = pretrainer(objective=objective(distillation_weight=1.0), **long)
    fitted.fit(montages, targets=targets_of(montages))
    by_epoch = [row["teacher"] for row in fitted.history_]
    # of two views, each at log(2) by chance
    assert by_epoch[0] < 2.5 * np.log(2)
    assert by_epoch[-1] < 0.7 * by_epoch[0]


def test_targets_tell_runs_apart(pretrainer, montages, tmp_path):
    folder = {"state_dir": tmp_path, "objective": objective(distillation_weight=1.0)}
    targets = targets_of(montages)
    first = pretrainer(**folder).fit(montages, targets=targets).checkpoint()
    assert pretrainer(**folder).fit(montages, targets=targets).checkpoint().sha256 == first.sha256
    with pytest.raises(Exception, match="targets"):
        pretrainer(**folder).fit(montages, targets=[1 - target for target in targets])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda targets: targets[:-1], "one array for each of the 8 nights, got 7"),
        (lambda targets: [*targets[:-1], targets[-1][:-1]], r"targets\[7\] has shape \(22, 2\)"),
        (lambda targets: [2 * target for target in targets], "rows sum to 1"),
        (lambda targets: None, "without targets"),
    ],
)
def test_wrong_targets_are_refused(pretrainer, montages, change, message):
    fitted = pretrainer(objective=objective(distillation_weight=1.0))
    with pytest.raises(ValueError, match=message):
        fitted.fit(montages, targets=change(targets_of(montages)))


def test_targets_need_a_weight(pretrainer, montages):
    with pytest.raises(ValueError, match="distillation_weight=0 of the objective with targets"):
        pretrainer().fit(montages, targets=targets_of(montages))


def test_lone_sensors_take_part(pretrainer, montages):
    nights = [*montages[1:], montages[0].without("effort", "spo2")]
    rebuilding = objective(reconstruction_weight=1.0)
    fitted = pretrainer(objective=rebuilding, batch_size=2, steps_per_epoch=20).fit(nights)
    assert ("ibi", "ibi") in fitted.pairs_
    batches = [batch for row in fitted.history_ for batch in row["batches"]]
    alone = [batch for batch in batches if batch["pair"] == "ibi-ibi"]
    assert 0 < len(alone) < len(batches)
    assert all(np.isnan(batch["contrast"]) and batch["own"] > 0 for batch in alone)
    contrasts = [batch["contrast"] for batch in fitted.history_[0]["batches"]]
    assert fitted.history_[0]["contrast"] == pytest.approx(np.nanmean(contrasts))


def test_they_need_the_reconstruction(pretrainer, montages):
    nights = [*montages[1:], montages[0].without("effort", "spo2")]
    assert ("ibi", "ibi") not in pretrainer(batch_size=2).fit(nights).pairs_


def test_expert_columns_are_trained_on(pretrainer, montages):
    spec = EncoderSpec(tokenizer="expert", hidden_size=8, n_layers=1, n_heads=2, token_dim=8)
    fitted = pretrainer(encoder=spec).fit(montages)
    modality = fitted.encoder_config_.modalities[-1]
    assert modality.conditioning.columns[0] == "hr"
    network = fitted.checkpoint().build()
    assert network.tokenizers["ibi"].n_features < len(modality.conditioning.columns)
    assert network.tokenizers["ibi"].feature_mean.any()
