# SPDX-License-Identifier: BSD-3-Clause
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from safetensors.numpy import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score
from sklearn.pipeline import make_pipeline

from sleep2vec_sklearn import (
    EpochSequence,
    Recording,
    Sleep2VecTransformer,
    load_checkpoint,
    make_sleep_cohort,
    stage_night,
)
from sleep2vec_sklearn.datasets import write_edf_cohort
from sleep2vec_sklearn.errors import (
    CheckpointError,
    InvalidRecordingError,
    RecordingWarning,
    UnknownModalityError,
)
from sleep2vec_sklearn.evaluation import sleep_statistics
from sleep2vec_sklearn.finetuning._stage_head import (
    BUNDLED_HEAD,
    SensorVote,
    StageHead,
    load_stage_head,
    save_stage_head,
)
from sleep2vec_sklearn.model import SeqSleepNet
from sleep2vec_sklearn.model.encoder import EncodedModality
from tests.seqsleepnet import named_night, noise, random_state

SENSORS = ("eeg", "eog", "spo2", "ibi")


@pytest.fixture(scope="module")
def night():
    """A simulated night that is in no training set: another seed."""
    return make_sleep_cohort(1, hours=3, modalities=SENSORS, missing=0, random_state=11)[0]


@pytest.fixture(scope="module")
def staged(night):
    return stage_night(night, cache=None)


def test_every_epoch_is_staged(night, staged):
    assert staged.stages.shape == (night.n_epochs,)
    np.testing.assert_allclose(staged.probabilities.sum(axis=1), 1)
    np.testing.assert_array_equal(staged.probabilities.to_numpy().argmax(axis=1), staged.stages)
    scored = night.stages >= 0
    assert cohen_kappa_score(night.stages[scored], staged.stages[scored]) > 0.4


@pytest.mark.parametrize("used", [("ibi",), ("spo2",), ("eog", "ibi")])
def test_any_sensors_are_enough(night, used):
    staged = stage_night(night.without(*(set(SENSORS) - set(used))))
    assert staged.modalities == used
    assert (staged.stages >= 0).all()
    if len(used) == 1:
        assert (staged.agreement == 1).all()


def test_chosen_modalities_alone_count(night):
    chosen = stage_night(night, modalities=["ibi"])
    without = stage_night(night.without("eeg", "eog", "spo2"))
    np.testing.assert_array_equal(chosen.probabilities, without.probabilities)


def test_empty_epochs_are_unscored():
    rate = 4
    values = 0.9 + 0.05 * np.random.default_rng(0).standard_normal(60 * 30 * rate)
    values[20 * 30 * rate : 30 * 30 * rate] = np.nan
    staged = stage_night({"ibi": (values, 4)})
    assert (staged.stages[20:30] == -1).all()
    assert staged.probabilities.iloc[20:30].isna().all(axis=None)
    assert (np.delete(staged.stages, np.s_[20:30]) >= 0).all()
    assert "10 without a signal" in repr(staged)


@pytest.mark.parametrize(("mode", "read"), [("one", "C4-A1"), ("all", "C4-A1 + C3-A2")])
def test_derivations_are_told(mode, read):
    staged = stage_night(named_night({"C4-A1": noise(30), "C3-A2": noise(30, 1)}, mode))
    assert staged.derivations == {"eeg": read}
    assert staged.rests_on == f"share of the night with a signal: eeg ({read}) 100 %"


def test_single_epochs_are_staged():
    with pytest.warns(RecordingWarning, match="fewer than 20 epochs"):
        staged = stage_night({"eeg": (noise(1), 100)})
    np.testing.assert_allclose(staged.probabilities.sum(axis=1), 1)


def test_hours_without_a_sensor():
    eeg = noise(600)
    eeg[100 * 3000 : 500 * 3000] = np.nan
    spo2 = 95 + np.arange(18000) // 9 % 3.0
    staged = stage_night({"eeg": (eeg, 100), "spo2": (spo2, 1)})
    assert staged.measured.sum().tolist() == [200, 600]
    assert staged.probabilities.notna().all(axis=None)


def test_flat_sensors_are_left_out(night):
    flat = {"eeg": (np.zeros(60 * 3840), 128), "spo2": (95 + np.arange(1800) % 3.0, 1)}
    staged = stage_night(Recording(flat))
    assert staged.left_out == ("eeg",)
    assert "without a signal: eeg" in staged.rests_on
    assert staged.modalities == ("spo2",)


def test_table_of_epochs(staged, night):
    table = staged.to_frame()
    probabilities = ["W", "N1", "N2", "N3", "R"]
    assert [*table.columns] == [
        "onset", "clock", "stage", *probabilities, "n_modalities", "agreement",
    ]  # fmt: skip
    assert table["agreement"].between(0, 1).all()
    assert table["onset"].iloc[2] == 60
    assert table["clock"].iloc[2] == night.start + timedelta(seconds=60)
    assert set(table["stage"]) <= {"W", "N1", "N2", "N3", "R"}
    assert (table["n_modalities"] == 4).all()
    expected = sleep_statistics(staged.stages, lights=night.lights)
    np.testing.assert_array_equal(staged.statistics(), expected)


def test_used_sensors_are_named(staged):
    assert staged.modalities == SENSORS
    assert staged.voters == SENSORS
    assert "eeg 100 %" in staged.rests_on
    assert repr(staged).startswith("StagedNight(sim-0001-n1: W ")
    assert staged.card["real_people"]


def test_files_are_read(tmp_path):
    cohort = make_sleep_cohort(1, hours=0.25, modalities=["eeg"], missing=0, random_state=0)
    write_edf_cohort(cohort, tmp_path)
    staged = stage_night(next(tmp_path.glob("*.edf")), modalities=["eeg"])
    assert len(staged.stages) == 30


def test_unfit_nights_are_refused(night):
    with pytest.raises(InvalidRecordingError, match="stage them one by one"):
        stage_night([night, night])
    with pytest.raises(InvalidRecordingError, match="none of which"):
        stage_night(night, modalities=["ppg"])
    with pytest.raises(UnknownModalityError):
        stage_night(night, modalities=["phone"])


def test_flat_nights_are_refused():
    flat = Recording({"spo2": (np.full(7200, 96.0), 4)}, id="flat")
    with pytest.raises(InvalidRecordingError, match="no usable signal: spo2 flat") as told:
        stage_night(flat)
    assert "on_error" not in str(told.value)


def test_seqsleepnet_stages_by_eeg(tmp_path, monkeypatch):
    night, network = named_night({"C4-A1": noise(30)}), SeqSleepNet(random_state())
    path = tmp_path / "eeg.safetensors"
    save_file({k: t.numpy() for k, t in random_state().items()}, path)
    monkeypatch.setattr("sleep2vec_sklearn.model.external.seqsleepnet.fetch_file", lambda: path)
    staged = stage_night(night, stager=network)
    np.testing.assert_array_equal(staged.probabilities, network.predict_proba(night))
    np.testing.assert_array_equal(staged.stages, staged.probabilities.to_numpy().argmax(axis=1))
    assert staged.embedding.shape == (30, 128)
    assert staged.modalities == ("eeg",)
    assert "eeg (C4-A1) 100 %; staged by: seqsleepnet" in staged.rests_on
    assert staged.statistics()["tib_min"] == 15
    assert "MIT" in staged.card["licence"]
    for stager in ("seqsleepnet", path):
        again = stage_night(night, stager=stager, modalities=["eeg"])
        np.testing.assert_array_equal(again.stages, staged.stages)


def test_unfit_stagers_are_refused(night):
    network = SeqSleepNet(random_state())
    with pytest.raises(CheckpointError, match="is a Checkpoint, which gives no stages"):
        stage_night(night, stager=load_checkpoint("sleep2vec-mini"))
    with pytest.raises(CheckpointError, match="is no stager; accepted are 'bundled'"):
        stage_night(night, stager="usleep")
    with pytest.raises(CheckpointError, match="a file that is not there"):
        stage_night(night, stager="folder/stager.safetensors")
    with pytest.raises(InvalidRecordingError, match="it reads the EEG alone"):
        stage_night(night, stager=network, modalities=["eeg", "ibi"])
    with pytest.raises(InvalidRecordingError, match="the night has eog, spo2, ibi; stager='seq"):
        stage_night(night.without("eeg"), stager=network)
    with pytest.raises(InvalidRecordingError, match="no usable signal: eeg flat"):
        stage_night(named_night({"C4-A1": np.zeros(9000)}), stager=network)


RNG = np.random.default_rng(0)
TRUST = np.array([3.0, 1.0])


def random_vote(width):
    return SensorVote(np.ones(width), RNG.standard_normal((width, 5)), RNG.standard_normal(5))


HEAD = StageHead(
    {"eeg": random_vote(8), "ibi": random_vote(5)}, TRUST, RNG.standard_normal(5), 0.5, "abc",
    {"n": 1},
)  # fmt: skip
TOKENS = {
    name: RNG.standard_normal((30, width)).astype(np.float32)
    for name, width in (("eeg", 8), ("ibi", 5))
}


def night_of(tokens, valid=None):
    """Encoded modalities, on everywhere by default."""
    everywhere = np.ones(len(next(iter(tokens.values()))), dtype=bool)
    masks = valid or dict.fromkeys(tokens, everywhere)
    return {name: EncodedModality(tokens[name], masks[name]) for name in tokens}


def softmax(logits):
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def vote(name, epochs=slice(None)):
    relative = TOKENS[name][epochs] - TOKENS[name][epochs].mean(axis=0)
    return HEAD.votes[name](relative, relative.std(axis=0))


def test_votes_are_weighted_by_trust():
    pooled = (3 * vote("eeg") + vote("ibi")) / 2
    found, agreement = HEAD.stage(night_of(TOKENS))
    np.testing.assert_allclose(found, softmax(HEAD.level + pooled), rtol=1e-5)
    own = [
        (HEAD.level + np.sqrt(trust) * vote(name)).argmax(1) == found.argmax(1)
        for name, trust in (("eeg", 3), ("ibi", 1))
    ]
    np.testing.assert_allclose(agreement, (3 * own[0] + own[1]) / 4)
    alone, agreement = HEAD.stage(night_of({"ibi": TOKENS["ibi"]}))
    np.testing.assert_allclose(alone, softmax(HEAD.level + vote("ibi")), rtol=1e-5)
    assert (agreement == 1).all()


def test_epochs_use_their_sensors():
    valid = {"eeg": np.arange(30) < 20, "ibi": np.arange(30) >= 10}
    found, _ = HEAD.stage(night_of(TOKENS, valid))
    expected = softmax(HEAD.level + np.sqrt(3) * vote("eeg", slice(20)))[:10]
    np.testing.assert_allclose(found[:10], expected, rtol=1e-5)


def test_gaps_and_constant_shifts():
    valid = {name: np.arange(30) != 7 for name in TOKENS}
    found, agreement = HEAD.stage(night_of(TOKENS, valid))
    assert np.isnan(found[7]).all()
    assert np.isnan(agreement[7])
    assert np.isfinite(np.delete(found, 7, axis=0)).all()
    shifted = {name: 2 * tokens + 3 for name, tokens in TOKENS.items()}
    found = [HEAD.stage(night_of(tokens))[0] for tokens in (TOKENS, shifted)]
    np.testing.assert_allclose(*found, rtol=1e-4)


@pytest.mark.parametrize("n_epochs", [1, 30])
def test_constant_tokens_are_staged(n_epochs):
    tokens = {name: np.ones((n_epochs, t.shape[1])) for name, t in TOKENS.items()}
    found, agreement = HEAD.stage(night_of(tokens))
    assert np.isfinite(found).all()
    assert np.isfinite(agreement).all()


def test_window_bounds_the_mean():
    shifted = {name: np.concatenate([tokens, tokens + 9]) for name, tokens in TOKENS.items()}
    found, _ = HEAD.stage(night_of(shifted), (0, 30))
    np.testing.assert_allclose(found[:30], HEAD.stage(night_of(TOKENS))[0], rtol=1e-5)


def test_heads_are_written_and_read(tmp_path):
    path = tmp_path / "head.safetensors"
    save_stage_head(path, HEAD)
    again = load_stage_head(path)
    assert (again.modalities, again.checkpoint_sha256) == (("eeg", "ibi"), "abc")
    assert again.card == {"n": 1}
    found = [head.stage(night_of(TOKENS))[0] for head in (again, HEAD)]
    np.testing.assert_allclose(*found, rtol=1e-5)


def test_bundled_head_and_its_card():
    assert BUNDLED_HEAD.stat().st_size < 64_000
    head = load_stage_head()
    card = head.card
    assert "not a medical device" in card["what"]
    assert card["real_people"]["sleep-edf"] == ["sleep-edf/SC400"]
    assert len(card["real_people"]["sleep-accel"]) == 23
    assert {row["nights"] for row in card["held_out"]} >= {"sleep-accel", "sleep-edf", "simulated"}
    checkpoint = load_checkpoint("sleep2vec-mini")
    assert head.checkpoint_sha256 == checkpoint.sha256
    assert head.modalities == tuple(m.name for m in checkpoint.config.modalities)


def test_unfit_heads_are_refused(tmp_path):
    path = tmp_path / "head.safetensors"
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_stage_head(path)
    save_file({"weight": np.zeros((1, 2, 5))}, path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_stage_head(path)
    save_stage_head(path, replace(HEAD, trust=np.ones(1)))
    with pytest.raises(CheckpointError, match="do not fit 2 sensors"):
        load_stage_head(path)


@pytest.mark.parametrize("wrong", [{"trust": np.full(2, np.inf)}, {"card": {"x": np.nan}}])
def test_impossible_heads_are_not_written(tmp_path, wrong):
    with pytest.raises(CheckpointError, match="not saved"):
        save_stage_head(tmp_path / "head.safetensors", replace(HEAD, **wrong))
    assert not list(tmp_path.iterdir())


def test_classifiers_stage_nights(counting_source):
    nights = make_sleep_cohort(2, hours=1, modalities=["ibi"], missing=0, random_state=0)
    X = EpochSequence(nights)
    model = make_pipeline(Sleep2VecTransformer(), LogisticRegression(max_iter=200))
    model.fit(X[X.stages >= 0], X.stages[X.stages >= 0])
    staged = stage_night(nights[1], stager=model)
    own = model.predict(EpochSequence([nights[1]]))
    on = staged.measured["ibi"].to_numpy()
    np.testing.assert_array_equal(staged.stages[on], own[on])
    assert staged.to_frame().shape == (120, 10)
    source = counting_source({"ibi": (nights[1]["ibi"], 4, "s")})
    again = Recording.from_source(source, id="a", lights=nights[1].lights)
    again = stage_night(again, stager=model)
    np.testing.assert_array_equal(again.stages[on], own[on])
    assert source.reads == [("ibi",)]
    for classes in (["W", "S"], [False, True]):
        model[-1].classes_ = np.array(classes)
        with pytest.raises(InvalidRecordingError, match="a classifier of the classes"):
            stage_night(nights[1], stager=model)


def test_classifiers_name_their_sensors(night):
    X = EpochSequence([night])
    transformer = Sleep2VecTransformer(modalities=["ibi"])
    model = make_pipeline(transformer, LogisticRegression(max_iter=50)).fit(X, X.stages > 0)
    model[-1].classes_ = np.array([0, 2])
    assert stage_night(night, stager=model).modalities == ("ibi",)
