# SPDX-License-Identifier: BSD-3-Clause
"""BIDSleep: heart rate, motion and stages of a simulated watch and headband."""

from datetime import datetime

import numpy as np
import pytest
from scipy.io import savemat

from sleep2vec_sklearn.datasets import load_bidsleep
from sleep2vec_sklearn.errors import ReadError
from tests.datasets.files import BIDSLEEP_CODES, write_bidsleep


def test_night_follows_its_labels(tmp_path):
    write_bidsleep(tmp_path, night=10, motion=False)
    write_bidsleep(tmp_path, night=2)
    write_bidsleep(tmp_path, "Bidslab03")
    cohort = load_bidsleep(tmp_path)
    assert cohort.metadata.index.tolist() == ["Bidslab00-2", "Bidslab00-10", "Bidslab03-1"]
    assert cohort.metadata["night"].tolist() == [2, 10, 1]
    assert cohort.groups.tolist() == ["Bidslab00", "Bidslab00", "Bidslab03"]
    night = cohort[0]
    assert night.stages.tolist() == [-1, 0, 1, 2, 3, 4, 4, 0]
    assert (night.start, night.duration) == (datetime(2024, 5, 1, 22), 240)
    assert (night.modalities, cohort[1].modalities) == (("ibi", "actigraphy"), ("ibi",))


def test_signals_match_the_clock(tmp_path):
    write_bidsleep(tmp_path)
    (night,) = load_bidsleep(tmp_path)
    np.testing.assert_allclose(night["ibi"][[30, 90, 150]], [1.0, 0.8, 1.0])
    counts = night["actigraphy"]
    assert counts[65:115].min() > 100 * max(counts[:55].max(), counts[125:229].max())
    assert np.isnan(counts[231:]).all()
    assert night.rates == {"ibi": 1.0, "actigraphy": 1.0}


def test_scorers_are_chosen(tmp_path):
    write_bidsleep(tmp_path)
    assert load_bidsleep(tmp_path, scorer="dreem")[0].stages.tolist() == [0, 4, 4, 3, 2, 1, 0, -1]
    with pytest.raises(ValueError, match="'expert' or 'dreem'"):
        load_bidsleep(tmp_path, scorer="both")


@pytest.mark.parametrize("dtype", ["f8", "i2"])
def test_labels_equal_those_written(tmp_path, dtype):
    folder = write_bidsleep(tmp_path, motion=False)
    codes = BIDSLEEP_CODES.astype(dtype).T
    more = {"c": np.eye(3), "s": {"a": 1}, "dreem_label": np.zeros((2, 2))}
    labels = {"recStart": "2024-05-01 22:00:00", "expert_label": codes, **more}
    savemat(folder / "labels.mat", labels, do_compression=dtype == "i2")
    (night,) = load_bidsleep(tmp_path)
    assert night.stages.tolist() == [-1, 0, 1, 2, 3, 4, 4, 0]
    with pytest.raises(ReadError, match="is no vector"):
        load_bidsleep(tmp_path, scorer="dreem")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [(124, 5, "recStart"), (128, 13, "something else than arrays"),
     (132, 255, "longer than what holds it"), (132 + 52, 99, "has not the parts")],
)  # fmt: skip
def test_damaged_labels_are_refused(tmp_path, place, value, message):
    path = write_bidsleep(tmp_path, motion=False) / "labels.mat"
    data = bytearray(path.read_bytes())
    data[place] = value
    path.write_bytes(data)
    with pytest.raises(ReadError, match=message):
        load_bidsleep(tmp_path)


def test_repeated_hour_is_the_first(tmp_path):
    folder = write_bidsleep(tmp_path, start="2024-11-03 01:30:00", unix=1_730_611_800)
    (night,) = load_bidsleep(tmp_path)
    np.testing.assert_allclose(night["ibi"][[30, 90]], [1.0, 0.8])
    assert folder.name == str(night.metadata["night"])


def test_signals_are_read_lazily(tmp_path):
    folder = write_bidsleep(tmp_path)
    (night,) = load_bidsleep(tmp_path)
    prints = night.signal_fingerprint("ibi"), night.signal_fingerprint("actigraphy")
    (folder / "motion.csv").write_text("damaged\n")
    np.testing.assert_allclose(night["ibi"][30], 1.0)
    with pytest.raises(ReadError, match=r"motion\.csv"):
        night.read(["actigraphy"])
    assert prints[0] != prints[1]


def test_damaged_nights_are_named(tmp_path):
    folder = write_bidsleep(tmp_path)
    (folder / "labels.mat").write_bytes(b"MATLAB 5.0 MAT-file cut")
    with pytest.raises(ReadError, match=r"labels\.mat cannot be read"):
        load_bidsleep(tmp_path)
    savemat(folder / "labels.mat", {"recStart": "yesterday", "expert_label": BIDSLEEP_CODES})
    with pytest.raises(ReadError, match="yesterday"):
        load_bidsleep(tmp_path)
    write_bidsleep(tmp_path)
    for name in ("hr.csv", "motion.csv"):
        (folder / name).unlink()
    with pytest.raises(ReadError, match=r"neither hr\.csv nor motion\.csv"):
        load_bidsleep(tmp_path)
