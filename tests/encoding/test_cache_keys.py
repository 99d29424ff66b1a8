# SPDX-License-Identifier: BSD-3-Clause
"""What tokens are found by: all they depend on, and nothing else."""

import numpy as np
import pytest

from sleep2vec_sklearn import Recording, Sleep2VecTransformer, load_checkpoint, read_recording
from sleep2vec_sklearn.encoding.cache import MEMORY_CACHE
from sleep2vec_sklearn.readers.npz import NpzSource


@pytest.fixture
def encode(checkpoint_path):
    """Function of a plain dict and parameters: its row."""

    def row_of(night, checkpoint=checkpoint_path, **parameters):
        return Sleep2VecTransformer(checkpoint, **parameters).fit_transform([night])[0]

    return row_of


def as_memmap(values, folder):
    np.save(folder / "values.npy", values)
    return np.load(folder / "values.npy", mmap_mode="r")


SAME = {
    "another dict": lambda v, _: v.copy(),
    "read-only": lambda v, _: np.frombuffer(v.tobytes(), v.dtype),
    "big-endian": lambda v, _: v.astype(">f4"),
    "float64": lambda v, _: v.astype(np.float64),
    "big-endian float64": lambda v, _: v.astype(">f8"),
    "epochs in Fortran order": lambda v, _: np.asfortranarray(v.reshape(4, -1)),
    "every other sample": lambda v, _: np.repeat(v, 2)[::2],
    "memory map": as_memmap,
    "list": lambda v, _: np.array(v.tolist()),
}


@pytest.mark.parametrize("kind", SAME)
@pytest.mark.parametrize("name", ["ecg", "ibi"])
def test_same_samples_in_any_form(encode, encodes, noise, tmp_path, kind, name):
    values, rate = noise(name)
    row = encode({name: (values, rate)})
    same = SAME[kind](values, tmp_path)
    given = same if same.ndim == 2 else (same, rate)
    np.testing.assert_array_equal(encode({name: given}), row)
    assert len(encodes) == 1
    np.testing.assert_array_equal(encode({name: given}, cache=None), row)


def test_integers_are_found_as_floats(encode, encodes, noise):
    values = np.round(noise("ecg")[0] * 100) + 0  # no -0.0
    row = encode({"ecg": values})
    np.testing.assert_array_equal(encode({"ecg": values.astype(np.int16)}), row)
    assert len(encodes) == 1
    np.testing.assert_array_equal(encode({"ecg": values.astype(np.int16)}, cache=None), row)


def test_gaps_are_part_of_samples(encode, encodes, noise):
    values, rate = noise("ibi")
    values[20:50] = np.nan
    encode({"ibi": (values, rate)})
    encode({"ibi": (values.astype(np.float64), rate)})
    assert len(encodes) == 1
    values[50] = np.nan
    encode({"ibi": (values, rate)})
    assert len(encodes) == 2


def test_key_order_does_not_matter(encode, encodes, noise):
    ecg, ibi = noise("ecg"), noise("ibi")
    encode({"ecg": ecg, "ibi": ibi})
    encode({"ibi": ibi, "spo2": None, "ecg": ecg})
    encode({"ibi": ibi})
    assert encodes == ["ecg", "ibi"]


def test_changed_signal_is_encoded_again(encode, encodes, noise):
    values, rate = noise("ibi")
    encode({"ibi": (values, rate)})
    other = values.copy()
    other[7] = np.nextafter(other[7], 2)
    encode({"ibi": (other, rate)})
    encode({"ibi": (values, rate / 2)})
    encode(Recording({"ibi": (values, rate)}, duration=90))
    assert len(encodes) == 4


def test_checkpoints_of_one_name_differ(encode, encodes, noise, write_checkpoint, tmp_path):
    X = {"ibi": noise("ibi")}
    path = write_checkpoint(tmp_path / "mine.safetensors", 0)
    first = encode(X, path)
    again = encode(X, load_checkpoint(path))
    write_checkpoint(path, 1)
    second = encode(X, path)
    assert len(encodes) == 2
    np.testing.assert_array_equal(first, again)
    assert (first != second).any()


def test_device_is_no_key(encode, encodes, noise):
    encode({"ibi": noise("ibi")})
    encode({"ibi": noise("ibi")}, device="cpu")
    encode({"ibi": noise("ibi")}, device="cpu:0")
    assert len(encodes) == 1


def test_part_of_file_is_found(encode, encodes, noise, tmp_path):
    path = tmp_path / "night.npz"
    np.savez(path, ecg=noise("ecg")[0], ibi=noise("ibi")[0])
    encode(read_recording(path, derive=False))
    encode(read_recording(path, modalities=["ibi"]))
    encode(read_recording(path, derive=False).without("ibi"))
    assert encodes == ["ecg", "ibi"]
    np.savez(path, ecg=noise("ecg")[0], ibi=noise("ibi", seed=1)[0])
    encode(read_recording(path, derive=False))
    assert len(encodes) == 4


def test_file_hit_reads_no_signal(encode, noise, tmp_path, monkeypatch):
    path = tmp_path / "night.npz"
    np.savez(path, ecg=noise("ecg")[0], ibi=noise("ibi")[0])
    row = encode(read_recording(path, derive=False), cache=tmp_path / "cache")
    MEMORY_CACHE.clear()
    monkeypatch.setattr(NpzSource, "read", lambda *_: pytest.fail("read"))
    np.testing.assert_array_equal(
        encode(read_recording(path, derive=False), cache=tmp_path / "cache"), row
    )


def test_source_fingerprint_is_enough(encode, encodes, counting_source, noise):
    first, second = (counting_source({"ibi": (*noise("ibi"), "s")}) for _ in range(2))
    encode(Recording.from_source(first))
    encode(Recording.from_source(second))
    assert (encodes, second.reads) == (["ibi"], [])
