# SPDX-License-Identifier: BSD-3-Clause
"""Predictions of the authors' networks for recordings, and what they ask of these."""

import pickle

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from torch import nn

from sleep2vec_sklearn import EpochSequence, Recording, stage_night
from sleep2vec_sklearn.errors import CheckpointError, InvalidRecordingError
from sleep2vec_sklearn.finetuning import load_finetuned
from tests.finetuned_golden import Case

RATES = {"ibi": 0.2, "resp": 0.2, "eeg": 0.8}


@pytest.fixture
def write(tmp_path):
    """Function of a case: its file."""
    return lambda case: case.write(tmp_path / "best.ckpt")


@pytest.fixture
def load(write):
    """Function of a case: its network, with windows of 20 epochs."""
    return lambda case, **options: load_finetuned(write(case), context_epochs=20, **options)


def tokens(n_epochs=12, seed=0):
    rng = np.random.default_rng(seed)
    widths = {name: round(30 * rate) for name, rate in RATES.items()}
    return {n: rng.standard_normal((n_epochs, w)).astype("f4") for n, w in widths.items()}


def as_night(values, **described):
    return Recording(
        {name: (rows.reshape(-1), RATES[name]) for name, rows in values.items()}, **described
    )


def test_epochs_of_recordings(load):
    network, values = load(Case.load("stage5")), tokens()
    night, other = as_night(values), as_night(tokens(8, seed=1))
    expected = softmax(network.logits(values), axis=-1)
    found = network.predict_proba(EpochSequence([night, other]))
    assert found.shape == (20, 5)
    np.testing.assert_allclose(found[:12], expected, rtol=0, atol=1e-6)
    some = network.predict(EpochSequence([night])[[3, 1]])
    np.testing.assert_array_equal(some, found[[3, 1]].argmax(axis=1))
    assert some.dtype == network.classes_.dtype == np.int8
    dict_of_signals = {name: night[name] for name in night.modalities}
    assert len(network.predict(night)) == len(
        network.predict(Recording(dict_of_signals, rates=RATES))
    )


def test_long_nights_are_windowed(load):
    network, values = load(Case.load("stage5_ttrans")), tokens(30)
    first, last = (network.logits({n: v[part] for n, v in values.items()}) for part in (
        slice(20), slice(10, 30)))  # fmt: skip
    found = network.predict_proba(as_night(values))
    np.testing.assert_allclose(found[:10], softmax(first[:10], axis=1), rtol=0, atol=1e-5)
    np.testing.assert_allclose(found[20:], softmax(last[10:], axis=1), rtol=0, atol=1e-5)
    # where both see an epoch, that counts more in whose middle it is
    mixed = (7 * first[13] + 4 * last[3]) / 11
    np.testing.assert_allclose(found[13], softmax(mixed), rtol=0, atol=1e-5)


@pytest.fixture
def subjects():
    """X of two subjects with one and two nights, and the tokens of all three."""
    values = [tokens(12, seed) for seed in range(3)]
    first, *others = (as_night(v, subject=s) for v, s in zip(values, "abb", strict=True))
    return [first, others], values


def by_subject(network, values):
    each = np.stack([network.logits(v) for v in values])
    return np.stack([each[0], each[1:].mean(axis=0)])


def test_classes_of_nights(load, subjects):
    network, (X, values) = load(Case.load("sex_cls")), subjects
    logits = by_subject(network, values)
    assert (network.unit_, network.classes_.tolist()) == ("night", [0, 1])
    np.testing.assert_array_equal(network.predict(X), logits.argmax(axis=1))
    expected = softmax(logits, axis=1)
    np.testing.assert_allclose(network.predict_proba(X), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["age_lstm", "age_attn"])
def test_numbers_of_nights(load, subjects, name):
    network, (X, values) = load(Case.load(name)), subjects
    expected = by_subject(network, values)[:, 0]
    np.testing.assert_allclose(network.predict(X), expected, rtol=0, atol=1e-5)
    assert not hasattr(network, "predict_proba")
    with pytest.raises(AttributeError, match=r"\(best\) predicts numbers, which have no prob"):
        _ = network.predict_proba


def test_long_nights_have_one_row(load):
    network, values = load(Case.load("age_lstm")), tokens(30)
    parts = [{n: v[part] for n, v in values.items()} for part in (slice(20), slice(10, 30))]
    expected = np.mean([network.logits(part) for part in parts])
    np.testing.assert_allclose(network.predict([as_night(values)]), [expected], atol=1e-5)


@pytest.mark.parametrize(("n_classes", "codes"), [(4, [0, 2, 3, 4]), (3, [0, 2, 4])])
def test_fewer_stages_have_codes(load, write, n_classes, codes):
    case = Case.load("stage5")
    for part in ("weight", "bias"):
        case.state[f"head.mlp.4.{part}"] = case.state[f"head.mlp.4.{part}"][:n_classes]
    network = load(case.with_task(output_dim=n_classes))
    assert network.classes_.tolist() == codes
    assert set(network.predict(as_night(tokens()))) <= set(codes)
    with pytest.raises(CheckpointError, match=rf"{n_classes} outputs of epochs, but .* five s"):
        stage_night(as_night(tokens()), stager=write(case))


def with_outputs(case, n_outputs, n_in=64):
    layers = {"head.mlp.1": nn.Linear(n_in, 64), "head.mlp.4": nn.Linear(64, n_outputs)}
    for name, layer in layers.items():
        for part, tensor in layer.state_dict().items():
            case.state[f"{name}.{part}"] = tensor
    return case.with_task(output_dim=n_outputs)


@pytest.mark.parametrize(
    ("n_outputs", "extras"),
    [(30, {"ahi_eval_threshold": 0.4}), (30, {}),
     (120, {"arousal_eval_thresholds": {"res": 0.1, "spont": 0.9, "limb": 0.5, "plm": 0.6}})],
)  # fmt: skip
def test_seconds_have_thresholds(write, n_outputs, extras):
    path = write(with_outputs(Case.load("stage5"), n_outputs))
    torch.save(torch.load(path, weights_only=True) | extras, path)
    network, values = load_finetuned(path), tokens()
    proba = network.predict_proba(as_night(values))
    np.testing.assert_allclose(proba, expit(network.logits(values)), rtol=0, atol=1e-6)
    limits = next(iter(extras.values()), 0.5)
    limits = np.tile([*limits.values()], 30) if n_outputs == 120 else limits
    np.testing.assert_array_equal(network.predict(as_night(values)), proba > limits)
    assert not hasattr(network, "classes_")


def with_covariates(kind):
    """Two outputs of a night, from its tokens, age and sex."""
    case = with_outputs(Case.load("sex_cls"), 2, 64 + 32).with_task(type=kind)
    case.state["survival_age_embedding.weight"] = torch.randn(16, 1)
    case.state["survival_age_embedding.bias"] = torch.randn(16)
    case.state["survival_sex_embedding.weight"] = torch.randn(2, 16)
    return case


def test_risks_follow_age_and_sex(load):
    network, values = load(with_covariates("survival")), tokens()
    stated = [{"age": 40, "sex": "F"}, {"age": 70, "sex": "M"}]
    found = network.predict([as_night(values, metadata=m) for m in stated])
    both = {name: np.stack([rows, rows]) for name, rows in values.items()}
    expected = network.logits(both, age=[40, 70], sex=[0, 1])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert not hasattr(network, "predict_proba")
    with pytest.raises(InvalidRecordingError, match=r"recording 0 \(n1\): 'sex' is not known"):
        network.predict([as_night(values, id="n1", metadata={"age": 40})])


@pytest.mark.parametrize(
    ("stated", "message"),
    [({}, r"\(best\) reads age and sex, got none"), ({"age": 40}, "got age"),
     ({"age": [40, 50], "sex": 0}, "age must be a number for each of 1 sequences"),
     ({"age": np.nan, "sex": 0}, "age must be finite"),
     ({"age": 40, "sex": 2}, r"sex must be 0 \(female\) or 1 \(male\), got \[2\]"),
     ({"age": 40, "sex": 0.5}, r"1 \(male\), got \[0.5\]"),
     ({"age": 40, "sex": "F"}, "sex must be a number for each")],
)  # fmt: skip
def test_age_and_sex_are_checked(load, stated, message):
    with pytest.raises(ValueError, match=message):
        load(with_covariates("survival")).logits(tokens(), **stated)


AROUSALS = {"plm": 0.9, "limb": 0.8, "spont": 0.7, "res": 0.6}


@pytest.mark.parametrize(
    ("name", "stated", "expected"),
    [("ahi_eval_threshold", torch.tensor(0.25), (0.25,)),
     ("ahi_eval_threshold", torch.tensor([0.25]), (0.25,)),
     ("arousal_eval_thresholds", AROUSALS, (0.6, 0.7, 0.8, 0.9)),
     ("arousal_eval_thresholds", AROUSALS | {"res": torch.tensor(0.5)}, (0.5, 0.7, 0.8, 0.9)),
     ("arousal_eval_thresholds", torch.tensor([0.5, 0.25, 0.75, 1]), (0.5, 0.25, 0.75, 1))],
)  # fmt: skip
def test_thresholds_may_be_tensors(write, name, stated, expected):
    path = write(with_outputs(Case.load("stage5"), 30 * len(expected)))
    torch.save(torch.load(path, weights_only=True) | {name: stated}, path)
    assert load_finetuned(path).task.thresholds == expected


@pytest.mark.parametrize("wrong", [True, "0.3", [0.3, 0.4], 1.5, {"res": [0.1, 0.2]}])
def test_unfit_thresholds_are_refused(write, wrong):
    path = write(with_outputs(Case.load("stage5"), 30))
    torch.save(torch.load(path, weights_only=True) | {"ahi_eval_threshold": wrong}, path)
    with pytest.raises(CheckpointError, match=r"best.ckpt: ahi_eval_threshold is .* each of 1"):
        load_finetuned(path)


def test_outcomes_are_apart(load):
    network = load(with_covariates("multilabel_classification"))
    night = as_night(tokens(), metadata={"age": 40, "sex": "F"})
    proba = network.predict_proba([night])
    logits = network.logits(tokens(), age=40, sex=0)[None]
    np.testing.assert_allclose(proba, expit(logits), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(network.predict([night]), logits > 0)


def test_lacking_channels_are_named(load):
    case = Case.load("stage5")
    network, night = load(case), as_night(tokens(), id="n7")
    with pytest.raises(InvalidRecordingError, match=r"n7\): the night has eeg, ibi, and no resp"):
        network.predict(EpochSequence([night.without("resp")]))
    flat = as_night(tokens() | {"eeg": np.zeros((12, 24))}, id="n8")
    with pytest.raises(InvalidRecordingError, match=r"n8\): no usable signal of eeg \(eeg_orig"):
        network.predict(flat)
    ignoring = load(case, missing="ignore")
    assert ignoring.predict_proba(night.without("resp")).shape == (12, 5)
    with pytest.raises(InvalidRecordingError, match="the night has spo2, and no ibi"):
        ignoring.predict(Recording({"spo2": (np.full(1440, 96.0), 4)}))


def test_rows_must_fit(load):
    by_epoch = load(Case.load("stage5"))
    with pytest.raises(InvalidRecordingError, match=r"X holds nights.*EpochSequence\(X\)"):
        by_epoch.predict([as_night(tokens())])
    by_night = load(Case.load("sex_cls"))
    with pytest.raises(InvalidRecordingError, match=r"X holds epochs.*outputs of nights"):
        by_night.predict(EpochSequence([as_night(tokens())]))


def test_gaps_are_filled(load):
    values = tokens()
    values["eeg"][4:6] = np.nan
    network = load(Case.load("stage5").with_eeg_alone())
    night = as_night({"eeg": values["eeg"]})
    assert np.isfinite(network.predict_proba(night)).all()
    probabilities, measured = network.stage(night)
    assert np.flatnonzero(~measured["eeg"]).tolist() == [4, 5]
    assert np.flatnonzero(np.isnan(probabilities).any(axis=1)).tolist() == [4, 5]


def test_tokens_by_either_name(load):
    network, values = load(Case.load("stage5")), tokens()
    theirs = {"heartbeat": "ibi", "breath": "resp", "eeg_original": "eeg"}
    named = {key: torch.from_numpy(values[name]) for key, name in theirs.items()}
    more = {**named, "spo2": np.zeros((12, 6))}
    np.testing.assert_array_equal(network.logits(more), network.logits(values))


@pytest.mark.parametrize("length", [[12, 9, 12, 5], "mask"])
def test_padding_changes_nothing(load, length):
    case = Case.load("stage5")
    network, valid = load(case), case.valid.numpy()
    found = network.logits(case.inputs, valid if length == "mask" else length)
    alone = network.logits({name: x[1, :9] for name, x in case.inputs.items()})
    np.testing.assert_allclose(found[1, :9], alone, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "length", "message"),
    [({"eeg": None}, None, r"reads ibi \(heartbeat\), .*tokens are of ibi, resp"),
     ({"eeg": np.zeros((12, 6))}, None, r"of eeg have shape \(12, 6\); accepted is .* 24\)"),
     ({"ibi": np.zeros((11, 6))}, None, r"of resp have shape \(12, 6\)"),
     ({"ibi": np.full((12, 6), np.nan)}, None, "tokens of ibi have NaN"),
     ({"ibi": np.zeros((12, 6), complex)}, None, "ibi are of dtype complex128; accepted are real"),
     ({"ibi": np.zeros((12, 6), object)}, None, "ibi are of dtype object"),
     ({"eeg_original": np.zeros((12, 24))}, None, "eeg are there twice, once as eeg_original"),
     ({}, 3.5, "length must be an integer"), ({}, 13, "length must be 1 to 12"),
     ({}, 0, "length must be 1 to 12"),
     ({}, np.arange(12) > 3, "a mask of the first ones"),
     ({}, [[3]], "length must be an integer for each of 1 sequences")],
)  # fmt: skip
def test_unfit_tokens_are_refused(load, change, length, message):
    values = {name: rows for name, rows in (tokens() | change).items() if rows is not None}
    with pytest.raises(ValueError, match=message):
        load(Case.load("stage5")).logits(values, length)


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "convert",
    [read_only, lambda a: a[::-1].copy()[::-1], lambda a: a.astype(">f4"), np.ndarray.tolist,
     lambda a: torch.from_numpy(a).requires_grad_()],
)  # fmt: skip
def test_tokens_of_any_array(load, convert):
    network, values = load(Case.load("stage5")), tokens()
    found = network.logits({name: convert(rows) for name, rows in values.items()})
    np.testing.assert_array_equal(found, network.logits(values))
    none = {name: rows[:0] for name, rows in values.items()}
    with pytest.raises(ValueError, match="tokens have 0 epochs; this network was made for 1 to"):
        network.logits(none)


def test_arrays_of_one_channel(load):
    network, eeg = load(Case.load("stage5").with_eeg_alone()), tokens()["eeg"]
    np.testing.assert_array_equal(network.logits(eeg), network.logits({"eeg": eeg}))
    with pytest.raises(ValueError, match=r"reads ibi .*tokens are of none of them by name"):
        load(Case.load("stage5")).logits(eeg)


def test_night_is_staged_by_file(write):
    path = write(Case.load("stage5").with_eeg_alone())
    night = as_night({"eeg": tokens(40)["eeg"]}, id="n1")
    staged, network = stage_night(night, stager=path), load_finetuned(path)
    np.testing.assert_allclose(staged.probabilities, network.predict_proba(night), atol=1e-6)
    assert (staged.modalities, staged.voters) == (("eeg",), ("best",))
    assert "staged by: best" in staged.rests_on
    again = stage_night(night, stager=network, modalities=["eeg"])
    np.testing.assert_array_equal(again.stages, staged.stages)
    assert staged.card["kind"] == "fine-tuning"


def test_unfit_files_stage_nothing(write, tmp_path):
    night = as_night(tokens())
    path = write(Case.load("sex_cls"))
    with pytest.raises(CheckpointError, match="2 outputs of nights, but a stager has those of the"):
        stage_night(night, stager=path)
    path = write(Case.load("stage5_ttrans"))
    with pytest.raises(InvalidRecordingError, match="it reads ibi, resp, eeg alone"):
        stage_night(night, stager=path, modalities=["eeg"])
    with pytest.raises(InvalidRecordingError, match=r"and no resp \(breath\)"):
        stage_night(night.without("resp"), stager=path)
    case = Case.load("stage5")
    case.state = {k: v for k, v in case.state.items() if k.startswith("backbone.")}
    with pytest.raises(CheckpointError, match=r"best.ckpt: a checkpoint of pretraining"):
        stage_night(night, stager=write(case))


def test_changed_file_is_noticed(write):
    night, case = as_night(tokens()), Case.load("stage5")
    before = stage_night(night, stager=str(write(case))).probabilities
    case.state["head.mlp.4.bias"] = case.state["head.mlp.4.bias"] + torch.arange(5.0)
    after = stage_night(night, stager=str(write(case))).probabilities
    assert not np.allclose(before, after)


def test_network_is_a_module(load):
    network, night = load(Case.load("stage5_lora_sep")), as_night(tokens())
    expected = network.predict_proba(night)
    copy = pickle.loads(pickle.dumps(network))
    np.testing.assert_array_equal(copy.predict_proba(night), expected)
    np.testing.assert_array_equal(copy.train().predict_proba(night), expected)
    assert not any(parameter.isnan().any() for parameter in network.parameters())
