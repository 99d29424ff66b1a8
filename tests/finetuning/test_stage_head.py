# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from safetensors.numpy import save_file

from sleep2vec_sklearn.errors import CheckpointError
from sleep2vec_sklearn.finetuning.stager import (
    BUNDLED_HEAD,
    StageHead,
    load_stage_head,
    save_stage_head,
)

RNG = np.random.default_rng(0)
TRUST = np.array([3.0, 1.0])
HEAD = StageHead(
    ("eeg", "ibi"), RNG.standard_normal((2, 8, 5)), RNG.standard_normal((2, 5)), TRUST, "abc",
    {"n": 1},
)  # fmt: skip
TOKENS = {name: RNG.standard_normal((30, 8)).astype(np.float32) for name in ("eeg", "ibi")}
EVERYWHERE = {name: np.ones(30, dtype=bool) for name in TOKENS}


def softmax(logits):
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def vote(place, tokens):
    return (tokens - tokens.mean(axis=0)) @ HEAD.weight[place] + HEAD.bias[place]


def test_votes_of_the_sensors_are_averaged_by_trust():
    expected = softmax((3 * vote(0, TOKENS["eeg"]) + vote(1, TOKENS["ibi"])) / 4)
    np.testing.assert_allclose(HEAD.probabilities(TOKENS, EVERYWHERE), expected, rtol=1e-5)


def test_a_sensor_alone_votes_alone():
    alone = HEAD.probabilities({"ibi": TOKENS["ibi"]}, EVERYWHERE)
    np.testing.assert_allclose(alone, softmax(vote(1, TOKENS["ibi"])), rtol=1e-5)


def test_an_epoch_is_staged_from_the_sensors_it_has():
    valid = {"eeg": np.arange(30) < 20, "ibi": np.arange(30) >= 10}
    found = HEAD.probabilities(TOKENS, valid)
    centred = TOKENS["eeg"] - TOKENS["eeg"][:20].mean(axis=0)
    expected = softmax(centred @ HEAD.weight[0] + HEAD.bias[0])[:10]
    np.testing.assert_allclose(found[:10], expected, rtol=1e-5)


def test_an_epoch_without_a_sensor_has_no_probability():
    valid = {name: np.arange(30) != 7 for name in TOKENS}
    found = HEAD.probabilities(TOKENS, valid)
    assert np.isnan(found[7]).all()
    assert np.isfinite(np.delete(found, 7, axis=0)).all()


def test_what_is_the_same_all_night_tells_nothing():
    shifted = {name: tokens + 3 for name, tokens in TOKENS.items()}
    found = [HEAD.probabilities(tokens, EVERYWHERE) for tokens in (TOKENS, shifted)]
    np.testing.assert_allclose(*found, rtol=1e-4)


def test_a_day_around_the_night_does_not_change_its_stages():
    wake = np.array([9.0, 0, 0, 0, 0])
    weight = np.zeros((1, 2, 5))
    weight[0, 0] = wake
    head = StageHead(("eeg",), weight, np.zeros((1, 5)), np.ones(1), "abc")
    night = np.where(RNG.random(1200) < 0.2, 0.5, -0.5)
    day = np.full(1200, 0.6) + 0.01 * RNG.standard_normal(1200)
    found = {}
    for name, level in (("night", night), ("both", np.concatenate([day, night]))):
        tokens = {"eeg": np.stack([level, np.zeros_like(level)], axis=1)}
        found[name] = head.probabilities(tokens, {"eeg": np.ones(len(level), dtype=bool)})
    np.testing.assert_allclose(found["both"][1200:], found["night"], atol=1e-6)


def test_a_head_that_was_written_is_read(tmp_path):
    path = tmp_path / "head.safetensors"
    save_stage_head(path, HEAD)
    again = load_stage_head(path)
    assert (again.modalities, again.checkpoint_sha256, again.card) == (
        ("eeg", "ibi"),
        "abc",
        {"n": 1},
    )
    for name in ("weight", "bias", "trust"):
        np.testing.assert_allclose(getattr(again, name), getattr(HEAD, name), rtol=1e-3)


def test_the_bundled_head_is_small_and_says_who_trained_it():
    assert BUNDLED_HEAD.stat().st_size < 32_000
    card = load_stage_head().card
    assert "not a medical device" in card["what"]
    assert card["real_people"]["sleep-edf"] == ["sleep-edf/SC400"]
    assert len(card["real_people"]["sleep-accel"]) == 23
    assert {row["nights"] for row in card["held_out"]} >= {"sleep-accel", "sleep-edf", "simulated"}


def test_the_bundled_head_reads_the_bundled_encoder():
    from sleep2vec_sklearn import load_checkpoint

    checkpoint = load_checkpoint("sleep2vec-mini")
    head = load_stage_head()
    assert head.checkpoint_sha256 == checkpoint.sha256
    assert head.modalities == tuple(m.name for m in checkpoint.config.modalities)


def test_files_of_something_else_are_refused(tmp_path):
    path = tmp_path / "head.safetensors"
    with pytest.raises(CheckpointError, match="no stager can be read"):
        load_stage_head(path)
    save_file({"weight": np.zeros((1, 2, 5))}, path)
    with pytest.raises(CheckpointError, match="no stager can be read"):
        load_stage_head(path)


def test_shapes_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "head.safetensors"
    save_stage_head(path, StageHead(("eeg",), HEAD.weight, HEAD.bias, TRUST, "abc"))
    with pytest.raises(CheckpointError, match="for 1 modalities"):
        load_stage_head(path)


@pytest.mark.parametrize("wrong", [{"weight": np.full((2, 8, 5), 1e6)}, {"card": {"x": np.nan}}])
def test_what_no_file_could_hold_is_not_written(tmp_path, wrong):
    parts = {"weight": HEAD.weight, "card": {}} | wrong
    head = StageHead(HEAD.modalities, parts["weight"], HEAD.bias, TRUST, "abc", parts["card"])
    with pytest.raises(CheckpointError, match="not saved"):
        save_stage_head(tmp_path / "head.safetensors", head)
    assert not list(tmp_path.iterdir())
