# SPDX-License-Identifier: BSD-3-Clause
"""Encoders of many sizes, pretrained on few nights and many, with few sensors and many."""

from __future__ import annotations

import hashlib
import itertools
import json
import numbers
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.base import clone
from tqdm.auto import tqdm

from ..errors import TrainingWarning
from ..signals.modality import list_modalities
from .splits import draw_seed

__all__ = ["run_scaling_sweep"]

AXES = ("n_nights", "n_modalities", "n_parameters")
_NO_PART_OF_A_RUN = ("device", "n_workers", "verbose", "state_dir", "save_every", "callbacks")


def run_scaling_sweep(
    pretrainer,
    X,
    sweeps: Mapping[str, Sequence],
    *,
    held_out=0.25,
    evaluate: Callable | None = None,
    n_repeats: int = 1,
    path=None,
    random_state=0,
    verbose: int = 0,
):
    """Pretrain encoders along one axis at a time, and measure them on the same held-out people.

    Parameters
    ----------
    pretrainer : Sleep2VecPretrainer
        What is not swept: its sizes, its modalities, and the length of its runs. With
        ``steps_per_epoch``, all runs have as many steps, however many nights they have.
    X : list of Recording or dict, NightStore, or path of a store's folder
        Nights; prepared once for all runs.
    sweeps : mapping of str to sequence
        "n_nights": numbers of training nights, each within the next. "n_modalities": numbers, of
        the first of the pretrainer's, or sequences of names. "n_parameters": values of
        ``hidden_size``, or mappings of parameters of the pretrainer; their number is counted.
    held_out : float, int or sequence of str, default=0.25
        Share or number of the subjects that train no encoder, or their names.
    evaluate : callable, optional
        Function of a fitted pretrainer; gives a mapping of further measures. Finished runs do not
        notice when it changes: give another ``path`` then.
    n_repeats : int, default=1
        Runs of each setting, which differ in weights, batches, and nights.
    path : path-like, optional
        File to which every finished run is added as a line, and from which it is taken when the
        same sweep is asked for again.
    random_state : int, RandomState or None, default=0
    verbose : int, default=0
        1 shows a progress bar.

    Returns
    -------
    DataFrame
        One row per run: ``axis``, ``repeat``, ``n_nights``, ``n_modalities``, ``n_parameters``,
        ``loss`` and ``recall`` of held-out people, and what ``evaluate`` gives. Loss and recall are
        means over the pairs that all runs of the axis have; NaN if there is none.

    Raises
    ------
    ValueError
        If an axis is unknown, or a value is none of those accepted.

    Examples
    --------
    >>> from sleep2vec_sklearn import Sleep2VecPretrainer, make_sleep_cohort
    >>> from sleep2vec_sklearn.probing import run_scaling_sweep
    >>> nights = make_sleep_cohort(
    ...     6, hours=0.5, modalities=["ibi", "spo2"], missing=0, random_state=0
    ... )
    >>> tiny = Sleep2VecPretrainer(
    ...     hidden_size=8, n_heads=2, n_layers=1, context_epochs=10, batch_size=4, max_epochs=1
    ... )
    >>> points = run_scaling_sweep(tiny, nights, {"n_nights": [2, 4]}, held_out=2)
    >>> points[["axis", "n_nights", "n_modalities"]]
           axis  n_nights  n_modalities
    0  n_nights         2             2
    1  n_nights         4             2
    """
    _check_axes(sweeps, n_repeats)
    sweep = _Sweep.prepare(pretrainer, X, held_out, draw_seed(random_state), evaluate)
    settings = [
        (axis, setting, repeat)
        for axis, values in sweeps.items()
        for setting in sweep.read_settings(axis, values)
        for repeat in range(n_repeats)
    ]
    finished = _Finished(path)
    rows = []
    for axis, setting, repeat in tqdm(
        settings, desc="pretraining", unit="run", disable=not verbose
    ):
        common = [s for a, s, _ in settings if a == axis]
        pairs = sweep.common_pairs(common)
        key = sweep.key_of(axis, setting, repeat, pairs)
        row = finished.get(key)
        if row is None:
            row = {"axis": axis, "repeat": repeat, **sweep.run(setting, repeat, pairs)}
            finished.add(key, row)
        rows.append(row)
    import pandas as pd

    return pd.DataFrame(rows)


def _check_axes(sweeps, n_repeats: int) -> None:
    unknown = [axis for axis in sweeps if axis not in AXES]
    if unknown or not sweeps:
        raise ValueError(
            f"sweeps has {', '.join(map(repr, unknown)) or 'no axis'}; accepted are "
            f"{', '.join(AXES)}."
        )
    if n_repeats < 1:
        raise ValueError(f"n_repeats must be at least 1, got {n_repeats!r}.")


@dataclass(frozen=True, eq=False)
class _Setting:
    n_nights: int
    modalities: tuple[str, ...]
    parameters: dict


@dataclass(frozen=True, eq=False)
class _Sweep:
    pretrainer: object
    store: object
    modalities: tuple[str, ...]
    training: np.ndarray
    held: np.ndarray
    seed: int
    evaluate: Callable | None

    @classmethod
    def prepare(cls, pretrainer, X, held_out, seed: int, evaluate) -> _Sweep:
        from ..training import NightStore
        from ..training.material import candidates, open_store
        from ..training.splitting import split_subjects

        if isinstance(X, str | os.PathLike):
            X = NightStore.open(X)
        names = tuple(candidates(pretrainer, X, None))
        store, _ = open_store(X, None, pretrainer, names, None)
        training, held = split_subjects(store, store.table["subject"], held_out, seed, names)
        if not len(held):
            raise ValueError(
                f"held_out={held_out!r} leaves nobody to measure on; accepted is a share or a "
                "number of the subjects, or their names."
            )
        return cls(pretrainer, store, names, training, held, seed, evaluate)

    def read_settings(self, axis: str, values: Sequence) -> list[_Setting]:
        whole = len(self.training)
        if axis == "n_nights":
            wrong = [n for n in values if not (_is_count(n) and 2 <= n <= whole)]
            self._refuse(axis, wrong, f"numbers of nights from 2 to {whole}")
            return [_Setting(int(n), self.modalities, {}) for n in values]
        if axis == "n_modalities":
            chosen = [self._read_names(value) for value in values]
            return [_Setting(whole, names, {}) for names in chosen]
        sizes = [v if isinstance(v, Mapping) else {"hidden_size": v} for v in values]
        known = self.pretrainer.get_params()
        wrong = [size for size in sizes if not size or not set(size) <= set(known)]
        self._refuse(
            axis, wrong, "values of hidden_size, or mappings of the pretrainer's parameters"
        )
        return [_Setting(whole, self.modalities, dict(size)) for size in sizes]

    def _read_names(self, value) -> tuple[str, ...]:
        there = self.modalities
        if _is_count(value):
            if not 2 <= value <= len(there):
                self._refuse("n_modalities", [value], f"2 to {len(there)} ({', '.join(there)})")
            asked = self.pretrainer.modalities
            order = there if asked is None else list_modalities(asked)
            return tuple(order[:value])
        names = tuple(list_modalities(value))
        if len(names) < 2 or not set(names) <= set(there):
            self._refuse("n_modalities", [value], f"two or more of {', '.join(there)}")
        return names

    def _refuse(self, axis: str, wrong: list, accepted: str) -> None:
        if wrong:
            raise ValueError(f"sweeps[{axis!r}] has {wrong[0]!r}; accepted are {accepted}.")

    def common_pairs(self, settings: Sequence[_Setting]) -> list[str]:
        """Pairs that every run of an axis has, as the history names them."""
        shared = set.intersection(*(set(s.modalities) for s in settings))
        ordered = [name for name in self.modalities if name in shared]
        return ["-".join(pair) for pair in itertools.combinations(ordered, 2)]

    def nights_of(self, n_nights: int, repeat: int) -> np.ndarray:
        """Nights that train, each number's within the next, and those held out."""
        order = np.random.default_rng([self.seed, repeat]).permutation(self.training)
        return np.concatenate([np.sort(order[:n_nights]), self.held])

    def key_of(self, axis: str, setting: _Setting, repeat: int, pairs: list[str]) -> str:
        parameters = self.pretrainer.get_params() | setting.parameters
        kept = {k: v for k, v in sorted(parameters.items()) if k not in _NO_PART_OF_A_RUN}
        nights = self.store.take(self.nights_of(setting.n_nights, repeat))
        parts = (axis, repeat, self.seed, pairs, setting.modalities, kept, nights.identify())
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def run(self, setting: _Setting, repeat: int, pairs: list[str]) -> dict:
        subjects = self.store.table["subject"].iloc[self.held]
        model = clone(self.pretrainer).set_params(
            **setting.parameters,
            modalities=list(setting.modalities),
            validation=sorted(set(map(str, subjects))),
            random_state=self.seed + repeat,
            state_dir=None,
        )
        start = time.perf_counter()
        with warnings.catch_warnings():
            # few nights in a batch are what is studied here
            warnings.filterwarnings("ignore", message="batch_size=", category=TrainingWarning)
            model.fit(self.store.take(self.nights_of(setting.n_nights, repeat)))
        seconds = time.perf_counter() - start
        last = model.history_[-1]
        measures = {} if self.evaluate is None else dict(self.evaluate(model))
        return {
            "n_nights": setting.n_nights,
            "n_modalities": len(setting.modalities),
            "n_parameters": sum(p.numel() for p in model.net_.averaged().parameters()),
            "loss": _mean(last, "valid_loss", pairs),
            "recall": _mean(last, "valid_recall", pairs),
            **{name: float(value) for name, value in measures.items()},
            "seconds": seconds,
        }


def _mean(epoch: Mapping, measure: str, pairs: list[str]) -> float:
    found = [epoch[f"{measure}_{pair}"] for pair in pairs]
    return float(np.mean(found)) if found else float("nan")


def _is_count(value) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


class _Finished:
    """Runs kept as lines of JSON; a line that was cut off counts as none."""

    def __init__(self, path):
        self._path = None if path is None else Path(path)
        self._rows = dict(self._read())

    def _read(self) -> Iterator[tuple[str, dict]]:
        if self._path is None or not self._path.exists():
            return
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                kept = json.loads(line)
                yield kept["key"], kept["row"]
            except (json.JSONDecodeError, KeyError, TypeError):
                continue

    def get(self, key: str) -> dict | None:
        return self._rows.get(key)

    def add(self, key: str, row: dict) -> None:
        if self._path is None:
            return
        with self._path.open("a+b") as file:
            # a process may have been killed within its line
            file.seek(0, os.SEEK_END)
            cut_off = file.tell() and self._path.read_bytes()[-1:] != b"\n"
            text = json.dumps({"key": key, "row": row}) + "\n"
            file.write((b"\n" if cut_off else b"") + text.encode())
