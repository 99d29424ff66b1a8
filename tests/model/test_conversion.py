# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
import torch

from sleep2vec_sklearn import EpochSequence, Recording, Sleep2VecTransformer
from sleep2vec_sklearn.errors import CheckpointError, InvalidSignalError
from sleep2vec_sklearn.model import config_from_upstream, convert_checkpoint, load_checkpoint
from sleep2vec_sklearn.recordings import MODALITIES, Conditioning

RATES = {"ibi": 6 / 30, "eeg": 24 / 30, "actigraphy": 12 / 30}
N_EPOCHS = 7


@pytest.fixture
def source(upstream, state_of, as_module, write_ckpt):
    document, arrays = upstream("cls")
    return write_ckpt(as_module(state_of(arrays)), document)


@pytest.fixture
def night():
    rng = np.random.default_rng(0)
    signals = {
        name: (rng.normal(50, 9, round(rate * 30) * N_EPOCHS), rate) for name, rate in RATES.items()
    }
    return Recording(signals, units={"actigraphy": "g"})


def test_a_lightning_file_loads_as_what_it_converts_to(source, tmp_path):
    target = tmp_path / "mine.safetensors"
    sha256 = convert_checkpoint(source, target, card={"licence": "CC0-1.0"})
    direct, converted = load_checkpoint(source), load_checkpoint(target)
    assert direct.sha256 == converted.sha256 == sha256
    assert direct.config == converted.config
    assert all(torch.equal(tensor, converted.state[key]) for key, tensor in direct.state.items())
    assert (direct.name, converted.name) == ("last", "mine")
    assert converted.card == {**direct.card, "licence": "CC0-1.0"}


def test_a_lightning_file_is_read_once_until_it_changes(source, upstream, state_of, write_ckpt):
    first = load_checkpoint(source)
    assert load_checkpoint(str(source)) is first
    document, arrays = upstream("cls")
    write_ckpt(state_of(arrays), document, global_step=13)
    assert load_checkpoint(source).card["global_step"] == 13


def test_a_conversion_can_be_half_the_size_and_another_context(source, tmp_path):
    target = tmp_path / "half.safetensors"
    convert_checkpoint(source, target, dtype="float16", context_epochs=60)
    assert load_checkpoint(target).config.context_epochs == 60
    assert target.stat().st_size < source.stat().st_size / 3


def test_targets_that_cannot_be_written_are_refused_before_reading(source, tmp_path):
    with pytest.raises(CheckpointError, match=r"call it mine\.safetensors"):
        convert_checkpoint(source, tmp_path / "mine.ckpt")
    with pytest.raises(CheckpointError, match="no folder"):
        convert_checkpoint("none.ckpt", tmp_path / "new" / "mine.safetensors")


def test_rows_are_the_networks_on_the_samples_as_given(source, night):
    checkpoint = load_checkpoint(source)
    network = checkpoint.build()
    for name, rate in RATES.items():
        found = Sleep2VecTransformer(source, modalities=[name]).fit_transform(
            EpochSequence([night])
        )
        samples = torch.from_numpy(night[name].astype(np.float32)).reshape(1, N_EPOCHS, -1)
        assert samples.shape[-1] == round(rate * 30)
        with torch.no_grad():
            expected = network.encode(network.tokenize(name, samples))[0, 1:]
        np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-5)


def test_counts_are_refused_where_acceleration_was_trained_on(source, night):
    counted = Recording({"actigraphy": (night["actigraphy"], 1 / 30)})
    with pytest.raises(InvalidSignalError, match=r"in counts.*'actigraphy': 'g'.*without"):
        Sleep2VecTransformer(source).fit_transform([counted])


def test_conditioning_is_nothing_but_resampling_unless_asked_for(upstream):
    document, _ = upstream("cls")
    eeg = {m.name: m.conditioning for m in config_from_upstream(document).modalities}["eeg"]
    assert (eeg.scaling, eeg.center, eeg.scale, eeg.band) == ("absolute", 0.0, 1.0, (None, None))
    assert eeg.limits == (None, None)
    own = config_from_upstream(document, conditioning="catalogue").modalities[1].conditioning
    known = MODALITIES["eeg"].conditioning
    assert (own.scaling, own.band, own.rate) == ("robust", known.band, 24 / 30)


def test_single_modalities_can_be_conditioned_apart(upstream):
    document, _ = upstream("cls")
    scaled = Conditioning(rate=0.2, min_rate=None, scaling="absolute", center=0.9, scale=0.2)
    config = config_from_upstream(document, conditioning={"ibi": scaled})
    assert config.modalities[0].conditioning == scaled
    assert config.modalities[1] == config_from_upstream(document).modalities[1]


@pytest.mark.parametrize(
    ("conditioning", "word"),
    [
        ("ours", "accepted: 'as given', 'catalogue'"),
        ({"ppg": Conditioning(rate=1, min_rate=None)}, "conditioning for ppg; it reads ibi"),
        ({"ibi": Conditioning(rate=4, min_rate=None)}, "gives 120 samples an epoch, its input_dim"),
    ],
)
def test_conditioning_that_does_not_fit_is_refused(upstream, conditioning, word):
    document, _ = upstream("cls")
    with pytest.raises(CheckpointError, match=word):
        config_from_upstream(document, conditioning=conditioning)
