# SPDX-License-Identifier: BSD-3-Clause
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from sleep2vec_sklearn import (
    EpochSequence,
    Recording,
    Sleep2VecTransformer,
    load_checkpoint,
    save_checkpoint,
)
from sleep2vec_sklearn.errors import CheckpointError, ModalityWarning
from sleep2vec_sklearn.model import EncoderConfig, Sleep2Vec
from sleep2vec_sklearn.model import checkpoint as checkpoint_module


@pytest.fixture
def transformer(checkpoint_path):
    return Sleep2VecTransformer(checkpoint_path)


@pytest.mark.parametrize(
    ("parameter", "value", "accepted"),
    [("fusion", "sum", "must be a str among {"), ("pooling", "median", "must be a str among {"),
     ("precision", "float16", "must be a str among {"),
     ("cache", "disk", "'memory', None or the path of a folder"),
     ("cache", True, "'memory', None or the path of a folder"),
     ("cache", __file__, "is a file; accepted is the path of a folder"),
     ("on_error", "ignore", "must be a str among {"), ("layer", 3, "'last', 'projection', 0, 1, 2"),
     ("layer", True, "'last', 'projection', 0, 1, 2"), ("batch_size", 0, "range [1, inf) or None"),
     ("batch_size", True, "range [1, inf) or None"), ("device", "gpu9", "Use 'auto' or 'cpu'")],
)  # fmt: skip
def test_invalid_parameter_is_refused(checkpoint_path, cohort, parameter, value, accepted):
    transformer = Sleep2VecTransformer(checkpoint_path, **{parameter: value})
    with pytest.raises(ValueError, match=parameter) as caught:
        transformer.fit(cohort)
    assert accepted in str(caught.value)


@pytest.mark.parametrize("modalities", [[], ["ppg"], ["eeg", "ppg"]])
def test_unsupported_modalities_are_refused(checkpoint_path, cohort, modalities):
    with pytest.raises(CheckpointError, match="this checkpoint supports eeg, ecg, effort"):
        Sleep2VecTransformer(checkpoint_path, modalities=modalities).fit(cohort)


def test_one_modality_by_name(checkpoint_path, cohort):
    fitted = Sleep2VecTransformer(checkpoint_path, modalities="ecg").fit(cohort)
    assert fitted.modalities_ == ("ecg",)


def test_unsupported_modalities_warn_once(checkpoint_path, noise, embed):
    X = [{"ppg": noise("ppg"), "ecg": noise("ecg")}, {"ppg": noise("ppg"), "ibi": noise("ibi")}]
    with pytest.warns(ModalityWarning, match="^ppg: not supported by this checkpoint") as caught:
        Sleep2VecTransformer(checkpoint_path).fit(X)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with pytest.warns(ModalityWarning):
        rows = embed([{"ppg": noise("ppg"), "ecg": noise("ecg")}])
    np.testing.assert_array_equal(rows, embed([{"ecg": noise("ecg")}]))


def test_layers_and_precision_agree(embed, cohort):
    first, last, named = (embed(cohort[:2], layer=layer) for layer in (1, 2, "last"))
    np.testing.assert_array_equal(last, named)
    assert np.abs(first - last).max() > 0.01
    exact, rough = embed(cohort[:2]), embed(cohort[:2], precision="bfloat16")
    assert rough.dtype == np.float32
    np.testing.assert_allclose(rough, exact, atol=0.1)


def test_projected_epochs_are_unit_vectors(embed, cohort):
    night = cohort[1].without(*(n for n in cohort[1].modalities if n != "ecg"))
    rows = embed(EpochSequence([night]), layer="projection")
    assert rows.shape[1] == 8
    # windows overlap, and the mean of two unit vectors is a little shorter
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=0.05)


def test_cls_needs_a_cls_token(tmp_path, small_config, cohort):
    values = {**small_config.to_dict(), "cls": False, "projection": None}
    config = EncoderConfig.from_dict(values)
    path = tmp_path / "plain.safetensors"
    save_checkpoint(path, Sleep2Vec.from_seed(config, 0), config)
    with pytest.raises(CheckpointError, match="no CLS token"):
        Sleep2VecTransformer(path, pooling="cls").fit(cohort)
    with pytest.raises(CheckpointError, match="no projection head"):
        Sleep2VecTransformer(path, layer="projection").fit(cohort)
    assert np.isfinite(Sleep2VecTransformer(path).fit_transform(cohort)).all()


def test_overflowing_weights_are_an_error(tmp_path, small_config, cohort):
    network = Sleep2Vec.from_seed(small_config, 0)
    network.input_projection.weight.data.fill_(3e38)
    path = tmp_path / "wild.safetensors"
    save_checkpoint(path, network, small_config)
    with pytest.raises(CheckpointError, match=r"recording 0 .* tokens that are not finite"):
        Sleep2VecTransformer(path, cache=None).fit_transform(cohort)


def test_verbose_shows_progress(embed, cohort, capsys):
    embed(cohort[:2])
    assert capsys.readouterr().err == ""
    embed(cohort[:2], verbose=1)
    assert "encoding: 100%" in capsys.readouterr().err


def test_fit_and_later_parameters(transformer, cohort, counting_source, noise, checkpoint_path):
    source = counting_source({"eeg": (*noise("eeg"), "uV")})
    assert transformer.fit([Recording.from_source(source)], y=object()) is transformer
    assert source.reads == []
    transformer = Sleep2VecTransformer(checkpoint_path).fit(cohort)
    with pytest.raises(ValueError, match="Fit again"):
        transformer.set_params(pooling="mean_std").transform(cohort)


def test_unfitted_transform_loads_no_weights(monkeypatch):
    monkeypatch.setattr(checkpoint_module, "_read", lambda path: pytest.fail("weights were read"))
    with pytest.raises(NotFittedError):
        Sleep2VecTransformer("anything").transform([])
    with pytest.raises(NotFittedError):
        Sleep2VecTransformer("anything").get_feature_names_out()


def test_pickle_carries_no_weights(transformer, cohort):
    rows = transformer.fit_transform(cohort)
    stored = pickle.dumps(transformer)
    assert len(stored) < 3000
    np.testing.assert_array_equal(pickle.loads(stored).transform(cohort), rows)


def test_pickle_from_another_device(checkpoint_path, cohort):
    transformer = Sleep2VecTransformer(checkpoint_path, cache=None)
    rows = transformer.fit_transform(cohort[:1])
    transformer.device_ = "cuda:99"
    np.testing.assert_array_equal(transformer.transform(cohort[:1]), rows)
    transformer.set_params(device="cuda:99")
    with pytest.raises(ValueError, match=r"device 'cuda:99' is not available here.*'auto'"):
        transformer.transform(cohort[:1])


def test_pickle_with_weights_is_enough(tmp_path, write_checkpoint, cohort):
    path = write_checkpoint(tmp_path / "mine.safetensors", 5)
    transformer = Sleep2VecTransformer(path, store_weights_in_pickle=True, cache=None)
    rows = transformer.fit_transform(cohort)
    stored = pickle.dumps(transformer)
    path.unlink()
    np.testing.assert_array_equal(pickle.loads(stored).transform(cohort), rows)


def test_pickle_needs_its_checkpoint(tmp_path, write_checkpoint, cohort):
    path = write_checkpoint(tmp_path / "mine.safetensors", 5)
    stored = pickle.dumps(Sleep2VecTransformer(path).fit(cohort))
    write_checkpoint(path, 6)
    with pytest.raises(CheckpointError, match=r"mine has sha256 .* was fitted with .* Restore"):
        pickle.loads(stored).transform(cohort)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"mine\.safetensors"):
        pickle.loads(stored).transform(cohort)


def test_loaded_checkpoint_is_accepted(checkpoint_path, transformer, cohort):
    passed = Sleep2VecTransformer(load_checkpoint(checkpoint_path))
    np.testing.assert_array_equal(
        clone(passed).fit_transform(cohort), transformer.fit_transform(cohort)
    )


@pytest.mark.parametrize("fusion", ["mean", "concat"])
@pytest.mark.parametrize("pooling", ["mean", "mean_std", "max", "cls"])
@pytest.mark.parametrize("unit", ["night", "epoch"])
def test_column_names_are_unique(checkpoint_path, cohort, fusion, pooling, unit):
    X = cohort[:2] if unit == "night" else EpochSequence(cohort[:2])
    transformer = Sleep2VecTransformer(checkpoint_path, fusion=fusion, pooling=pooling).fit(X)
    names = transformer.get_feature_names_out()
    assert len(set(names)) == len(names) == transformer.n_features_out_
    assert transformer.transform(X).shape == (len(X), len(names))


def test_columns_depend_on_the_checkpoint(checkpoint_path, cohort, noise):
    transformer = Sleep2VecTransformer(checkpoint_path, fusion="concat", pooling="mean_std")
    names = transformer.fit(cohort).get_feature_names_out()
    assert names[[0, 32, -1]].tolist() == ["eeg_mean_000", "ecg_mean_000", "actigraphy_std_031"]
    fitted = Sleep2VecTransformer(checkpoint_path, fusion="concat").fit([{"ibi": noise("ibi")}])
    assert fitted.n_features_out_ == 6 * 32
    assert fitted.modalities_ == ("eeg", "ecg", "effort", "spo2", "ibi", "actigraphy")
