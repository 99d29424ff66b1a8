# SPDX-License-Identifier: BSD-3-Clause
"""The encoder that comes with the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import sleep2vec_sklearn
from sleep2vec_sklearn import Sleep2VecTransformer, load_checkpoint
from sleep2vec_sklearn.model.checkpoint import BUNDLED
from sleep2vec_sklearn.recordings import MODALITIES
from tests.golden import FILE, golden_night, golden_rows

LARGEST_BYTES = 12 * 2**20


def test_bundled_encoder_gives_golden_rows():
    rows = golden_rows()
    with np.load(FILE) as golden:
        assert rows.keys() == set(golden)
        for key, expected in golden.items():
            np.testing.assert_allclose(rows[key], expected, rtol=1e-3, atol=1e-3, err_msg=key)


def test_bundled_encoders_are_pinned():
    for name, sha256 in BUNDLED.items():
        assert load_checkpoint(name).sha256 == sha256
        (path,) = Path(sleep2vec_sklearn.__file__).parent.rglob(f"{name}.safetensors")
        assert path.stat().st_size < LARGEST_BYTES
    config = load_checkpoint("sleep2vec-mini").config
    assert {modality.name for modality in config.modalities} == set(MODALITIES)


def test_bundled_card_names_training_data():
    card = load_checkpoint("sleep2vec-mini").card
    sources = {entry["source"] for entry in card["sources"]}
    assert {"simulated", "mmash", "rr24h", "bidmc", "ucddb"} <= sources
    assert "SeqSleepNet" in card["distilled"]
    assert "sleep-accel" in card["never_seen"]
    assert "SC4001" in card["never_seen"]
    assert card["licence"] == "BSD-3-Clause"


def test_a_night_tells_modalities_apart():
    transformer = Sleep2VecTransformer()
    eeg, watch = golden_night("eeg"), golden_night("ibi", "actigraphy")
    rows = transformer.fit_transform([eeg, watch])
    assert not np.allclose(rows[0], rows[1], atol=0.1)
