# SPDX-License-Identifier: BSD-3-Clause
"""Hypothesis strategies: nights of any montage, rate and missingness, and what users pass."""

from __future__ import annotations

import math
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from hypothesis import strategies as st

from sleep2vec_sklearn import Recording

NATIVE_RATES = {
    "eeg": (50, 64, 99.9, 128),
    "ecg": (64, 100, 125.0),
    "effort": (4, 10, 32),
    "spo2": (0.5, 1, 3, 4),
    "ibi": (0.5, 4),
    "actigraphy": (0.5, 1, 2),
}


def make_signal(name: str, n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Samples that could be a sensor's; no physiology."""
    noise = rng.standard_normal(n_samples)
    if name == "spo2":
        return 95 + np.clip(noise, -4, 4)
    if name == "ibi":
        return 0.9 + 0.05 * np.clip(noise, -4, 4)
    return np.abs(noise) * 30 if name == "actigraphy" else noise * 30


@st.composite
def signals(draw, name: str, n_epochs: int):
    """A pair (samples, rate) with up to two gaps, too short to leave nothing."""
    rate = draw(st.sampled_from(NATIVE_RATES[name]))
    n_samples = max(1, round(n_epochs * 30 * rate))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    values = make_signal(name, n_samples, rng).astype(np.float32)
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.floats(0, 1))
        length = draw(st.sampled_from((0.0, 0.02, 0.2)))
        values[int(start * n_samples) : int((start + length) * n_samples)] = np.nan
    return values, rate


@st.composite
def montages(draw, min_epochs: int = 2, max_epochs: int = 12) -> dict:
    """A dict of any non-empty subset of modalities."""
    n_epochs = draw(st.integers(min_epochs, max_epochs))
    names = draw(st.sets(st.sampled_from(sorted(NATIVE_RATES)), min_size=1, max_size=3))
    montage = {name: draw(signals(name, n_epochs)) for name in sorted(names)}
    for name in draw(st.sets(st.sampled_from(sorted(NATIVE_RATES)), max_size=2)):
        montage.setdefault(name, None)
    return montage


def recordings(**sizes) -> st.SearchStrategy[Recording]:
    """Recordings of such montages."""
    return montages(**sizes).map(Recording)


# what users pass by hand: each argument is mostly a usual one, and at times one of these

ODD = (
    lambda: None,
    lambda: True,
    lambda: False,
    lambda: 0,
    lambda: 1,
    lambda: -1,
    lambda: 2,
    lambda: 2**63,
    lambda: 10**400,
    lambda: -0.5,
    lambda: 0.5,
    lambda: 1e300,
    lambda: math.nan,
    lambda: math.inf,
    lambda: -math.inf,
    lambda: 1e-320,
    lambda: 1j,
    lambda: "",
    lambda: "x",
    lambda: "é\u202e\0'\"{0}%s",
    lambda: "../x",
    lambda: "eeg",
    lambda: "nan",
    lambda: "2024-01-01",
    lambda: b"x",
    list,
    lambda: (),
    dict,
    lambda: set(),
    lambda: [None],
    lambda: ["a", 1],
    lambda: [[1, 2], [3]],
    lambda: {"eeg": 1},
    lambda: {1: 2},
    lambda: range(3),
    lambda: (i for i in range(3)),
    lambda: object(),
    lambda: len,
    lambda: int,
    lambda: ...,
    lambda: slice(None),
    lambda: np.float32(0.5),
    lambda: np.int64(3),
    lambda: np.bool_(True),
    lambda: np.array(3),
    lambda: np.array([]),
    lambda: np.zeros((2, 3)),
    lambda: np.ones(3),
    lambda: np.array(["a", "b"]),
    lambda: np.array([None, 1.5], object),
    lambda: np.zeros(0, "M8[s]"),
    lambda: np.datetime64("NaT"),
    lambda: np.timedelta64(3, "s"),
    lambda: pd.NA,
    lambda: pd.NaT,
    lambda: pd.Timestamp("2024-01-01"),
    lambda: pd.Series([1.0, None]),
    lambda: pd.Series(["a"]),
    lambda: pd.DataFrame(),
    lambda: pd.DataFrame({"a": [1, 2]}),
    lambda: pd.Index(["a"]),
    lambda: pd.MultiIndex.from_tuples([("a", 1)]),
    lambda: pd.Categorical(["a"]),
    lambda: datetime(2024, 1, 1),
    lambda: date(2024, 1, 1),
    lambda: time(23),
    lambda: timedelta(hours=1),
    lambda: Decimal("0.5"),
    lambda: Fraction(1, 2),
    lambda: Path("x"),
    lambda: torch.ones(3),
    lambda: torch.ones(2, requires_grad=True),
    lambda: np.ma.masked,
    lambda: np.ones(3, "f8,i4"),
    lambda: memoryview(b"abc"),
    lambda: self_containing(),
)


def self_containing():
    """A list that is its own element."""
    items = []
    items.append(items)
    return items


def odd_values() -> st.SearchStrategy:
    """Things of every kind, made anew."""
    return st.sampled_from(ODD).map(lambda make: make())


def mostly(*usual, odd: st.SearchStrategy | None = None) -> st.SearchStrategy:
    """One of the usual values in five of six draws (the first for bytes of zeros), else odd ones.

    Functions are called for a value, so that arrays are not shared.
    """
    chosen = st.sampled_from(usual).map(lambda value: value() if callable(value) else value)
    odd = odd_values() if odd is None else st.one_of(odd, odd_values())
    return st.integers(0, 255).flatmap(lambda n: odd if n > 212 else chosen)


# spellings of one array that mean the same, and those that do not
SPELLINGS = (
    lambda x: x,
    lambda x: x.tolist(),
    lambda x: pd.Series(x),
    lambda x: as_tensor(x),
    lambda x: np.repeat(x, 2)[::2],
    lambda x: x.astype(x.dtype.newbyteorder(">")),
    lambda x: read_only(x),
    lambda x: np.ma.array(x),
    lambda x: x.astype(object),
    lambda x: pd.Series(x, index=range(9, 9 + len(x))),
    lambda x: x[::-1].copy()[::-1],
)
CHANGES = (
    lambda x: x[:-1],
    lambda x: np.append(x, x[-1]),
    lambda x: x[:0],
    lambda x: x[:, None],
    lambda x: x[None],
    lambda x: x.astype(str),
    lambda x: x.astype(complex),
    lambda x: x.astype(bool),
    lambda x: put(x, np.nan),
    lambda x: put(x, np.inf),
    lambda x: put(x, 1e300),
    lambda x: put(x, -1),
    lambda x: put(x, 1e-320),
    lambda x: put(x.astype(object), None),
    lambda x: put(x.astype(object), "a"),
    lambda x: put(x.astype(object), pd.NA),
    lambda x: put(x.astype(object), [1]),
    lambda x: put(x.astype(object), {}),
    lambda x: put(x.astype(object), 10**400),
    lambda x: np.zeros_like(x),
    lambda x: np.full(len(x), np.nan),
    lambda x: x.astype("f2"),
    lambda x: x.astype(np.longdouble),
    lambda x: x.astype("u1"),
    lambda x: x.astype("i8"),
    lambda x: x.astype("M8[s]"),
    lambda x: x.astype("m8[s]"),
    lambda x: x.astype("S"),
    lambda x: np.ma.array(x, mask=np.arange(len(x)) % 2),
    lambda x: tuple(x.tolist()),
    lambda x: pd.DataFrame({"a": x}),
    lambda x: pd.Categorical(x),
    lambda x: pd.array(x, dtype="Float64"),
    lambda x: dict(enumerate(x.tolist())),
    lambda x: set(x.tolist()),
    lambda x: iter(x.tolist()),
    lambda x: [x.tolist()],
    lambda x: x[0],
    lambda x: as_tensor(x * 1.0).requires_grad_(),
    lambda x: pd.Series(x, index=pd.date_range("2024", periods=len(x), freq="s")),
    lambda x: pd.Series(x, index=pd.to_timedelta(range(len(x)), unit="s")),
    lambda x: np.array([x[:1], x], dtype=object),
    lambda x: x * 1e200,
    lambda x: x[::-1],
    lambda x: x.astype(np.dtype([("a", "f8")])),
    lambda x: pd.Series(x).astype("string"),
)


def read_only(values):
    """The same array, which must not be written to."""
    values = values.copy()
    values.flags.writeable = False
    return values


def as_tensor(values):
    """The same numbers as a tensor; one of the length alone for text."""
    return torch.from_numpy(values.copy() if values.dtype.kind in "fiub" else np.ones(len(values)))


def put(values, value):
    """Another value in the middle."""
    values = values.astype(float) if isinstance(value, float) else values.copy()
    values[len(values) // 2] = value
    return values


def changed_or_same(change, values):
    """Changed, where that can be done to it: text is no dates."""
    try:
        return change(values)
    except (TypeError, ValueError):
        return values


def arrays(make) -> st.SearchStrategy:
    """The array of a function, spelled in another way, at times changed or another thing."""
    same = st.sampled_from(SPELLINGS).map(lambda spell: spell(make()))
    changed = st.sampled_from(CHANGES).map(lambda change: changed_or_same(change, make()))
    mapped = st.integers(0, 255)
    return mapped.flatmap(lambda n: same if n < 190 else changed if n < 235 else odd_values())
