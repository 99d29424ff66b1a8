# SPDX-License-Identifier: BSD-3-Clause
"""SeqSleepNet against an independent implementation, and how it treats nights."""

from __future__ import annotations

import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file
from scipy.signal import butter, sosfiltfilt

from sleep2vec_sklearn import (
    EpochSequence,
    Recording,
    Sleep2VecTransformer,
    SleepStage,
    load_checkpoint,
)
from sleep2vec_sklearn.errors import (
    CheckpointError,
    InvalidRecordingError,
    InvalidSignalError,
    ModalityWarning,
)
from sleep2vec_sklearn.model import SeqSleepNet
from sleep2vec_sklearn.model.external.seqsleepnet import log_power, normalise
from tests.seqsleepnet import NamedDerivations, named_night, noise, random_state

GOLDEN = os.environ.get("SEQSLEEPNET_GOLDEN")


@pytest.fixture(scope="module")
def state():
    return random_state()


@pytest.fixture
def network(state):
    return SeqSleepNet(state)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis=-1):
    odds = np.exp(x - x.max(axis=axis, keepdims=True))
    return odds / odds.sum(axis=axis, keepdims=True)


def lstm_step(gates_in, gates_hidden, hidden, cell):
    i, f, g, o = np.split(gates_in + gates_hidden, 4, axis=-1)
    cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(cell), cell


def gru_step(gates_in, gates_hidden, hidden, cell):
    r, z, n = np.split(gates_in, 3, axis=-1)
    r_hidden, z_hidden, n_hidden = np.split(gates_hidden, 3, axis=-1)
    update = sigmoid(z + z_hidden)
    new = np.tanh(n + sigmoid(r + r_hidden) * n_hidden)
    return (1 - update) * new + update * hidden, cell


def both_ways(state, layer, step, sequences):
    """A recurrent layer of torch's parameters, over (n, time, features), written out."""
    outputs = []
    for way in ("", "_reverse"):
        w_ih, w_hh, b_ih, b_hh = (
            state[f"{layer}.{name}_l0{way}"].numpy().astype(float)
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        hidden = cell = np.zeros((len(sequences), 64))
        ordered = sequences[:, ::-1] if way else sequences
        steps = []
        for x in np.moveaxis(ordered, 1, 0):
            hidden, cell = step(x @ w_ih.T + b_ih, hidden @ w_hh.T + b_hh, hidden, cell)
            steps.append(hidden)
        outputs.append(np.stack(steps[::-1] if way else steps, axis=1))
    return np.concatenate(outputs, axis=-1)


def plain_network(state, sequence):
    """States and logits of one window, (n_epochs, 29, 129), in numpy."""
    numbers = {name: tensor.numpy().astype(float) for name, tensor in state.items()}
    w_bank, s_bank = (numbers[f"epoch_encoder.F2_filtbank.{name}"][0] for name in "WS")
    w, b, u = (numbers[f"epoch_encoder.F2_attention.{name}_omega"] for name in "Wbu")
    frames = sequence @ (sigmoid(w_bank) * s_bank)
    within = both_ways(state, "epoch_encoder.F2_birnn", lstm_step, frames)
    attention = softmax(np.tanh(within @ w + b) @ u)
    vectors = (within * attention[..., None]).sum(axis=1)
    states = both_ways(state, "sequence_encoder.LSTM", gru_step, vectors[None])[0]
    logits = states @ numbers["sequence_encoder.clf.weight"].T
    return states, logits + numbers["sequence_encoder.clf.bias"]


def plain_log_power(eeg):
    """The front end's spectra, by frames."""
    filtered = sosfiltfilt(butter(4, (0.3, 40), "band", fs=100, output="sos"), eeg.astype(float))
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(200) / 200)
    spectra = []
    for epoch in filtered.reshape(-1, 3000):
        frames = np.stack([epoch[100 * k : 100 * k + 200] for k in range(29)])
        frames = (frames - frames.mean(axis=1, keepdims=True)) * window
        power = np.abs(np.fft.rfft(frames, 256)) ** 2 / (100 * (window**2).sum())
        power[:, 1:-1] *= 2
        spectra.append(20 * np.log10(power + np.finfo(float).eps))
    return np.stack(spectra)


def test_logits_match_plain_network(state, network):
    spectrograms = np.random.default_rng(1).standard_normal((2, 5, 29, 129))
    expected = [plain_network(state, sequence)[1] for sequence in spectrograms]
    np.testing.assert_allclose(network.logits(spectrograms), expected, atol=1e-4)


def test_log_power_matches_frames():
    eeg = noise(3) + 30 * np.sin(np.arange(9000) / 30).astype(np.float32)
    found = log_power(eeg.reshape(3, 3000))
    np.testing.assert_allclose(found, plain_log_power(eeg), atol=0.01)
    np.testing.assert_allclose(found[..., :100], plain_log_power(eeg)[..., :100], atol=1e-4)


def test_frequencies_are_normalised():
    power = np.random.default_rng(0).normal(3, 5, (40, 29, 129)).astype(np.float32)
    night = np.arange(40) < 30
    found = normalise(power, night)
    np.testing.assert_allclose(found[night].mean(axis=(0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(found[night].std(axis=(0, 1)), 1, atol=1e-5)
    assert np.abs(found[~night].mean(axis=(0, 1))).max() > 0.05


@pytest.mark.filterwarnings("ignore::sleep2vec_sklearn.errors.ModalityWarning")
@pytest.mark.parametrize("n_epochs", [1, 5, 21, 24])
def test_windows_are_averaged(state, network, n_epochs):
    spectrogram = normalise(log_power(noise(n_epochs).reshape(-1, 3000)), np.full(n_epochs, True))
    starts = range(max(n_epochs - 20, 1))
    windows = [plain_network(state, spectrogram[start : start + 21]) for start in starts]
    total, scores = np.zeros((n_epochs, 128)), np.zeros((n_epochs, 5))
    count = np.zeros((n_epochs, 1))
    for start, (states, logits) in zip(starts, windows, strict=True):
        held = slice(start, start + len(states))
        total[held] += states
        scores[held] += np.log(softmax(logits))
        count[held] += 1
    night = Recording({"eeg": (noise(n_epochs), 100)})
    states, valid = network.encode(night, "eeg")
    assert states.dtype == np.float32
    assert valid.all()
    np.testing.assert_allclose(states, total / count, atol=1e-3)
    np.testing.assert_allclose(network.predict_proba(night), softmax(scores / count), atol=1e-3)


@pytest.mark.skipif(GOLDEN is None, reason="SEQSLEEPNET_GOLDEN names no folder of golden values")
def test_original_weights_match_golden():
    folder = Path(GOLDEN)
    golden, front = (np.load(folder / f"{name}_golden.npz") for name in ("seq_eeg", "front_end"))
    network = load_checkpoint(folder / "seq_eeg.safetensors")
    spectrogram = golden["spectrogram"][:, :, 0].astype(np.float32)
    import torch

    vectors = network.network.epoch_vectors(torch.from_numpy(spectrogram))
    states = network.network.sequence_states(torch.from_numpy(golden["epoch_vectors"]))
    power = log_power(front["eeg_uv_100hz"].reshape(-1, 3000))
    # one power is below the rounding of the others, 3e-15
    told = front["log_power"] > -250
    assert told.sum() == told.size - 1
    for name, found, expected in (
        ("epoch vectors", vectors, golden["epoch_vectors"]),
        ("sequence states", states, golden["sequence_states"]),
        ("logits", network.logits(spectrogram), golden["logits"]),
        ("log power", power[told], front["log_power"][told]),
    ):
        print(name, np.abs(np.asarray(found) - expected).max())
        np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)


def test_missing_epochs_are_left_out(network):
    eeg = noise(30)
    eeg[9000:15000] = np.nan
    flat = np.nan_to_num(eeg)
    found = [network.predict_proba(named_night({"C4-A1": values})) for values in (eeg, flat)]
    assert np.isnan(found[0][3:5]).all()
    measured = np.delete(found[0], [3, 4], axis=0)
    np.testing.assert_allclose(measured.sum(axis=1), 1)
    np.testing.assert_allclose(measured, np.delete(found[1], [3, 4], axis=0), atol=1e-3)


def test_flat_night_has_no_rows(network):
    night = named_night({"C4-A1": np.zeros(9000, dtype=np.float32)})
    states, valid = network.encode(night, "eeg")
    assert states.shape == (3, 128)
    assert not valid.any()
    assert np.isnan(network.predict_proba(night)).all()


@pytest.mark.filterwarnings("ignore::sleep2vec_sklearn.errors.ModalityWarning")
def test_units_do_not_matter(network):
    seconds = np.arange(24 * 30 * 200) / 200
    eeg = sum(np.sin(2 * np.pi * f * seconds * (1 + seconds / 9000)) for f in (2, 5, 9, 13))
    nights = [
        Recording({"eeg": (20 * eeg, 200)}),
        Recording({"eeg": (2e-5 * eeg, 200)}, units={"eeg": "V"}),
    ]
    first, volts = map(network.predict_proba, nights)
    np.testing.assert_allclose(first, volts, atol=1e-3)
    assert first.shape == (24, len(network.stages))


def test_days_use_their_night(network, monkeypatch):
    module = "sleep2vec_sklearn.model.external.seqsleepnet"
    eeg = noise(60)
    eeg[: 30 * 3000] *= np.repeat(np.linspace(1, 4, 30), 3000)
    night = named_night({"C4-A1": eeg})
    whole = network.predict_proba(night)
    asleep = np.convolve(1 - whole[:, 0], np.ones(20), mode="valid")
    start = int(asleep.argmax())
    monkeypatch.setattr(f"{module}._LONGEST_NIGHT", 40)
    monkeypatch.setattr(f"{module}._NIGHT", 20)
    found = network.predict_proba(night)
    within = (np.arange(60) >= start) & (np.arange(60) < start + 20)
    spectrogram = normalise(log_power(eeg.reshape(-1, 3000)), within)
    alone = softmax(plain_network(random_state(), spectrogram[:21])[1])
    np.testing.assert_allclose(found[0], alone[0], atol=1e-3)
    assert np.abs(found - whole).max() > 0.01


@pytest.mark.parametrize(
    ("label", "said"),
    [("EEG C4-A1", None), ("C3 - M2", None), ("EEG(sec)", None), ("Cz-A2", None), ("C4:REF", None),
     ("C4-CLE", None), ("EEG Pz-Oz", "not central"), ("Fpz-Cz", "not central"),
     ("C3-C4", "not central"), ("F4-M1", "not central"), ("EEG", "not known"),
     ("EEG 1", "not known")],
)  # fmt: skip
def test_other_derivations_are_reported(network, label, said):
    night = named_night({label: noise(2)}, "one")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        network.predict_proba(night)
        network.predict_proba(night)
    texts = [str(w.message) for w in caught if w.category is ModalityWarning]
    assert len(texts) == (said is not None)
    assert all(said in text and repr(label) in text and "n1" in text for text in texts)


def test_unnamed_eeg_is_reported_once(network):
    with pytest.warns(ModalityWarning, match="a has an EEG, whose derivation is not known"):
        network.predict_proba(Recording({"eeg": (noise(2), 100)}, id="a"))
    network.predict_proba(Recording({"eeg": (noise(2), 100)}, id="b"))


def test_central_derivation_is_taken(network):
    signals = {"F3-A2": noise(4, 1), "C3-C4": noise(4, 2), "C4-A2": noise(4, 3)}
    signals["C4-A1"] = noise(4, 4)
    found = network.predict_proba(named_night(signals))
    np.testing.assert_array_equal(found, network.predict_proba(named_night({"C4-A1": noise(4, 4)})))
    signals["C4-A1"] = np.zeros(12000, dtype=np.float32)
    found = network.predict_proba(named_night(signals))
    np.testing.assert_array_equal(found, network.predict_proba(named_night({"C4-A2": noise(4, 3)})))


def test_unfit_recordings_are_refused(network):
    with pytest.raises(InvalidRecordingError, match="the night has ibi; seqsleepnet reads"):
        network.predict_proba(Recording({"ibi": np.ones(240)}, id="beats"))
    with pytest.raises(InvalidSignalError, match=r"rate 64 Hz.*at least 80 Hz"):
        network.predict_proba(Recording({"eeg": (noise(1)[:1920], 64)}))


def test_hash_covers_the_weights(state, network):
    again = SeqSleepNet({name: state[name] for name in reversed(state)})
    assert again.sha256 == network.sha256
    assert SeqSleepNet(random_state(1)).sha256 != network.sha256
    assert len(network.sha256) == 64
    assert network.stages == tuple(SleepStage(k).name for k in range(5))
    assert len(network.feature_names("eeg")) == network.widths["eeg"] == 128


def test_pickles_give_equal_states(network):
    night = named_night({"C4-A1": noise(3)})
    copy = pickle.loads(pickle.dumps(network))
    assert copy.sha256 == network.sha256
    np.testing.assert_array_equal(copy.encode(night, "eeg")[0], network.encode(night, "eeg")[0])


def test_rows_are_its_states(network, state, tmp_path):
    save_file(state, tmp_path / "eeg.safetensors")
    nights = [Recording.from_source(NamedDerivations({"C4-A1": noise(22)}, "one"), id="a")]
    expected = network.encode(nights[0], "eeg")[0]
    for checkpoint in (network, tmp_path / "eeg.safetensors"):
        transformer = Sleep2VecTransformer(checkpoint, cache=None)
        rows = transformer.fit_transform(EpochSequence(nights))
        np.testing.assert_array_equal(rows, expected)
        assert transformer.get_feature_names_out()[127] == "eeg_127"
    transformer = Sleep2VecTransformer(network, cache=None).fit(nights)
    np.testing.assert_allclose(transformer.transform(nights)[0], expected.mean(axis=0), atol=1e-5)


def test_generator_of_torch_is_kept(state):
    import torch

    before = torch.get_rng_state()
    SeqSleepNet(state)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("change", "said"),
    [(lambda s: s | {"epoch_encoder.F2_filtbank.W": s["epoch_encoder.F2_filtbank.W"].tile(3, 1, 1)},
      r"F2_filtbank.W \(3, 129, 32\), accepted \(1, 129, 32\)"),
     (lambda s: {k: v for k, v in s.items() if "clf.bias" not in k}, "clf.bias missing"),
     (lambda s: s | {"epoch_encoder.conv": s["sequence_encoder.clf.bias"]}, "accepted none"),
     (lambda s: s | {"sequence_encoder.clf.bias": s["sequence_encoder.clf.bias"] / 0},
      "not finite")],
)  # fmt: skip
def test_other_networks_are_refused(state, change, said):
    with pytest.raises(CheckpointError, match=said):
        SeqSleepNet(change(state))
