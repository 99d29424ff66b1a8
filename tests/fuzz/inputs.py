# SPDX-License-Identifier: BSD-3-Clause
"""What users pass by hand to public functions and estimators.

A file of an input holds bytes, from which Hypothesis draws one call; of zeros it draws the usual
one. A call either gives what is documented, or raises an error of this library: the ``raise`` is in
its code, or in scikit-learn's checks of parameters and of fitting.
"""

from __future__ import annotations

import dis
import os
import tempfile
import traceback
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import InvalidParameterError

import sleep2vec_sklearn as s2v
from sleep2vec_sklearn import EpochSequence, Recording, evaluation, model, readers
from sleep2vec_sklearn.datasets import write_edf_cohort
from sleep2vec_sklearn.errors import Sleep2VecError, Sleep2VecWarning
from sleep2vec_sklearn.recordings import MODALITIES, Cohort, as_stages, derivation
from tests.fuzz.targets import Target
from tests.strategies import arrays, mostly, odd_values

N_EPOCHS, N_NIGHTS = 4, 4
PACKAGE = Path(s2v.__file__).parent
MODALITY_NAMES = ("eeg", "spo2", "ibi", "actigraphy")


class Refused(Exception):
    """An error that teaches."""


class Foreign(Exception):
    """An error that does not."""


@dataclass(frozen=True)
class Call:
    """A function, its arguments, and what to check of its result."""

    function: Callable
    arguments: dict[str, Any]
    check: Callable[[Any, dict], list[str]]
    passed: tuple[type[Exception], ...] = field(default=())  # the protocol of Python asks for them

    def __str__(self):
        name = getattr(self.function, "__qualname__", str(self.function))
        return f"{name}({', '.join(f'{k}={_short(v)}' for k, v in self.arguments.items())})"


def _short(value):
    try:
        text = repr(value)
    except Exception as error:
        text = f"<{type(value).__name__}: {type(error).__name__}>"
    return text.replace("\n", " ") if len(text) < 90 else f"{text[:80]}...<{type(value).__name__}>"


def calls(function, arguments, check=lambda result, arguments: [], passed=()):
    """Calls of a function, from a strategy for each of its arguments."""
    return st.fixed_dictionaries(arguments).map(lambda drawn: Call(function, drawn, check, passed))


# --- what is drawn ---


@cache
def kept_folder():
    """A folder for what all inputs share, to the end of the process."""
    return tempfile.TemporaryDirectory()


@cache
def checkpoint():
    """A tiny encoder of random weights."""
    config = model.EncoderConfig(
        tuple(
            model.ModalityConfig(
                n, MODALITIES[n].conditioning, model.TokenizerConfig("spectral", 24)
            )
            for n in MODALITY_NAMES
        ),
        hidden_size=16,
        n_layers=2,
        n_heads=2,
        intermediate_size=16,
        cls=True,
        projection=model.ProjectionConfig(20, 8),
        context_epochs=8,
    )
    path = Path(kept_folder().name, "fuzz.safetensors")
    model.save_checkpoint(path, model.Sleep2Vec.from_seed(config, 0), config)
    return s2v.load_checkpoint(path)


def samples(name, seed=0):
    """Samples of four epochs at the catalogue's rate, smooth as a series at that rate is."""
    n = int(N_EPOCHS * 30 * MODALITIES[name].conditioning.rate)
    wave = np.sin(np.arange(n) / (30 + seed))
    level, height = {"spo2": (94, 3), "ibi": (1, 0.1), "actigraphy": (30, 30)}.get(name, (0, 40))
    values = level + height * wave
    return np.round(values) if name == "actigraphy" else values


def night(seed, **changes):
    about = {
        "id": f"n{seed}",
        "subject": f"s{seed // 2}",
        "stages": [0, 2, 4, seed % 3],
        "metadata": {"age": 40 + seed, "sex": "FM"[seed % 2], "site": "ab"[seed % 2]},
        "start": datetime(2024, 1, 1, 23),
        "lights": (0, 120),
        "events": pd.DataFrame({"onset": [10.0], "duration": [12.0], "type": ["Hypopnea"]}),
    }
    return Recording({n: samples(n, seed) for n in ("spo2", "ibi")}, **(about | changes))


def nights(n=N_NIGHTS):
    return [night(seed) for seed in range(n)]


def cohort():
    table = pd.DataFrame({"age": [40.0, 41, np.nan, 43], "sex": list("FMFM"), "ill": [0, 1, 0, 1]})
    return Cohort(nights(), table)


LISTS = (
    nights,
    cohort,
    lambda: tuple(nights()),
    lambda: pd.Series(nights()),
    lambda: np.fromiter(nights(), dtype=object, count=N_NIGHTS),
    lambda: [dict(recording) for recording in nights()],
    lambda: [[recording] for recording in nights()],
    lambda: EpochSequence(nights()),
    lambda: list(EpochSequence(nights())),
    lambda: nights(1),
    lambda: [nights(2), nights(2)],
    lambda: pd.DataFrame({"X": nights()}),
)
ODD_LISTS = (
    lambda: night(0),
    lambda: dict(night(0)),
    lambda: [None],
    lambda: [night(0), None],
    lambda: [{}],
    lambda: [[]],
    lambda: [{"eeg": None}],
    lambda: [{"eeg": [1.0]}],
    lambda: iter(nights()),
    lambda: np.zeros((4, 9)),
    lambda: [night(0), {"x": [1.0] * 999}],
    lambda: ["n0.edf"],
    lambda: [{1: [1.0] * 999}],
    lambda: [[night(0), night(2)]],
    lambda: [night(0), EpochSequence(nights())[0]],
    lambda: EpochSequence([]),
    lambda: EpochSequence(nights())[:0],
    lambda: {"n0": night(0)},
    lambda: [night(0, id=object())],
    lambda: [night(0, id=1), night(1, id="a")],
    lambda: [night(0), night(0)],
    lambda: [night(0, subject=[1])],
    lambda: [night(0, id=[1])],
    lambda: [night(0, id=(1, 2))],
    lambda: [[[night(0)]]],
    lambda: [night(0, stages=None)],
    lambda: [Recording({"eeg": samples("eeg")})],
    lambda: set(nights()),
    lambda: [{"spo2": np.full(480, np.nan)}],
    lambda: [{"spo2": np.full(480, 1e300)}],
    lambda: [night(0, metadata={"age": "x", 1: 2})],
)
recordings = mostly(*LISTS, odd=st.sampled_from(ODD_LISTS).map(lambda make: make()))
ids = mostly(None, "n", odd=st.text(max_size=9))


def numbers(*values, dtype=float):
    return arrays(lambda: np.array(values, dtype=dtype))


bootstrap = {"n_resamples": mostly(5), "level": mostly(0.9), "random_state": mostly(0, None)}


# --- what is checked ---


def finite(values, what="result"):
    values = np.asarray(values, dtype=float)
    return [] if np.isfinite(values).all() else [f"{what} is not finite"]


def expect(*statements):
    """Names of the statements that do not hold."""
    return [name for name, holds in statements if not holds]


def check_recording(recording, arguments):
    """A recording keeps what a recording is."""
    values = recording[recording.modalities[0]]
    again = Recording(recording.read(), duration=recording.duration)
    repr(recording), recording._repr_html_(), recording.to_frame()
    hours = recording.coverage()
    stages = recording.stages
    return expect(
        ("epochs", isinstance(recording.n_epochs, int) and recording.n_epochs >= 1),
        ("one dimension", values.ndim == 1 and values.dtype.kind in "fiub"),
        ("read-only", not values.flags.writeable),
        ("a stage an epoch", stages is None or stages.shape == (recording.n_epochs,)),
        ("stages", stages is None or set(stages.tolist()) <= set(range(-1, 5))),
        ("fingerprint", recording.files or again.fingerprint == recording.fingerprint),
        ("coverage", all(0 <= hours[n] <= recording.duration + 3600 for n in recording)),
    )


def check_frame(result, arguments):
    repr(result), getattr(result, "_repr_html_", str)()
    frame = result.to_frame() if hasattr(result, "to_frame") else result
    return [] if np.ndim(frame) in (0, 1, 2) else ["no table"]


def at_epochs(X, key):
    return EpochSequence(X)[key]


def check_epochs(result, arguments):
    if hasattr(arguments["X"], "__next__"):
        return []  # which the call has used up
    X, key = EpochSequence(arguments["X"]), arguments["key"]
    key = key[0] if isinstance(key, tuple) and len(key) == 2 else key
    if not isinstance(key, slice) and np.size(key) == 0:
        key = []  # of any type
    places = np.arange(len(X))[key]
    pairs = list(zip(X.recording_index, X.epoch_index, strict=True))
    if not isinstance(result, EpochSequence):
        return expect(("the epoch", result.epoch == pairs[int(places)][1]))
    found = list(zip(result.recording_index, result.epoch_index, strict=True))
    (
        result.stages,
        result.groups,
        result.index,
        repr(result),
        result._repr_html_(),
        result.to_frame(),
    )
    return expect(("these epochs", found == [pairs[i] for i in np.atleast_1d(places)]))


def at_cohort(key):
    return cohort()[key]


def check_part(result, arguments):
    if isinstance(result, Recording):
        return []
    names = [recording.id for recording in result]
    result.report(), result._repr_html_(), result.to_frame()
    return expect(
        ("metadata", all(a in (None, b) for a, b in zip(names, result.metadata.index, strict=True)))
    )


def with_metadata(metadata):
    assigned = cohort()
    assigned.metadata = metadata
    return assigned


def sorted_cohort(column, ascending, random_state):
    return cohort().sort_by(column, ascending).shuffle(random_state)


def rows_of(X, **parameters):
    """Fit, transform and name the columns."""
    transformer = s2v.Sleep2VecTransformer(checkpoint(), **parameters)
    rows = transformer.fit_transform(X)
    repr(transformer), transformer.get_feature_names_out()
    return rows


def check_rows(rows, arguments):
    n = len(s2v.encoding.inputs.read_input(arguments["X"], "nan").names)
    known = np.isfinite(rows).all(axis=1)
    return expect(
        ("rows", rows.shape[0] == n),
        ("float32", rows.dtype == np.float32),
        ("finite", known.all() or arguments["on_error"] == "nan"),
    )


def row_of_signal(name, values):
    """The row of one signal."""
    return s2v.Sleep2VecTransformer(checkpoint(), cache=None).fit_transform([{name: values}])


def check_row(row, arguments):
    """Rows do not depend on how an array is spelled."""
    if hasattr(arguments["values"], "requires_grad") or isinstance(arguments["values"], pd.Series):
        # of a series with times these are part of what it says
        return finite(row, "row")
    values = np.ma.filled(np.ma.asarray(arguments["values"], dtype=float), np.nan)
    usual = row_of_signal(arguments["name"], np.array(values))
    return expect(("finite", np.isfinite(row).all()), ("the same row", (row == usual).all()))


@cache
def table():
    return s2v.Sleep2VecTransformer(checkpoint()).fit(nights()).embed(nights())


def precomputed(X, **parameters):
    return s2v.PrecomputedEmbeddings(table(), **parameters).fit_transform(X)


def check_precomputed(rows, arguments):
    return [*finite(rows), *expect(("width", rows.shape[1] == 16))]


def table_rows(index, center):
    return table().rows(index, center)


def table_frame(metadata):
    return table().to_frame(metadata)


def covariates(X, **parameters):
    transformer = s2v.RecordingMetadata(**parameters).fit(X)
    return transformer.transform(X), transformer.get_feature_names_out()


def check_covariates(result, arguments):
    rows, names = result
    return expect(("width", rows.shape[1] == len(names)), ("no infinity", not np.isinf(rows).any()))


def fit_head(head, X, y, groups, **parameters):
    """Fit a head for one epoch, and predict."""
    known = {"cache": None, "max_epochs": 1, "validation_fraction": 0, "random_state": 0}
    estimator = getattr(s2v, head)(checkpoint(), **(known | parameters))
    return estimator.fit(X, y).predict(X)


def check_predictions(predicted, arguments):
    X = arguments["X"]
    if arguments["head"] == "Sleep2VecEventDetector" and isinstance(X, EpochSequence):
        X = X.recordings  # whose events are predicted
    return expect(("rows", len(predicted) == len(X)))


def configured(**settings):
    with s2v.config_context(**settings):
        return s2v.get_config()


@cache
def files():
    """Two nights as EDF, with their hypnograms."""
    folder = Path(kept_folder().name, "study")
    nights = s2v.make_sleep_cohort(2, hours=0.25, modalities=["spo2"], random_state=0)
    write_edf_cohort(nights, folder)
    return sorted(folder.glob("*[0-9].edf"))


def file(number):
    return lambda: files()[number]


def nights_table(**columns):
    return pd.DataFrame({"path": [str(path) for path in files()]} | columns)


def two_cells(pair):
    """A column of two cells of any kind."""
    column = pd.Series([None, None], dtype=object)
    for i, value in enumerate(pair):
        column.iat[i] = value
    return column


def outcome(n=6):
    return evaluation.survival_outcome([1, 0, 1, 0, 1, 1][:n], [1.0, 2, 3, 4, 5, 6][:n])


# --- areas ---

signal = st.sampled_from(MODALITY_NAMES).flatmap(
    lambda name: st.tuples(st.just(name), arrays(lambda: samples(name)))
)
signals = st.lists(
    st.one_of(
        signal,
        signal.map(lambda pair: (pair[0], (pair[1], MODALITIES[pair[0]].conditioning.rate))),
        st.tuples(mostly("spo2"), odd_values()),
        st.tuples(st.just("eeg"), st.tuples(arrays(lambda: samples("eeg")), odd_values())),
    ),
    min_size=1,
    max_size=2,
).map(lambda pairs: {k: v for k, v in pairs if k.__hash__ is not None and _hashable(k)})


def _hashable(value):
    try:
        hash(value)
    except TypeError:
        return False
    return True


def by_modality(*usual):
    named = st.sampled_from([*MODALITY_NAMES, "x"]).flatmap(
        lambda name: odd_values().map(lambda value: {name: value})
    )
    return mostly(*usual, odd=named)


EVENTS = (None, lambda: pd.DataFrame({"onset": [1.0], "duration": [9.0], "type": ["Hypopnea"]}))
ODD_EVENTS = (
    lambda: pd.DataFrame({"onset": [1.0]}),
    lambda: pd.DataFrame({"onset": ["x"], "duration": [None], "type": [3]}),
    lambda: pd.DataFrame(
        {"onset": [-5.0, np.nan], "duration": [np.inf, 1e300], "type": ["Hypopnea", None]}
    ),
    lambda: [{"onset": 1, "duration": 2, "type": "Hypopnea"}],
    lambda: {"onset": [1], "duration": [2], "type": ["a"]},
    lambda: pd.DataFrame(
        {"onset": pd.to_datetime(["2024-01-01"]), "duration": [1], "type": ["Hypopnea"]}
    ),
    lambda: pd.DataFrame({"onset": [True], "duration": [1j], "type": [[1]]}),
    lambda: pd.DataFrame([[1, 2, 3, 4]], columns=["onset", "onset", "duration", "type"]),
)
about = {
    "subject": mostly(None, "a", 3),
    "metadata": mostly(
        None, lambda: {"age": 3}, odd=st.dictionaries(st.text(max_size=3), odd_values(), max_size=2)
    ),
    "stages": mostly(None, odd=arrays(lambda: np.array([0, 1, 2, -1]))),
    "events": mostly(*EVENTS, odd=st.sampled_from(ODD_EVENTS).map(lambda make: make())),
    "start": mostly(None, datetime(2024, 1, 1, 23)),
    "lights": mostly(None, (0, 90), (None, None), odd=st.tuples(odd_values(), odd_values())),
    "id": ids,
    "align": mostly("raise", "trim"),
}
keys = mostly(
    0,
    -1,
    slice(1, 3),
    lambda: np.array([0, 2]),
    lambda: [1, 0],
    lambda: np.array([], dtype=int),
    lambda: np.arange(16) % 2 == 0,
    lambda: (np.array([1]), ...),
    lambda: pd.Series([0, 1]),
    odd=st.one_of(
        st.integers(-20, 20),
        st.integers(),
        st.lists(st.integers(-20, 20), max_size=3),
        st.builds(slice, odd_values(), odd_values(), odd_values()),
        st.lists(st.booleans(), max_size=17),
        st.tuples(odd_values(), odd_values()),
        st.lists(odd_values(), max_size=2),
        st.sampled_from(["n0", ["n1", "n0"], ["n0", "zz"], np.arange(4) > 1]),
    ),
)
metadata_tables = mostly(
    lambda: cohort().metadata,
    lambda: cohort().metadata.assign(bmi=[1, 2, 3, None]),
    odd=st.sampled_from(
        (
            lambda: cohort().metadata[::-1],
            lambda: cohort().metadata.reset_index(drop=True),
            lambda: cohort().metadata[:2],
            lambda: cohort().metadata.assign(subject=[[1], {}, None, 3]),
            lambda: cohort().metadata.to_dict(),
            lambda: cohort().metadata["age"],
            lambda: cohort().metadata.assign(**{"": 1}),
            lambda: cohort().metadata.T,
            lambda: cohort().metadata.rename(columns={"age": 3}),
            lambda: pd.concat([cohort().metadata] * 2, axis=1),
            lambda: cohort().metadata.assign(age=[object(), [1], (1, 2), {"a": 1}]),
            lambda: cohort().metadata.set_axis(pd.MultiIndex.from_product([["a", "b"], [1, 2]])),
        )
    ).map(lambda make: make()),
)
y_true, y_pred = [0, 1, 2, 3, 4, 2, 2, 0], [0, 1, 2, 2, 4, 2, 3, 0]
groups = mostly(None, odd=arrays(lambda: np.array(list("aabbccdd"))))
binary = {
    "y_true": numbers(0, 1, 0, 1, 1, 0, 1, 0, dtype=int),
    "probability": numbers(0.1, 0.8, 0.4, 0.6, 0.3, 0.2, 0.9, 0.5),
    "groups": groups,
}
pair = {"y_true": numbers(3, 12, 20, 41, 5, 6, 7, 8), "y_pred": numbers(5, 11, 26, 40, 5, 7, 7, 9)}
survived = {"y_train": mostly(outcome), "y_test": mostly(outcome)}
one_night = mostly(
    lambda: night(0), lambda: [94.0] * 240, odd=st.sampled_from(ODD_LISTS).map(lambda make: make())
)
staged = mostly(
    lambda: night(0),
    nights,
    cohort,
    lambda: [0, 1, 2, 3] * 30,
    odd=st.sampled_from(ODD_LISTS).map(lambda make: make()),
)
options = {
    "hypnogram": mostly(None, False),
    "modalities": mostly(None, "spo2", lambda: ["spo2"]),
    "channels": by_modality(None),
    "units": by_modality(None),
    "derivations": mostly("one", "fill"),
    "derive": mostly(True),
    "scorer": mostly(None),
    "columns": by_modality(None),
    "timezone": mostly(None),
}
study = {name: value for name, value in options.items() if name != "hypnogram"}
event_names = mostly(
    None,
    lambda: {"Hypopnea": "hypopnea"},
    odd=st.dictionaries(st.text(max_size=3), odd_values(), max_size=2),
)
scored_nights = mostly(
    lambda: (
        [evaluation.ScoredEvents(np.arange(9000) % 90 < 15, (np.arange(9000) % 90 < 20) * 0.8)] * 2
    ),
    odd=st.sampled_from([[], [None], [night(0)]]),
)
mask = numbers(*([0, 1, 1, 0] * 8), dtype=bool)
heads = st.one_of(
    calls(
        fit_head,
        {
            "head": st.just(head),
            "X": mostly(make, odd=recordings),
            "y": y,
            "groups": st.none(),
            **parameters,
        },
        check_predictions,
    )
    for head, make, y, parameters in (
        (
            "Sleep2VecClassifier",
            nights,
            arrays(lambda: np.array([0, 1, 0, 1])),
            {"class_weight": mostly(None, "balanced")},
        ),
        (
            "Sleep2VecClassifier",
            lambda: EpochSequence(nights()),
            arrays(lambda: np.arange(16) % 3),
            {"dropout": mostly(0.1), "lr": mostly(0.01)},
        ),
        (
            "Sleep2VecRegressor",
            nights,
            numbers(1, 2, 3, 4),
            {
                "loss": mostly("squared_error"),
                "weight_decay": mostly(0.1),
                "patience": mostly(None, 3),
            },
        ),
        (
            "Sleep2VecCoxRegressor",
            nights,
            mostly(lambda: outcome(4)),
            {"validation_fraction": mostly(0), "covariates": mostly(None, lambda: ["age"])},
        ),
        (
            "Sleep2VecEventDetector",
            nights,
            mostly(None, lambda: [np.arange(120) % 50 < 12] * 4),
            {"threshold": mostly("f1", 0.5), "event_types": mostly("hypopnea", None)},
        ),
    )
)
AREAS = {
    "recording": calls(
        Recording,
        {
            "signals": mostly(lambda: {"spo2": samples("spo2")}, odd=signals) | signals,
            "rates": by_modality(None, lambda: {"spo2": 4}),
            "units": by_modality(None, lambda: {"spo2": "%"}),
            "duration": mostly(None, 120, 90.0),
            **about,
        },
        check_recording,
    ),
    "spellings": calls(
        row_of_signal,
        {"name": st.just("spo2"), "values": arrays(lambda: samples("spo2"))},
        check_row,
    ),
    "frames": calls(
        Recording.from_dataframe,
        {
            "table": mostly(
                lambda: pd.DataFrame({"spo2": samples("spo2")}),
                lambda: pd.DataFrame(
                    {"SpO2": samples("spo2")}, pd.date_range("2024", periods=480, freq="250ms")
                ),
                odd=arrays(lambda: samples("spo2")).map(
                    lambda x: x.to_frame() if isinstance(x, pd.Series) else x
                ),
            ),
            "rate": mostly(4, None),
            "channels": by_modality(None),
            "units": by_modality(None),
            **{name: about[name] for name in ("stages", "start", "id")},
        },
        check_recording,
    ),
    "epochs": calls(
        at_epochs,
        {"X": mostly(nights, cohort, odd=recordings), "key": keys},
        check_epochs,
        (IndexError,),
    ),
    "stages": calls(as_stages, {"values": arrays(lambda: np.array([0, 2, 4, -1]))}),
    "cohorts": st.one_of(
        calls(at_cohort, {"key": keys}, check_part, (IndexError, KeyError)),
        calls(
            Cohort,
            {"recordings": recordings, "metadata": metadata_tables, "failures": mostly(())},
            check_part,
        ),
        calls(with_metadata, {"metadata": metadata_tables}, check_part),
        calls(
            sorted_cohort,
            {
                "column": mostly("age", odd=st.lists(odd_values(), max_size=2)),
                "ascending": mostly(True),
                "random_state": mostly(0, None),
            },
            check_part,
        ),
    ),
    "transformer": calls(
        rows_of,
        {
            "X": recordings,
            "modalities": mostly(None, "spo2", lambda: ["spo2", "ibi"]),
            "fusion": mostly("auto", "mean", "concat"),
            "pooling": mostly("mean", "mean_std", "max", "cls"),
            "center": mostly("auto", "night", None),
            "context_minutes": mostly(0, 1),
            "layer": mostly("last", "projection", 0, 1),
            "precision": mostly("float32"),
            "device": mostly("auto", "cpu"),
            "batch_size": mostly(None, 1),
            "cache": mostly("memory", None),
            "on_error": mostly("raise", "nan"),
            "store_weights_in_pickle": mostly(False),
            "verbose": mostly(0, None),
        },
        check_rows,
    ),
    "tables": st.one_of(
        calls(
            precomputed,
            {
                "X": mostly(
                    nights,
                    lambda: ["n0", "n3"],
                    lambda: table().X,
                    lambda: pd.DataFrame({"recording": ["n1"]}),
                    odd=recordings,
                ),
                "column": mostly("recording"),
                "center": mostly("auto", None),
            },
            check_precomputed,
        ),
        calls(table_rows, {"index": keys, "center": mostly(None)}, passed=(IndexError,)),
        calls(table_frame, {"metadata": mostly(None, cohort, odd=metadata_tables)}, check_frame),
    ),
    "metadata": calls(
        covariates,
        {
            "X": recordings,
            "fields": mostly(("age", "sex", "site"), lambda: ["age"]),
            "categorical": mostly((), ("site",)),
            "missing": mostly("nan", "category"),
            "handle_unknown": mostly("warn"),
        },
        check_covariates,
    ),
    "heads": heads,
    "staging": st.one_of(
        calls(
            evaluation.staging_report,
            {
                "y_true": numbers(*y_true, dtype=int),
                "y_pred": numbers(*y_pred, dtype=int),
                "groups": groups,
                "recordings": groups,
                "n_classes": mostly(5, 4, 3),
                **bootstrap,
            },
            check_frame,
        ),
        calls(
            evaluation.staging_report,
            {
                "y_true": mostly(lambda: EpochSequence(nights(2)), odd=recordings),
                "y_pred": numbers(*y_pred, dtype=int),
                **bootstrap,
            },
            check_frame,
        ),
        calls(
            evaluation.merge_stages,
            {"stages": numbers(*y_true, dtype=int), "n_classes": mostly(5, 4, 3)},
        ),
    ),
    "reports": st.one_of(
        calls(
            evaluation.binary_report,
            {**binary, "pos_label": mostly(1, 0), **bootstrap},
            check_frame,
        ),
        calls(
            evaluation.calibration_report,
            {
                **binary,
                "pos_label": mostly(1),
                "n_bins": mostly(10),
                "strategy": mostly("quantile", "uniform"),
                **bootstrap,
            },
            check_frame,
        ),
        calls(
            evaluation.expected_calibration_error,
            {
                "y_true": binary["y_true"],
                "probability": binary["probability"],
                "n_bins": mostly(10),
            },
        ),
        calls(evaluation.regression_report, {**pair, "groups": groups, **bootstrap}, check_frame),
        calls(
            evaluation.bland_altman,
            {
                "reference": pair["y_true"],
                "measured": pair["y_pred"],
                "groups": groups,
                **bootstrap,
            },
            check_frame,
        ),
        calls(evaluation.intraclass_correlation, pair),
        calls(
            evaluation.severity_classes,
            {"index": pair["y_true"], "thresholds": mostly((5, 15, 30), odd=numbers(5, 15, 30))},
        ),
        calls(
            evaluation.index_scores,
            {**pair, "thresholds": mostly((5, 15, 30)), "undefined": mostly(np.nan, 0)},
        ),
    ),
    "survival": st.one_of(
        calls(
            evaluation.survival_outcome,
            {
                "event": numbers(1, 0, 1, 0, 1),
                "time": numbers(1, 2, 3, 4, 5),
                "entry": mostly(None, odd=numbers(0, 1, 0, 0, 0)),
            },
        ),
        calls(
            evaluation.kaplan_meier, {"y": survived["y_test"], "level": mostly(0.95)}, check_frame
        ),
        calls(
            evaluation.concordance_index,
            {"y": survived["y_test"], "risk": numbers(6, 5, 4, 3, 2, 1), "tied_tol": mostly(1e-8)},
        ),
        calls(
            evaluation.uno_concordance,
            {
                **survived,
                "risk": numbers(6, 5, 4, 3, 2, 1),
                "tau": mostly(None, 5),
                "tied_tol": mostly(1e-8),
            },
        ),
        calls(
            evaluation.dynamic_auc,
            {**survived, "risk": numbers(6, 5, 4, 3, 2, 1), "times": numbers(2, 3)},
        ),
        calls(
            evaluation.brier_score,
            {**survived, "survival": mostly(lambda: np.full((6, 2), 0.5)), "times": numbers(2, 3)},
        ),
        calls(
            evaluation.integrated_brier_score,
            {**survived, "survival": mostly(lambda: np.full((6, 2), 0.5)), "times": numbers(2, 3)},
        ),
    ),
    "papers": st.one_of(
        calls(
            evaluation.table_one,
            {
                "data": mostly(cohort, lambda: cohort().metadata, odd=metadata_tables),
                "by": mostly(None, "sex"),
                "columns": mostly(None, lambda: ["age"]),
                "categorical": mostly((), ("ill",)),
                "median": mostly("auto", ()),
                "digits": mostly(1),
                "labels": mostly(None),
            },
            check_frame,
        ),
        calls(
            evaluation.to_latex,
            {
                "result": mostly(lambda: cohort().metadata, odd=metadata_tables),
                "digits": mostly(2),
                "missing": mostly("-"),
                "labels": mostly(None),
                "caption": mostly(None, "a"),
                "label": mostly(None, "b"),
            },
        ),
        calls(
            evaluation.to_markdown,
            {
                "result": mostly(lambda: cohort().metadata, odd=metadata_tables),
                "digits": mostly(2),
                "missing": mostly("-"),
                "labels": mostly(None),
            },
        ),
        calls(
            evaluation.format_interval,
            {
                "value": mostly(0.5),
                "low": mostly(0.4),
                "high": mostly(0.6),
                "digits": mostly(2),
                "sign": mostly(False),
                "missing": mostly("-"),
            },
        ),
    ),
    "comparisons": calls(
        evaluation.compare_estimators,
        {
            "estimators": mostly(
                lambda: {
                    "a": DummyClassifier(),
                    "b": DummyClassifier(strategy="stratified", random_state=0),
                }
            ),
            "X": mostly(lambda: np.arange(16.0).reshape(8, 2), odd=recordings),
            "y": numbers(0, 1, 0, 1, 1, 0, 1, 0, dtype=int),
            "groups": groups,
            "cv": mostly(2),
            "scoring": mostly(None, "accuracy"),
            "reference": mostly(None, "a"),
            "average": mostly("auto", "subject"),
            **bootstrap,
        },
        check_frame,
    ),
    "statistics": st.one_of(
        calls(
            evaluation.sleep_statistics,
            {
                "recordings": staged,
                "stages": mostly(None),
                "lights": mostly(
                    None, "main", "recording", (0, 90), odd=st.tuples(odd_values(), odd_values())
                ),
            },
            check_frame,
        ),
        calls(
            evaluation.sleep_periods,
            {
                "night": staged,
                "stages": mostly(None),
                "start": mostly(None, datetime(2024, 1, 1)),
                "min_gap": mostly(60),
            },
            check_frame,
        ),
        calls(
            evaluation.hours_of_sleep,
            {"recording": one_night, "stages": mostly(None, odd=numbers(0, 1, 2, 3))},
        ),
        calls(
            evaluation.respiratory_statistics,
            {
                "recordings": mostly(lambda: night(0), nights, odd=recordings),
                "hypopnea_rule": mostly("3%", "4%"),
                "stages": mostly(None),
                "min_duration": mostly(10),
                "event_names": event_names,
            },
            check_frame,
        ),
        calls(
            evaluation.oximetry_statistics,
            {
                "recordings": mostly(lambda: night(0), nights, odd=recordings),
                "stages": mostly(None),
                "event_names": event_names,
            },
            check_frame,
        ),
        calls(
            evaluation.desaturations,
            {"recording": one_night, "threshold": mostly(3.0), "max_seconds": mostly(120)},
            check_frame,
        ),
        calls(
            evaluation.hypoxic_burden,
            {
                "recording": mostly(lambda: night(0)),
                "stages": mostly(None),
                "event_names": event_names,
            },
        ),
        calls(evaluation.saturation_per_second, {"recording": one_night}),
    ),
    "events": st.one_of(
        calls(
            evaluation.find_events,
            {
                "mask": mask,
                "asleep": mostly(None, odd=mask),
                "gap": mostly(3),
                "min_duration": mostly(1),
            },
        ),
        calls(evaluation.mask_to_intervals, {"mask": mask}),
        calls(
            evaluation.intervals_to_mask,
            {"intervals": mostly(lambda: [[1, 3], [5, 6]]), "n_seconds": mostly(10)},
        ),
        calls(
            evaluation.match_intervals,
            {
                "true": mostly(lambda: np.array([[1, 3], [5, 6]])),
                "predicted": mostly(lambda: np.array([[1, 3], [5, 6]])),
                "iou": mostly(0.5),
            },
        ),
        calls(
            evaluation.ScoredEvents,
            {
                "truth": mask,
                "probability": numbers(*([0, 0.5, 1, 0] * 8)),
                "stages": mostly(None),
                "index": mostly(None),
                "sleep_hours": mostly(None),
                "id": ids,
            },
        ),
        calls(
            evaluation.event_scores,
            {
                "nights": scored_nights,
                "threshold": mostly(None, 0.5),
                "gap": mostly(3),
                "min_duration": mostly(10),
                "iou": mostly(0.5),
                "min_hours": mostly(2),
                "undefined": mostly(np.nan),
            },
        ),
        calls(
            evaluation.fit_event_threshold,
            {"nights": scored_nights, "min_hours": mostly(2), "candidates": numbers(0.3, 0.5)},
        ),
    ),
    "readers": st.one_of(
        calls(
            s2v.read_recording,
            {
                "path": mostly(file(0)),
                **options,
                "subject": mostly(None),
                "metadata": mostly(None),
                "id": ids,
                "on_error": mostly("raise"),
            },
            check_recording,
        ),
        calls(
            s2v.read_cohort,
            {
                "source": mostly(
                    lambda: files()[0].parent,
                    files,
                    nights_table,
                    lambda: nights_table(subject=["a", "b"]),
                    odd=st.dictionaries(
                        st.sampled_from(["subject", "id", "hypnogram", "age", "path"]),
                        st.tuples(odd_values(), odd_values()).map(two_cells),
                        min_size=1,
                        max_size=2,
                    ).map(lambda c: nights_table(**c)),
                ),
                "pattern": mostly(None, "*.edf"),
                "metadata": mostly(None),
                "on": mostly(None),
                "hypnogram": mostly(None, False),
                "on_error": mostly("warn", "raise"),
                **study,
                "n_jobs": mostly(None, 1),
                "verbose": mostly(0),
            },
            check_part,
        ),
        calls(
            readers.describe_channels,
            {"path": mostly(file(0)), "derivations": mostly("one")},
            check_frame,
        ),
        calls(
            readers.read_scoring,
            {
                "path": mostly(file(0)),
                "start": mostly(None),
                "duration": mostly(None),
                "scorer": mostly(None),
            },
        ),
        calls(
            readers.split_nights,
            {
                "recording": mostly(lambda: night(0), odd=recordings),
                "by": mostly("clock", "sleep"),
                "diary": mostly(None),
                "window": mostly(("18:00", "12:00")),
                "min_hours": mostly(0, 0.01),
                "timezone": mostly(None),
            },
            check_part,
        ),
    ),
    "simulation": calls(
        s2v.make_sleep_cohort,
        {
            "n_subjects": mostly(1),
            "nights_per_subject": mostly(1),
            "hours": mostly(0.25),
            "n_sites": mostly(2),
            "site_kinds": mostly(None),
            "modalities": mostly(lambda: ["spo2"]),
            "missing": mostly(0.1),
            "random_state": mostly(0),
        },
        check_part,
    ),
    "settings": calls(
        configured,
        {
            "leakage": mostly("warn", "raise"),
            "cache_dir": mostly(None),
            "cache_bytes": mostly(2**20),
        },
        lambda result, arguments: expect(("kept", result["leakage"] == arguments["leakage"])),
    ),
    "derivations": st.one_of(
        calls(
            derivation.ibi_from_beats,
            {
                "times": arrays(lambda: np.arange(60.0)),
                "duration": mostly(None, 60),
                "rate": mostly(4.0),
                "max_gap": mostly(5.0),
            },
        ),
        calls(
            derivation.ibi_from_intervals,
            {
                "times": arrays(lambda: np.arange(1, 61.0)),
                "intervals": arrays(lambda: np.ones(60)),
                "duration": mostly(None),
                "rate": mostly(4.0),
                "max_gap": mostly(5.0),
            },
        ),
        calls(
            derivation.ibi_from_heart_rate,
            {
                "times": arrays(lambda: np.arange(60.0)),
                "bpm": arrays(lambda: np.full(60, 60.0)),
                "duration": mostly(None),
                "rate": mostly(1.0),
                "max_gap": mostly(60.0),
            },
        ),
        calls(
            derivation.counts_from_epochs,
            {
                "seconds": arrays(lambda: np.arange(8) * 30.0),
                "counts": arrays(lambda: np.arange(8.0)),
                "epoch_seconds": mostly(30.0),
                "duration": mostly(None),
            },
        ),
        calls(
            derivation.counts_from_acceleration,
            {"acceleration": arrays(lambda: samples("ibi")), "rate": mostly(30)},
        ),
        calls(
            derivation.ibi_from_ecg, {"ecg": arrays(lambda: samples("eeg")), "rate": mostly(128)}
        ),
        calls(
            derivation.resp_from_breathing,
            {"values": arrays(lambda: samples("eeg")), "rate": mostly(32)},
        ),
    ),
    "scaling": calls(
        s2v.fit_scaling_law,
        {
            "points": mostly(
                lambda: pd.DataFrame({"n": [1, 2, 4, 8, 16], "loss": [5.0, 4, 3.4, 3.1, 3]}),
                odd=metadata_tables,
            ),
            "x": mostly("n", None),
            "y": mostly("loss"),
            "asymptote": mostly((0.0, np.inf)),
            "level": mostly(0.9),
            "n_resamples": mostly(5),
            "random_state": mostly(0),
        },
        check_frame,
    ),
}


# --- one input ---


@cache
def drawing(area):
    drawn = []

    @settings(database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(AREAS[area])
    def draw(call):
        drawn.append(call)

    return draw.hypothesis.fuzz_one_input, drawn


def draw(path):
    """The call that the bytes of a file stand for; None where they are too few."""
    one, drawn = drawing(path.stem)
    drawn.clear()
    one(path.read_bytes())
    return drawn[0] if drawn else None


def make_corpus(folder):
    folder.mkdir(parents=True)
    for area in AREAS:
        (folder / area).write_bytes(bytes(4096))
    return sorted(folder.iterdir())


def mutate(rng, path):
    path.write_bytes(rng.bytes(1 << 14))


def teaches(error, passed=()):
    """Whether an error is one of this library's, raised by its own code, or of checks of inputs."""
    if isinstance(error, (InvalidParameterError, NotFittedError)):
        return True
    frames = list(traceback.walk_tb(error.__traceback__))
    frame = frames[-1][0]
    if isinstance(error, passed) and any(
        PACKAGE in Path(f.f_code.co_filename).parents for f, _ in frames
    ):
        return True
    if not isinstance(error, (Sleep2VecError, ValueError, TypeError, ImportError)):
        return False
    tb = error.__traceback__
    while tb.tb_next:
        tb = tb.tb_next
    raised = dis.opname[frame.f_code.co_code[tb.tb_lasti]] == "RAISE_VARARGS"
    return raised and PACKAGE in Path(frame.f_code.co_filename).parents and len(str(error)) > 30


@contextmanager
def inside(folder):
    """In a folder, as some of the calls write to what they are given."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def check(path):
    with (
        inside(path.parent),
        warnings.catch_warnings(record=True) as caught,
        np.errstate(divide="warn", over="warn", invalid="warn"),  # numpy's own default
    ):
        warnings.simplefilter("always")
        call = draw(path)
        if call is None:
            return []
        try:
            result = call.function(**call.arguments)
            problems = call.check(result, call.arguments)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            if teaches(error, call.passed):
                raise Refused(f"{path.name}: {error}") from error
            place = f"{Path(where.filename).name}:{where.lineno}"
            raise Foreign(
                f"{type(error).__name__} at {place}: {str(error)[:80]!r} of {call}"
            ) from error
    foreign = [w for w in caught if not issubclass(w.category, Sleep2VecWarning)]
    problems += [
        f"{w.category.__name__} at {Path(w.filename).name}:{w.lineno}: {w.message}"
        for w in foreign[:1]
    ]
    return [f"{problem} of {call}" for problem in problems]


TARGET = Target(make_corpus, mutate, check, n_full=10_000, n_slice=60, accepted=(Refused,))
