# SPDX-License-Identifier: BSD-3-Clause
import json
import struct

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from sleep2vec_sklearn import EpochSequence, Sleep2VecClassifier, Sleep2VecRegressor
from sleep2vec_sklearn.errors import CheckpointError
from tests.finetuning.simple_nights import QUICK, make_nights

NIGHTS = make_nights(4)
X = EpochSequence(NIGHTS)
Y = X.stages.astype(int)


@pytest.fixture
def classify(checkpoint_path):
    return lambda **parameters: Sleep2VecClassifier(checkpoint_path, **(QUICK | parameters))


@pytest.fixture
def saved(classify, tmp_path):
    """A file with a fitted classifier."""
    classify().fit(X, Y).save(tmp_path / "stager.safetensors")
    return tmp_path / "stager.safetensors"


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"finetune": "lora", "layer_mix": True, "covariates": ("age", "sex")},
        {"finetune": "full", "class_weight": {"wake": 2.0, "sleep": 1.0}},
    ],
    ids=["head", "lora", "full"],
)
def test_what_is_loaded_predicts_what_was_saved(classify, tmp_path, parameters):
    names = np.array(["wake", "sleep"], dtype=object)[Y]
    model = classify(**parameters).fit(X, names)
    path = tmp_path / "stager.safetensors"
    model.save(path)
    loaded = Sleep2VecClassifier.load(path)
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    assert loaded.classes_.dtype == model.classes_.dtype
    assert loaded.get_params()["max_epochs"] == model.max_epochs
    assert loaded.history_[:, "train_loss"] == model.history_[:, "train_loss"]
    again = tmp_path / "again.safetensors"
    loaded.save(again)
    assert again.read_bytes() == path.read_bytes()


def test_outcomes_and_numbers_survive(checkpoint_path, tmp_path):
    y = np.array([[0, 1], [1, np.nan], [0, 0], [1, 1]])
    for kind in (Sleep2VecClassifier, Sleep2VecRegressor):
        model = kind(checkpoint_path, **QUICK).fit(NIGHTS, y)
        model.save(tmp_path / "model")
        np.testing.assert_array_equal(
            kind.load(tmp_path / "model").predict(NIGHTS), model.predict(NIGHTS)
        )


def test_the_file_needs_no_checkpoint(write_checkpoint, tmp_path):
    path = write_checkpoint(tmp_path / "mine.safetensors", 5)
    model = Sleep2VecClassifier(path, **QUICK).fit(X, Y)
    model.save(tmp_path / "model")
    expected = model.predict_proba(X)
    path.unlink()
    loaded = Sleep2VecClassifier.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict_proba(X), expected)


def test_the_file_names_nobody(saved):
    data = saved.read_bytes()
    assert b"night-0" not in data


def test_a_class_that_was_not_asked_for(saved):
    with pytest.raises(CheckpointError, match=r"holds a Sleep2VecClassifier.*Classifier.load\(\)"):
        Sleep2VecRegressor.load(saved)


def _edit(path, change):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    document = json.loads(header["__metadata__"]["sleep2vec_sklearn_estimator"])
    change(document)
    header["__metadata__"]["sleep2vec_sklearn_estimator"] = json.dumps(document)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.update(format_version=99), "newer version.*pip install"),
        (lambda d: d["fitted"].update(unit_="night"), "changed or damaged"),
        (lambda d: d.pop("fitted"), "changed or damaged"),
        (lambda d: d.pop("sha256"), "cannot be used"),
    ],
)
def test_a_changed_description_is_noticed(saved, change, said):
    _edit(saved, change)
    with pytest.raises(CheckpointError, match=said):
        Sleep2VecClassifier.load(saved)


def test_changed_and_foreign_files_are_noticed(saved, checkpoint_path, tmp_path):
    data = bytearray(saved.read_bytes())
    data[-5] ^= 1
    saved.write_bytes(data)
    with pytest.raises(CheckpointError, match="changed or damaged"):
        Sleep2VecClassifier.load(saved)
    saved.write_bytes(data[:1000])
    with pytest.raises(CheckpointError, match="cannot be read"):
        Sleep2VecClassifier.load(saved)
    with pytest.raises(CheckpointError, match=r"no fitted estimator.*load_checkpoint"):
        Sleep2VecClassifier.load(checkpoint_path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        Sleep2VecClassifier.load(tmp_path / "nothing")


def test_nothing_to_save_and_nowhere(classify, tmp_path):
    with pytest.raises(NotFittedError):
        classify().save(tmp_path / "model")
    model = classify().fit(X, Y)
    with pytest.raises(CheckpointError, match="a folder that exists"):
        model.save(tmp_path / "nowhere" / "model")
