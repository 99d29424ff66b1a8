# SPDX-License-Identifier: BSD-3-Clause
"""SleepFM against what the original gave, torch's own layers, and how it treats nights."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.signal import butter, filtfilt

from sleep2vec_sklearn import EpochSequence, Recording, Sleep2VecTransformer, stage_night
from sleep2vec_sklearn.errors import (
    CheckpointError,
    InvalidRecordingError,
    InvalidSignalError,
    RecordingWarning,
)
from sleep2vec_sklearn.model import SleepFM, SleepFMStager
from sleep2vec_sklearn.model.external import sleepfm as module
from sleep2vec_sklearn.model.external.sleepfm import condition_channel
from tests.sleepfm import PlainNetwork, PlainStager, channel, night_of, plain

# random weights of a small network, and what the original's code gave for one chunk
FILE = Path(__file__).parents[2] / "data" / "golden" / "sleepfm.npz"
GOLDEN = os.environ.get("SLEEPFM_GOLDEN")


@pytest.fixture(scope="module")
def plain_network():
    return plain(PlainNetwork)


@pytest.fixture(scope="module")
def sleepfm(plain_network):
    return SleepFM(plain_network.state_dict())


@pytest.fixture(scope="module")
def stager(sleepfm):
    return SleepFMStager(sleepfm, plain(PlainStager, 1).state_dict())


def tensors_of(arrays, prefix=""):
    named = {k.removeprefix(prefix): arrays[k] for k in arrays if k.startswith(prefix)}
    return {name: torch.from_numpy(array) for name, array in named.items()}


def report(name, found, expected):
    print(name, np.abs(np.asarray(found) - expected).max())
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)


def test_small_network_matches_original():
    golden = np.load(FILE)
    state = tensors_of(golden, "state/")
    # both layers were initialised alike
    same = {k.replace("layers.0.", "layers.1."): t for k, t in state.items() if "layers.0." in k}
    network = SleepFM(state | same).network
    with torch.inference_mode():
        signals = torch.from_numpy(golden["signals"].astype(np.float32))
        tokens = network.tokenize(signals.reshape(-1, 640)).view(3, 6, -1)
        report("patches", tokens, golden["patches"][:, :6])
        patches = torch.from_numpy(golden["patches"]).transpose(0, 1)
        missing = torch.from_numpy(golden["mask"]).expand(60, 3)
        states, chunks = network.add_context(network.pool(patches, missing)[None])
    report("5 s", states[0], golden["embedding_5s"])
    report("5 min", chunks[0], golden["embedding_5min"])


@pytest.mark.skipif(GOLDEN is None, reason="SLEEPFM_GOLDEN names no folder of golden values")
def test_folder_matches_golden():
    arrays = {path.stem: np.load(path) for path in Path(GOLDEN).glob("*.npz")}
    inputs, outputs = arrays["small.inputs"], arrays["small.outputs"]
    network = SleepFM(tensors_of(arrays["small.state_dict"]))
    found = (*network.embed(inputs["x"], inputs["mask"]), *network.embed(inputs["one_x"]))
    names = ("embedding_5s", "embedding_5min", "one_5s", "one_5min")
    for name, values in zip(names, found, strict=True):
        report(name, values, outputs[name])
    stager = SleepFMStager(network, tensors_of(arrays["stager_small.state_dict"]))
    head = arrays["stager_small"]
    report("logits", stager.logits(head["embeddings"], head["mask"]), head["logits"])


@pytest.mark.parametrize("n_channels", [1, 3])
def test_chunks_match_plain_network(plain_network, sleepfm, n_channels):
    chunks = np.random.default_rng(0).standard_normal((2, n_channels, 12 * 640))
    missing = np.zeros((2, n_channels), dtype=bool)
    missing[1, 2:] = True
    expected = [plain_network(*pair) for pair in zip(chunks, missing, strict=True)]
    five_seconds, five_minutes = sleepfm.embed(chunks, missing)
    np.testing.assert_allclose(five_seconds, [pair[0] for pair in expected], atol=1e-4)
    np.testing.assert_allclose(five_minutes, [pair[1] for pair in expected], atol=1e-4)
    np.testing.assert_allclose(sleepfm.embed(chunks)[0][0], expected[0][0], atol=1e-4)


def test_logits_match_plain_stager(stager):
    embeddings = np.random.default_rng(0).standard_normal((2, 4, 40, 16)).astype(np.float32)
    missing = np.zeros((2, 4, 40), dtype=bool)
    missing[0, 1], missing[1, :3, 10:] = True, True
    found = stager.logits(embeddings, missing)
    for i in range(2):
        expected = plain(PlainStager, 1)(embeddings[i], missing[i])
        np.testing.assert_allclose(found[i], expected, atol=1e-4)


@pytest.mark.parametrize("rate", [512, 200, 128, 100])
def test_channels_are_conditioned(rate):
    values, _ = channel(4, rate)
    own = filtfilt(*butter(4, 64, fs=rate), values.astype(float)) if rate > 128 else values
    own = np.interp(np.arange(4 * 3840) / 128, np.arange(len(values)) / rate, own)
    found, valid = condition_channel(Recording({"eeg": (values, rate)}), "eeg")
    assert found.dtype == np.float16
    assert valid.all()
    np.testing.assert_allclose(found, (own - own.mean()) / own.std(), atol=2e-3)


def test_slow_channels_reach_the_end():
    values, _ = channel(3, 1)
    found, _ = condition_channel(Recording({"spo2": (values, 1.0)}), "spo2")
    np.testing.assert_array_equal(found[-127:], found[-128])
    values[40] = np.nan
    gap, _ = condition_channel(Recording({"spo2": (values, 1.0)}), "spo2")
    assert not gap[39 * 128 + 1 : 41 * 128].any()
    assert gap[-127:].all()


def test_gaps_are_zero(sleepfm):
    values, rate = channel(4)
    values[3840:7680] = np.nan
    values[100] = np.nan
    night = Recording({"ecg": (values, rate)})
    found, valid = condition_channel(night, "ecg")
    there = np.isfinite(values)
    np.testing.assert_array_equal(found == 0, ~there)
    np.testing.assert_allclose(found[there].astype(float).mean(), 0, atol=1e-3)
    np.testing.assert_allclose(found[there].astype(float).std(), 1, atol=1e-3)
    assert valid.tolist() == sleepfm.encode(night, "EKG")[1].tolist() == [True, False, True, True]


@pytest.mark.parametrize("n_epochs", [4, 10, 25])
def test_last_chunk_ends_with_night(plain_network, sleepfm, n_epochs):
    night = Recording({"eeg": channel(n_epochs), "eog": channel(n_epochs, 100, 1)})
    signals = np.stack([condition_channel(night, name)[0] for name in ("eeg", "eog")])
    starts, n_last = {4: ([0], 4), 10: ([0], 10), 25: ([0, 10, 15], 5)}[n_epochs]
    chunks = [plain_network(signals[:, 3840 * s : 3840 * (s + 10)]) for s in starts]
    patches = np.concatenate([*[c[0] for c in chunks[:-1]], chunks[-1][0][-6 * n_last :]])
    tokens, valid, vector = sleepfm.encode(night, "BAS")
    expected = patches.reshape(n_epochs, 6, -1).mean(axis=1)
    np.testing.assert_allclose(tokens, expected, atol=1e-4)
    embeddings, found_starts, used = sleepfm.encode_chunks(night, "BAS")
    np.testing.assert_allclose(embeddings, [c[1] for c in chunks], atol=1e-4)
    np.testing.assert_allclose(vector, embeddings.mean(axis=0), atol=1e-6)
    assert found_starts.tolist() == starts
    assert valid.all()
    assert used.all()


def test_derivations_are_channels(sleepfm):
    eeg, eog = [[channel(2, seed=s) for s in seeds] for seeds in ((0, 1, 2), (3, 4))]
    flat = np.full(7680, 5, dtype=np.float32), 128
    night = night_of(eeg=[eeg[0], flat, *eeg[1:]], eog=eog)
    signals = np.stack([condition_channel(night, n, i)[0] for n, i in
                        [("eeg", 0), ("eeg", 2), ("eeg", 3), ("eog", 0), ("eog", 1)]])  # fmt: skip
    expected = sleepfm.embed(signals[None])[0][0].reshape(2, 6, -1).mean(axis=1)
    np.testing.assert_allclose(sleepfm.encode(night, "BAS")[0], expected, atol=1e-4)


def test_channels_beyond_limits_are_unread(sleepfm):
    muscles = [channel(2, seed=s) for s in range(6)]
    found = sleepfm.encode(night_of(emg=muscles), "EMG")[0]
    np.testing.assert_allclose(found, sleepfm.encode(night_of(emg=muscles[:4]), "EMG")[0])
    assert not np.allclose(found, sleepfm.encode(night_of(emg=muscles[:3]), "EMG")[0], atol=1e-3)
    prints = [sleepfm.fingerprint(night_of(emg=muscles[:n]), ("EMG", 0)) for n in (3, 4)]
    assert prints[0] != prints[1]


def test_channels_off_are_masked(sleepfm):
    first, (second, rate) = channel(20), channel(20, seed=1)
    second[: 10 * 3840] = np.nan
    both = sleepfm.encode(night_of(ecg=[first, (second, rate)]), "EKG")
    third = channel(20, seed=2)[0]
    third[: 10 * 3840], third[10 * 3840 :] = np.nan, second[10 * 3840 :]
    assert both[1].all()
    again = sleepfm.encode(night_of(ecg=[first, (third, rate)]), "EKG")
    np.testing.assert_array_equal(both[0], again[0])
    alone = sleepfm.encode(night_of(ecg=[first]), "EKG")
    assert not np.allclose(both[0][10:], alone[0][10:], atol=1e-3)


def test_unusable_channels_cost_themselves(sleepfm):
    tiny, expected = (1e-6 * channel(2)[0], 128), sleepfm.encode(night_of(eeg=[channel(2)]), "BAS")
    with pytest.warns(RecordingWarning, match=r"\(n1\): a channel of BAS is left out.*uV"):
        found = sleepfm.encode(night_of(eeg=[tiny, channel(2)]), "BAS")
    np.testing.assert_allclose(found[0], expected[0])
    with pytest.raises(InvalidSignalError, match="interquartile range"):
        sleepfm.encode(night_of(eeg=[tiny]), "BAS")


def test_missing_groups_are_left_out(sleepfm):
    night = Recording({"ecg": channel(12), "spo2": channel(12, 1), "emg": np.zeros(12 * 3840)})
    assert [group for group, _ in sleepfm.parts(night, list(sleepfm.groups))] == [
        "RESP", "EKG", "EMG",
    ]  # fmt: skip
    assert not sleepfm.encode(night, "EMG")[1].any()
    with pytest.raises(InvalidRecordingError, match="SleepFM's BAS is made of eeg, eog"):
        sleepfm.encode_chunks(night, "BAS")
    nights = EpochSequence([night.without("emg")])
    rows = Sleep2VecTransformer(sleepfm, cache=None).fit_transform(nights)
    found = [sleepfm.encode(night, group)[0] for group in ("RESP", "EKG")]
    np.testing.assert_allclose(rows, np.mean(found, axis=0), atol=1e-5)


def test_nights_have_vectors(sleepfm):
    nights = [Recording({"eeg": channel(25), "ecg": channel(25, seed=1)}, id="a")]
    rows = Sleep2VecTransformer(sleepfm, pooling="cls", fusion="concat", cache=None)
    found = rows.fit_transform(nights)[0]
    assert rows.get_feature_names_out()[[0, -1]].tolist() == ["BAS_000", "EMG_015"]
    chunks = [sleepfm.encode_chunks(nights[0], group)[0].mean(axis=0) for group in ("BAS", "EKG")]
    np.testing.assert_allclose(found[:16], chunks[0], atol=1e-5)
    np.testing.assert_allclose(found[32:48], chunks[1], atol=1e-5)


def test_nights_are_staged(sleepfm, stager):
    night = Recording({"eeg": channel(25), "airflow": channel(25, 32, 1)}, id="a")
    embeddings, missing = np.zeros((4, 150, 16), dtype=np.float32), np.ones((4, 150), dtype=bool)
    for i, group in enumerate(("BAS", "RESP")):
        tokens = sleepfm._read_group(night, group).five_seconds
        embeddings[i], missing[i] = tokens, False
    logits = plain(PlainStager, 1)(embeddings, missing)
    scores = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    odds = np.exp(scores.reshape(25, 6, 5).mean(axis=1))
    staged = stage_night(night, stager=stager)
    expected = odds / odds.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(staged.probabilities, expected, atol=1e-4)
    np.testing.assert_array_equal(staged.probabilities, stager.predict_proba(night))
    assert staged.modalities == ("eeg", "airflow")
    assert "staged by: sleepfm" in staged.rests_on


def test_staging_needs_a_signal(sleepfm, stager):
    values = channel(12)[0]
    values[: 2 * 3840] = np.nan
    night = Recording({"eeg": (values, 128), "ibi": np.full(12 * 120, 0.9)}, id="a")
    staged = stage_night(night, stager=stager, modalities=["eeg"])
    assert (staged.stages < 0).tolist() == [True] * 2 + [False] * 10
    with pytest.raises(InvalidRecordingError, match=r"\(a\): the night has ibi; sleepfm reads eeg"):
        stage_night(night.without("eeg"), stager=stager)
    with pytest.raises(InvalidRecordingError, match="no usable signal: ecg"):
        stage_night({"ecg": (np.zeros(7680), 128)}, stager=stager)
    with pytest.raises(CheckpointError, match="make a SleepFMStager of it"):
        stage_night(night, stager=sleepfm)


def test_long_nights_are_windowed(stager, monkeypatch):
    night = Recording({"eeg": channel(25)})
    whole = stager.predict_proba(night)
    monkeypatch.setattr(module, "MOST_STEPS", 60)
    found = stager.predict_proba(night)
    assert found.shape == (25, 5)
    assert 1e-5 < np.abs(found - whole).max() < 0.2


def test_hash_covers_weights_and_heads(plain_network, sleepfm):
    state = plain_network.state_dict()
    assert SleepFM({f"{k}": state[k] for k in reversed(state)}).sha256 == sleepfm.sha256
    assert SleepFM(plain(PlainNetwork, 1).state_dict()).sha256 != sleepfm.sha256
    assert SleepFM(state, n_pooling_heads=4).sha256 != sleepfm.sha256
    assert len(sleepfm.sha256) == 64


def test_pickles_give_equal_vectors(sleepfm, stager):
    night, before = Recording({"emg": channel(3)}), torch.get_rng_state()
    copy, head = pickle.loads(pickle.dumps((sleepfm, stager)))
    np.testing.assert_array_equal(copy.encode(night, "EMG")[0], sleepfm.encode(night, "EMG")[0])
    np.testing.assert_array_equal(head.predict_proba(night), stager.predict_proba(night))
    SleepFM(sleepfm.network.state_dict())
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("change", "said"),
    [(lambda s: s | {"patch_embedding.tokenizer.0.weight": torch.zeros(4, 2, 5)},
      r"tokenizer.0.weight \(4, 2, 5\), accepted \(4, 1, 5\)"),
     (lambda s: {k: v for k, v in s.items() if "tokenizer.26" not in k}, "26.bias missing"),
     (lambda s: s | {"fc.weight": torch.zeros(5, 16)}, "fc.weight .* accepted none"),
     (lambda s: s | {"layer_norm.bias": s["layer_norm.bias"] / 0}, "not finite"),
     (lambda s: {"weight": torch.ones(2)}, "are not those of SleepFM's encoder")],
)  # fmt: skip
def test_other_networks_are_refused(plain_network, change, said):
    with pytest.raises(CheckpointError, match=said):
        SleepFM(change(plain_network.state_dict()))


def test_chunks_are_whole_patches(sleepfm):
    for shape in ((2, 640), (1, 2, 700), (0, 2, 640)):
        with pytest.raises(InvalidSignalError, match="with whole patches of 640 samples"):
            sleepfm.embed(np.zeros(shape, dtype=np.float32))


def test_heads_share_the_width(plain_network):
    with pytest.raises(CheckpointError, match="16 numbers cannot be shared by 3 heads"):
        SleepFM(plain_network.state_dict(), n_heads=3)


def test_masks_have_their_shape(sleepfm):
    with pytest.raises(InvalidSignalError, match=r"missing has shape \(2,\); accepted is \(1, 2\)"):
        sleepfm.embed(np.zeros((1, 2, 640)), [False, True])
