# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest

from sleep2vec_sklearn import EpochSequence, Sleep2VecTransformer, save_checkpoint
from sleep2vec_sklearn.errors import CheckpointError, ModalityWarning
from sleep2vec_sklearn.model import EncoderConfig, Sleep2Vec


@pytest.mark.parametrize(
    ("parameter", "value", "accepted"),
    [
        ("fusion", "sum", "must be a str among {"),
        ("pooling", "median", "must be a str among {"),
        ("precision", "float16", "must be a str among {"),
        ("cache", "disk", "'memory', None or the path of a folder"),
        ("cache", True, "'memory', None or the path of a folder"),
        ("cache", __file__, "is a file; accepted is the path of a folder"),
        ("on_error", "ignore", "must be a str among {"),
        ("layer", 3, "'last', 'projection', 0, 1, 2"),
        ("layer", True, "'last', 'projection', 0, 1, 2"),
        ("batch_size", 0, "range [1, inf) or None"),
        ("batch_size", True, "range [1, inf) or None"),
        ("device", "gpu9", "Use 'auto' or 'cpu'"),
    ],
)
def test_a_wrong_parameter_is_refused_at_fit(checkpoint_path, cohort, parameter, value, accepted):
    transformer = Sleep2VecTransformer(checkpoint_path, **{parameter: value})
    with pytest.raises(ValueError, match=parameter) as caught:
        transformer.fit(cohort)
    assert accepted in str(caught.value)


@pytest.mark.parametrize("modalities", [[], ["ppg"], ["eeg", "ppg"]])
def test_modalities_the_checkpoint_lacks_are_refused(checkpoint_path, cohort, modalities):
    with pytest.raises(CheckpointError, match="this checkpoint supports eeg, ecg, effort"):
        Sleep2VecTransformer(checkpoint_path, modalities=modalities).fit(cohort)


def test_a_modality_can_be_given_by_its_bare_name(checkpoint_path, cohort):
    assert Sleep2VecTransformer(checkpoint_path, modalities="ecg").fit(cohort).modalities_ == (
        "ecg",
    )


def test_known_but_unsupported_modalities_warn_once(checkpoint_path, noise):
    X = [{"ppg": noise("ppg"), "ecg": noise("ecg")}, {"ppg": noise("ppg"), "ibi": noise("ibi")}]
    with pytest.warns(ModalityWarning, match="^ppg: not supported by this checkpoint") as caught:
        Sleep2VecTransformer(checkpoint_path).fit(X)
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_unsupported_modalities_change_no_row(embed, noise):
    with pytest.warns(ModalityWarning):
        rows = embed([{"ppg": noise("ppg"), "ecg": noise("ecg")}])
    np.testing.assert_array_equal(rows, embed([{"ecg": noise("ecg")}]))


def test_layers_differ_and_the_last_block_is_the_last_layer(embed, cohort):
    first, last, named = (embed(cohort[:2], layer=layer) for layer in (1, 2, "last"))
    np.testing.assert_array_equal(last, named)
    assert np.abs(first - last).max() > 0.01


def test_projected_epochs_are_unit_vectors(embed, cohort):
    night = cohort[1].without(*(n for n in cohort[1].modalities if n != "ecg"))
    rows = embed(EpochSequence([night]), layer="projection")
    assert rows.shape[1] == 8
    # windows overlap, and the mean of two unit vectors is a little shorter
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=0.05)


def test_bfloat16_is_close_and_gives_float32(embed, cohort):
    exact, rough = embed(cohort[:2]), embed(cohort[:2], precision="bfloat16")
    assert rough.dtype == np.float32
    np.testing.assert_allclose(rough, exact, atol=0.1)


def test_cls_needs_a_checkpoint_with_one(tmp_path, small_config, cohort):
    values = {**small_config.to_dict(), "cls": False, "projection": None}
    config = EncoderConfig.from_dict(values)
    path = tmp_path / "plain.safetensors"
    save_checkpoint(path, Sleep2Vec.from_seed(config, 0), config)
    with pytest.raises(CheckpointError, match="no CLS token"):
        Sleep2VecTransformer(path, pooling="cls").fit(cohort)
    with pytest.raises(CheckpointError, match="no projection head"):
        Sleep2VecTransformer(path, layer="projection").fit(cohort)
    assert np.isfinite(Sleep2VecTransformer(path).fit_transform(cohort)).all()


def test_weights_that_overflow_are_an_error_not_a_row(tmp_path, small_config, cohort):
    network = Sleep2Vec.from_seed(small_config, 0)
    network.input_projection.weight.data.fill_(3e38)
    path = tmp_path / "wild.safetensors"
    save_checkpoint(path, network, small_config)
    with pytest.raises(CheckpointError, match=r"recording 0 .* tokens that are not finite"):
        Sleep2VecTransformer(path, cache=None).fit_transform(cohort)


def test_a_progress_bar_is_shown_on_request(embed, cohort, capsys):
    embed(cohort[:2])
    assert capsys.readouterr().err == ""
    embed(cohort[:2], verbose=1)
    assert "encoding: 100%" in capsys.readouterr().err


def test_parameters_set_after_fit_ask_for_another_fit(checkpoint_path, cohort):
    transformer = Sleep2VecTransformer(checkpoint_path).fit(cohort)
    with pytest.raises(ValueError, match="Fit again"):
        transformer.set_params(pooling="mean_std").transform(cohort)
