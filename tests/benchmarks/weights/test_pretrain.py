# SPDX-License-Identifier: BSD-3-Clause
"""What the bundled encoder is made of: its nights, its training, its card."""

import sys

import numpy as np
import pytest

from benchmarks.weights import nights, pretrain
from sleep2vec_sklearn import Recording, Sleep2VecTransformer, load_checkpoint, make_sleep_cohort
from sleep2vec_sklearn.encoding import feature_table
from sleep2vec_sklearn.errors import TrainingWarning
from sleep2vec_sklearn.recordings import MODALITIES


def watch_nights(n):
    return make_sleep_cohort(
        n, hours=0.5, modalities=["ibi", "actigraphy", "spo2"], missing=0, random_state=0,
        site_kinds="full_laboratory",
    )  # fmt: skip


def test_bundled_encoder_reads_every_modality():
    config = pretrain.mini_config()
    assert config.names == tuple(MODALITIES)
    assert config.token_dim == pretrain.TOKEN_SIZE
    assert config.projection is not None
    assert sum(m.conditioning.width for m in config.modalities) == len(feature_table(MODALITIES))


def test_shares_of_pairs_and_nights():
    shares = pretrain.wearable_shares([("eeg", "ecg"), ("eeg", "ibi"), ("ibi", "actigraphy")])
    assert list(shares.values()) == sorted(shares.values())
    assert shares["eeg", "ecg"] < shares["eeg", "ibi"] < shares["ibi", "actigraphy"]
    groups = {"simulated": range(40), "mmash": range(5), "mmash_watch": range(5)}
    weights = nights.night_weights(groups)
    assert weights.shape == (50,)
    assert weights[40:].sum() / weights.sum() == pytest.approx(nights.REAL_SHARE)
    assert nights.night_weights({"simulated": range(3)}).tolist() == [1.0] * 3


def test_simulated_nights_from_many_sites():
    cohort = nights.simulated_nights(40)
    assert len({night.subject for night in cohort}) == len(cohort) == 40
    assert cohort.metadata["site"].nunique() == 20
    again = nights.simulated_nights(3)
    assert [n.fingerprint for n in again] == [n.fingerprint for n in cohort[:3]]


def test_evaluation_nights_are_never_seen(tmp_path):
    assert nights.real_nights(tmp_path) == {}
    assert not set(nights.SOURCES) & set(nights.NEVER_SEEN.replace(",", "").split())
    assert set(nights.SOURCES) == {"simulated", *nights.SHARES}
    assert "sleep-accel" in nights.NEVER_SEEN


def test_card_counts_recordings():
    cohort = watch_nights(2)
    both = [*cohort, cohort[0].without("spo2")]
    (source,) = nights.describe("mine", {"simulated": both})["sources"]
    assert (source["recordings"], source["subjects"]) == (3, 2)
    assert source["hours_by_modality"] == {"actigraphy": 2, "ibi": 2, "spo2": 1}


def test_script_trains_and_resumes(monkeypatch, tmp_path, capsys):
    config = pretrain.mini_config(
        n_layers=1, hidden_size=16, intermediate_size=16, context_epochs=61
    )
    monkeypatch.setattr(pretrain, "mini_config", lambda: config)
    monkeypatch.setattr(pretrain, "simulated_nights", watch_nights)
    arguments = ["pretrain", "--work", str(tmp_path), "--subjects", "4", "--steps", "3"]
    # of the simulated stages alone
    monkeypatch.setattr(sys, "argv", [*arguments, "--jobs", "1"])
    with pytest.warns(TrainingWarning, match="batch_size"):
        pretrain.main()
    path, sha256 = capsys.readouterr().out.split()
    checkpoint = load_checkpoint(path)
    assert checkpoint.sha256 == sha256
    assert checkpoint.card["steps"] == 3
    assert checkpoint.card["sources"][0]["recordings"] == 4
    assert Sleep2VecTransformer(checkpoint).fit_transform(watch_nights(2)).shape[0] == 2
    # a finished run is loaded, so nothing is drawn again
    monkeypatch.setattr("sleep2vec_sklearn.pretraining._sampling.PairSampler.draw", None)
    with pytest.warns(TrainingWarning, match="batch_size"):
        pretrain.main()
    assert capsys.readouterr().out.split() == [path, sha256]


def test_watch_view_keeps_gaps():
    beats = 0.9 + 0.1 * np.random.default_rng(0).standard_normal(4 * 3600)
    beats[4 * 600 : 4 * 1200] = np.nan
    counts = np.arange(3600.0)
    night = Recording({"ibi": (beats, 4), "actigraphy": (counts, 1)}, id="a", subject="s")
    watch = nights.as_watch(night)
    assert (watch.id, watch.subject, watch.n_epochs) == ("a-watch", "s", night.n_epochs)
    assert watch.rates["ibi"] == 1
    np.testing.assert_array_equal(watch["actigraphy"], counts)
    seen = watch.signal("ibi").values
    assert np.isnan(seen[610:1190]).all()
    assert np.nanmean(seen) == pytest.approx(0.9, abs=0.02)
    # the mean of twenty samples: single beats are gone
    assert np.nanstd(seen) < 0.04
