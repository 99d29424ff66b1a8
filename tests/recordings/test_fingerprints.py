# SPDX-License-Identifier: BSD-3-Clause
"""Fingerprints name content: nothing else changes them, and every part of it does."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn import Recording
from sleep2vec_sklearn.recordings import MemorySource
from tests.strategies import montages


def fingerprint(value, rate=4.0, **options):
    return Recording({"spo2": (value, rate)}, **options).fingerprint


VALUES = np.linspace(80, 99, 240).astype(np.float32)


@settings(max_examples=25)
@given(montage=montages(max_epochs=4), data=st.data())
def test_key_order_is_ignored(montage, data):
    names = data.draw(st.permutations(sorted(montage)))
    shuffled = {name: montage[name] for name in names if montage[name] is not None}
    assert Recording(shuffled).fingerprint == Recording(montage).fingerprint


@pytest.mark.parametrize(
    "described",
    [{"id": "a"}, {"subject": "a"}, {"metadata": {"age": 3}}, {"stages": [0, 1]},
     {"lights": (1, 9)}, {"units": {"spo2": "%"}}],
)  # fmt: skip
def test_metadata_is_ignored(described):
    assert fingerprint(VALUES, **described) == fingerprint(VALUES)


def test_memory_layout_is_ignored():
    strided = np.repeat(VALUES, 3)[::3]
    backwards = VALUES[::-1].copy()[::-1]
    frozen = VALUES.copy()
    frozen.flags.writeable = False
    rows = VALUES.reshape(2, 120)
    columns = np.asfortranarray(rows)
    prints = {fingerprint(v) for v in (strided, backwards, frozen, rows, columns)}
    assert prints == {fingerprint(VALUES)}


@given(index=st.integers(0, 239), change=st.sampled_from([1e-5, -1.0, np.nan]))
def test_every_sample_counts(index, change):
    other = VALUES.copy()
    other[index] = np.nan if np.isnan(change) else np.nextafter(other[index], change * np.inf)
    assert fingerprint(other) != fingerprint(VALUES)


def test_gap_is_not_zero():
    gap, zero = VALUES.copy(), VALUES.copy()
    gap[5], zero[5] = np.nan, 0
    prints = {fingerprint(v) for v in (VALUES, gap, zero, VALUES[::-1], VALUES[:239])}
    assert len(prints) == 5


def test_every_signal_counts():
    a, b = VALUES, VALUES[::-1]
    nights = [{"effort": a, "airflow": b}, {"effort": b, "airflow": a}]
    assert Recording(nights[0]).fingerprint != Recording(nights[1]).fingerprint
    both = Recording({"spo2": VALUES, "resp": VALUES})
    assert both.fingerprint != fingerprint(VALUES)
    assert both.without("resp").fingerprint == both.fingerprint


def test_fingerprint_follows_documented_recipe():
    digest = hashlib.sha256(repr(("spo2", "<f4", (240,), 4.0, "%")).encode())
    digest.update(VALUES.tobytes())
    assert fingerprint(VALUES) == digest.hexdigest()


def test_samples_are_hashed_once(monkeypatch):
    source = MemorySource({"spo2": VALUES})
    first = source.fingerprint()
    monkeypatch.setattr(hashlib, "sha256", lambda *_: pytest.fail("hashed again"))
    assert source.fingerprint() == first
