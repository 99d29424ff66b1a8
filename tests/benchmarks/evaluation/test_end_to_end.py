# SPDX-License-Identifier: BSD-3-Clause
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.evaluation import end_to_end
from benchmarks.evaluation.end_to_end import (
    FINE_TUNED,
    FROM_SCRATCH,
    _draw,
    _predict,
    _prepare,
    _train,
    evaluate_training,
)
from benchmarks.evaluation.questions import APNEA_MINUTE, THREE_STAGES
from sleep2vec_sklearn import Recording

BOTH = ("ibi", "actigraphy")


@pytest.fixture(scope="module")
def nights(checkpoint_in_memory, cohort):
    return [_prepare(r, checkpoint_in_memory, BOTH, THREE_STAGES) for r in cohort]


def test_a_night_is_read_as_the_transformer_reads_it(checkpoint_in_memory, nights, cohort, embed):
    network = checkpoint_in_memory.build()
    night = nights[0]
    tokens = network.embed_features("ibi", night.inputs["ibi"][None], night.missing["ibi"][None])
    from sleep2vec_sklearn import EpochSequence

    expected = embed(EpochSequence(cohort[:1]), modalities=["ibi"], layer=0)
    got = network.encode(tokens, layer=0)[0, 1:].detach().numpy()
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_windows_are_of_one_night_each(nights):
    marked = [
        end_to_end._Night(
            {"ibi": torch.full((len(n.y), 1), float(k))}, {"ibi": torch.zeros(len(n.y)) > 0}, n.y
        )
        for k, n in enumerate(nights)
    ]
    batch = _draw(marked, 12, 8, torch.Generator().manual_seed(0), "cpu")
    assert batch.inputs["ibi"].shape == (12, 8, 1)
    assert (batch.inputs["ibi"].amax(dim=1) == batch.inputs["ibi"].amin(dim=1)).all()
    assert len(batch.inputs["ibi"][:, 0].unique()) > 1


def test_training_learns_what_it_is_shown(checkpoint_in_memory):
    rng = np.random.default_rng(0)
    stages = np.repeat([0, 2, 4, 2, 0, 4], 10)
    level = np.repeat(np.choose(stages, [0.6, 0, 0.9, 0, 1.2]), 120)
    signals = {"ibi": (level + 0.01 * rng.standard_normal(len(level)), 4)}
    night = _prepare(
        Recording(signals, stages=stages), checkpoint_in_memory, ("ibi",), THREE_STAGES
    )
    training = replace(FROM_SCRATCH, n_passes=30, lr=2e-3, head_lr=1e-2, batch_size=4)
    model = _train(training, checkpoint_in_memory, [night], ("ibi",), 3, "cpu")
    probability = _predict(model, night, "cpu")
    assert (probability.argmax(axis=1) == night.y.numpy()).mean() > 0.9
    np.testing.assert_allclose(probability.sum(axis=1), 1, atol=1e-5)


def test_no_person_trains_the_network_that_is_tested_on_them(
    checkpoint_in_memory, cohort, monkeypatch
):
    seen = []

    def spy(training, start, nights, *args):
        seen.append([id(night) for night in nights])
        return

    def predict(model, night, device):
        assert id(night) not in seen[-1]
        return np.full((len(night.y), 3), 1 / 3)

    monkeypatch.setattr(end_to_end, "_train", spy)
    monkeypatch.setattr(end_to_end, "_predict", predict)
    table = evaluate_training(FROM_SCRATCH, checkpoint_in_memory, cohort, BOTH, THREE_STAGES)
    assert len(seen) == 5
    assert set(table.index) == set(cohort.groups)
    assert (table["n_epochs"] == cohort[0].n_epochs - 1).all()


def test_a_minute_is_taught_to_both_of_its_epochs_and_scored_once(
    checkpoint_in_memory, monkeypatch
):
    def night(subject, onset):
        signals = {"ibi": (0.9 + 0.1 * np.sin(np.arange(9 * 120)), 4)}
        events = pd.DataFrame({"onset": [onset], "duration": [60.0], "type": ["apnea_minute"]})
        return Recording(signals, events=events, subject=subject, id=subject)

    taught = []

    def spy(training, start, nights, *args):
        taught.extend(nights)

    def predict(model, night, device):
        answers = np.eye(2)[night.y.clamp(min=0)]
        assert len(answers) == 9
        return answers

    monkeypatch.setattr(end_to_end, "_train", spy)
    monkeypatch.setattr(end_to_end, "_predict", predict)
    nights = [night("a", 0.0), night("b", 60.0)]
    table = evaluate_training(FROM_SCRATCH, checkpoint_in_memory, nights, ["ibi"], APNEA_MINUTE)
    assert sorted(night.y.tolist() for night in taught) == [
        [0, 0, 1, 1, 0, 0, 0, 0, -1],
        [1, 1, 0, 0, 0, 0, 0, 0, -1],
    ]
    assert table["n_epochs"].tolist() == [4, 4]
    assert table["auroc"].tolist() == [1, 1]


def test_from_scratch_starts_elsewhere_and_fine_tuning_at_the_checkpoint(
    checkpoint_in_memory, cohort, monkeypatch
):
    starts = []

    def spy(training, start, nights, *args):
        starts.append(start.sha256)
        raise InterruptedError

    monkeypatch.setattr(end_to_end, "_train", spy)
    for training in (FROM_SCRATCH, FINE_TUNED):
        with pytest.raises(InterruptedError):
            evaluate_training(training, checkpoint_in_memory, cohort, BOTH, THREE_STAGES)
    assert starts[0] != checkpoint_in_memory.sha256
    assert starts[1] == checkpoint_in_memory.sha256
