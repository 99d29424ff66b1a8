# SPDX-License-Identifier: BSD-3-Clause
import dataclasses
import json
import struct

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError

from sleep2vec_sklearn import EpochSequence, Sleep2VecClassifier, Sleep2VecRegressor
from sleep2vec_sklearn.errors import CheckpointError
from sleep2vec_sklearn.finetuning import FullFineTuning, LoRA
from sleep2vec_sklearn.finetuning._saving import read_estimator, write_estimator
from sleep2vec_sklearn.model.checkpoint import BUNDLED
from tests.finetuning.simple_nights import QUICK, make_nights

NIGHTS = make_nights(4)
X = EpochSequence(NIGHTS)
Y = X.stages.astype(int)


@pytest.fixture(scope="module")
def fitted(checkpoint_path):
    return Sleep2VecClassifier(checkpoint_path, **QUICK).fit(X, Y)


@pytest.fixture
def saved(fitted, tmp_path):
    """A file with a fitted classifier."""
    fitted.save(tmp_path / "stager.safetensors")
    return tmp_path / "stager.safetensors"


@pytest.mark.parametrize(
    "parameters",
    [{}, {"finetune": LoRA(rank=2), "layer_mix": True, "covariates": ("age", "sex")},
     {"finetune": "full", "class_weight": {"wake": 2.0, "sleep": 1.0}}],
    ids=["head", "lora", "full"],
)  # fmt: skip
def test_loaded_estimators_predict_the_same(classify, tmp_path, parameters):
    names = np.array(["wake", "sleep"], dtype=object)[Y]
    model = classify(**parameters).fit(X, names)
    path = tmp_path / "stager.safetensors"
    model.save(path)
    loaded = Sleep2VecClassifier.load(path)
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    assert loaded.classes_.dtype == model.classes_.dtype
    for name in ("max_epochs", "class_weight", "finetune__lr", "finetune__rank"):
        assert loaded.get_params().get(name) == model.get_params().get(name)
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


def test_file_needs_no_checkpoint(write_checkpoint, tmp_path):
    path = write_checkpoint(tmp_path / "mine.safetensors", 5)
    model = Sleep2VecClassifier(path, **QUICK).fit(X, Y)
    model.save(tmp_path / "model")
    expected = model.predict_proba(X)
    path.unlink()
    loaded = Sleep2VecClassifier.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict_proba(X), expected)


def test_other_classes_are_refused(saved):
    assert b"night-0" not in saved.read_bytes()
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
    [(lambda d: d.update(format_version=99), "newer version.*pip install"),
     (lambda d: d["fitted"].update(unit_="night"), "changed or damaged"),
     (lambda d: d.pop("fitted"), "changed or damaged"),
     (lambda d: d.pop("sha256"), "cannot be read")],
)  # fmt: skip
def test_changed_descriptions_are_noticed(saved, change, said):
    _edit(saved, change)
    with pytest.raises(CheckpointError, match=said):
        Sleep2VecClassifier.load(saved)


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [("fitted", {"predict": "x"}, "'predict' is no fitted attribute"),
     ("fitted", {"_rows_at_fit": 1}, "'_rows_at_fit' is no fitted attribute"),
     ("parameters", {"cache": "/somewhere"}, "unknown parameters cache"),
     ("parameters", {"nonsense": 1}, "unknown parameters nonsense")],
)  # fmt: skip
def test_foreign_attributes_are_refused(saved, part, change, message):
    document = read_estimator(saved)
    getattr(document, part).update(change)
    write_estimator(saved, document)
    with pytest.raises(CheckpointError, match=message):
        Sleep2VecClassifier.load(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [(lambda s: s.fitted.update(classes_=np.zeros(2, int)), "classes_"),
     (lambda s: s.fitted.update(class_weight_=s.fitted["class_weight_"] * np.nan), "not finite"),
     (lambda s: s.fitted.update(unit_=1), "unit_ is 1"),
     (lambda s: s.fitted.update(modalities_=("eeg",)), "modalities_"),
     (lambda s: s.fitted.pop("multilabel_"), "multilabel_"),
     (lambda s: s.parameters.update(finetune__nonsense=1), "unknown parameters finetune__nonsense"),
     (lambda s: s.parameters.update(max_epochs="x"), "max_epochs"),
     (lambda s: s.parameters.update(finetune="lora", finetune__rank=10**9), "adapters of rank"),
     (lambda s: s.module.update({"network.mean": torch.zeros(1)}), "the head has no mean")],
)  # fmt: skip
def test_forged_parts_are_refused(saved, change, message):
    document = read_estimator(saved)
    change(document)
    write_estimator(saved, document)
    with pytest.raises(CheckpointError, match=rf"stager\.safetensors.*{message}"):
        Sleep2VecClassifier.load(saved)


def test_claimed_hashes_are_not_believed(saved):
    document = read_estimator(saved)
    sha256 = BUNDLED["sleep2vec-mini"]
    forged = dataclasses.replace(document.checkpoint, sha256=sha256, name="sleep2vec-mini")
    document.fitted["checkpoint_sha256_"] = sha256
    write_estimator(saved, dataclasses.replace(document, checkpoint=forged))
    loaded = Sleep2VecClassifier.load(saved)
    assert loaded.checkpoint_sha256_ == loaded.checkpoint.sha256 == document.checkpoint.sha256


@pytest.mark.parametrize(
    "finetune", ["head", FullFineTuning(lr=0.1), LoRA(rank=2, alpha=4.0, lr=0.1)]
)
def test_flat_parameters_of_format_1(classify, tmp_path, finetune):
    path = tmp_path / "model.safetensors"
    model = classify(finetune=finetune, max_epochs=1).fit(X, Y)
    model.save(path)
    document = read_estimator(path)
    flat = {k: v for k, v in document.parameters.items() if "__" not in k}
    flat |= {"lora_rank": 2, "lora_alpha": 4.0, "encoder_lr": 0.1}
    write_estimator(path, dataclasses.replace(document, parameters=flat))
    loaded = Sleep2VecClassifier.load(path)
    nested = ("finetune__rank", "finetune__alpha", "finetune__lr")
    assert [loaded.get_params().get(k) for k in nested] == [
        model.get_params().get(k) for k in nested
    ]
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))


def test_foreign_files_are_noticed(saved, checkpoint_path, tmp_path):
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


def test_impossible_saves_are_refused(classify, fitted, tmp_path):
    with pytest.raises(NotFittedError):
        classify().save(tmp_path / "model")
    with pytest.raises(CheckpointError, match="a folder that exists"):
        fitted.save(tmp_path / "nowhere" / "model")
