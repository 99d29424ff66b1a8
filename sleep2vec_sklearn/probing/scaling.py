# SPDX-License-Identifier: BSD-3-Clause
"""A saturating power law through measured points, and how far it can be trusted."""

from __future__ import annotations

import hashlib
import itertools
import json
import numbers
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from sklearn.base import clone
from tqdm.auto import tqdm

from .._warnings import warn
from ..errors import Sleep2VecWarning, TrainingWarning
from ..recordings.modality import list_modalities
from .folds import draw_seed

__all__ = [
    "ScalingLaw",
    "fit_scaling_law",
    "run_scaling_sweep",
]

_EXPONENTS = np.geomspace(0.01, 10.0, 400)
_FEWEST = 4


@dataclass(frozen=True, eq=False)
class ScalingLaw:
    """Result of :func:`fit_scaling_law`: ``y = a + b * x**-c``.

    Attributes
    ----------
    a, b, c : float
        The asymptote, the distance to it at x = 1 (negative where y rises), and the exponent.
    parameters : DataFrame
        Columns parameter, value, low, high.
    points : DataFrame
        Columns x and y, as measured.
    x_name, y_name : str
    r2 : float
        Share of the variance of the points that the law explains.
    level : float
        Of the intervals.

    Examples
    --------
    >>> import pandas as pd
    >>> from sleep2vec_sklearn import fit_scaling_law
    >>> points = pd.DataFrame({"n_nights": [8, 16, 32, 64], "loss": [2.4, 2.0, 1.7, 1.5]})
    >>> law = fit_scaling_law(points, x="n_nights", n_resamples=50)
    >>> law.predict([32, 256])[["x", "extrapolated"]]
           x  extrapolated
    0   32.0         False
    1  256.0          True
    """

    a: float
    b: float
    c: float
    parameters: object
    points: object
    x_name: str
    y_name: str
    r2: float
    level: float
    _draws: np.ndarray = field(repr=False)

    def predict(self, x):
        """Values of the law, also where nothing was measured.

        Parameters
        ----------
        x : float or array-like

        Returns
        -------
        DataFrame
            Columns x, y, low, high (of the law, not of single runs), and ``extrapolated``: whether
            x is outside of what was measured.

        Raises
        ------
        ValueError
            If x is not positive.
        """
        import pandas as pd

        x = np.atleast_1d(np.asarray(x, dtype=float))
        if not (np.isfinite(x) & (x > 0)).all():
            raise ValueError(f"x must be positive and finite, got {x.tolist()}.")
        scale = _scale_of(self.points["x"].to_numpy())
        low, high = _interval(_law(x[:, None] / scale, *self._draws.T), self.level)
        measured = self.points["x"].min(), self.points["x"].max()
        return pd.DataFrame(
            {
                "x": x,
                "y": self.a + self.b * x**-self.c,
                "low": low,
                "high": high,
                "extrapolated": (x < measured[0]) | (x > measured[1]),
            }
        )


def fit_scaling_law(
    points,
    *,
    x=None,
    y="loss",
    asymptote=(0.0, np.inf),
    level=0.95,
    n_resamples=500,
    random_state=0,
) -> ScalingLaw:
    """Fit a saturating power law, ``a + b * x**-c``, by least squares.

    Parameters
    ----------
    points : DataFrame
        One row per run, as of :func:`run_scaling_sweep` or from anywhere else.
    x : str, optional
        Column of sizes; of a sweep along one axis, that axis.
    y : str, default="loss"
        Column of a measure, which may fall or rise.
    asymptote : (float, float), default=(0, inf)
        Bounds of ``a``: what no size could ever reach beyond. ``(0, 1)`` for a share.
    level : float, default=0.95
        Of the intervals.
    n_resamples : int, default=500
        Refits behind an interval, to the law and residuals drawn from those of the points, which
        are enlarged for the three parameters that were fitted.
    random_state : int, RandomState or None, default=0

    Returns
    -------
    ScalingLaw

    Raises
    ------
    ValueError
        If columns are missing, sizes are not positive, values are not finite, there are fewer than
        four sizes, or all values are equal.

    Warns
    -----
    Sleep2VecWarning
        If the exponent's interval reaches the end of what is tried, 0.01 to 10: the points fix no
        law.

    Notes
    -----
    What lies beyond the largest size measured is the law's guess, not a result: intervals there
    say how well the points fix the law, not whether it holds. ``predict`` marks it.

    Examples
    --------
    >>> import pandas as pd
    >>> from sleep2vec_sklearn import fit_scaling_law
    >>> sizes = [8, 16, 32, 64, 128]
    >>> law = fit_scaling_law(
    ...     pd.DataFrame({"n_nights": sizes, "loss": [1 + 4 * n**-0.5 for n in sizes]}),
    ...     x="n_nights",
    ... )
    >>> round(law.a, 2), round(law.b, 2), round(law.c, 2)
    (1.0, 4.0, 0.5)
    >>> law.predict([64, 1024])[["y", "extrapolated"]].round(3)
           y  extrapolated
    0  1.500         False
    1  1.125          True
    """
    import pandas as pd

    x_name = _choose_axis(points, x)
    sizes, values = _read_points(points, x_name, y)
    bounds = _check_asymptote(asymptote, values)
    scaled = sizes / _scale_of(sizes)
    fitted = _fit_law(scaled, values, bounds)
    draws = _resample(scaled, values, fitted, bounds, n_resamples, draw_seed(random_state))
    _warn_of_edges(draws[:, 2], level)
    residual = values - _law(scaled, *fitted)
    r2 = 1 - (residual**2).sum() / ((values - values.mean()) ** 2).sum()
    own, several = _unscale(fitted[None], sizes), _unscale(draws, sizes)
    low, high = _interval(several.T, level)
    names = ["a", "b", "c"]
    table = pd.DataFrame({"parameter": names, "value": own[0], "low": low, "high": high})
    measured = pd.DataFrame({"x": sizes, "y": values})
    return ScalingLaw(*map(float, own[0]), table, measured, x_name, y, float(r2), level, draws)


def _interval(draws: np.ndarray, level: float) -> np.ndarray:
    tail = 100 * (1 - level) / 2
    return np.percentile(draws, [tail, 100 - tail], axis=-1)


def _law(x, a, b, c):
    return a + b * x**-c


def _slopes(x, a, b, c):
    power = x**-c
    return np.column_stack([np.ones_like(x), power, -b * power * np.log(x)])


def _scale_of(sizes: np.ndarray) -> float:
    return float(np.exp(np.log(sizes).mean()))


def _unscale(found: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Parameters for sizes in units of one, from those for sizes in units of their mean."""
    a, b, c = found.T
    return np.column_stack([a, b * _scale_of(sizes) ** c, c])


def _choose_axis(points, x: str | None) -> str:
    if x is not None:
        return x
    axes = list(points["axis"].unique()) if "axis" in points else []
    if len(axes) != 1:
        found = ", ".join(axes) or "no column 'axis'"
        raise ValueError(
            f"x is None, and points have {found}; pass the column of sizes, and the rows of one "
            f"axis alone, e.g. points[points.axis == {AXES[0]!r}]."
        )
    return axes[0]


def _read_points(points, x: str, y: str) -> tuple[np.ndarray, np.ndarray]:
    missing = [name for name in (x, y) if name not in points]
    if missing:
        raise ValueError(
            f"points have no column {', '.join(map(repr, missing))}; they have "
            f"{', '.join(map(str, points.columns))}."
        )
    sizes, values = (points[name].to_numpy(dtype=float) for name in (x, y))
    wrong = ~(np.isfinite(sizes) & (sizes > 0) & np.isfinite(values))
    if wrong.any():
        place = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"row {place} of points has {x}={sizes[place]:g} and {y}={values[place]:g}; sizes must "
            "be positive and values finite. Leave it out."
        )
    n_sizes = len(np.unique(sizes))
    if n_sizes < _FEWEST:
        raise ValueError(
            f"points have {n_sizes} different values of {x}; the law has three parameters, and "
            f"needs {_FEWEST} sizes at least. Measure more."
        )
    if np.ptp(values) == 0:
        raise ValueError(f"{y} is {values[0]:g} at all sizes, so there is no law to find.")
    return sizes, values


def _check_asymptote(asymptote, values: np.ndarray) -> tuple:
    low, high = asymptote
    if not low < high or high < values.min() or low > values.max():
        raise ValueError(
            f"asymptote={asymptote!r} must be two rising numbers around the values, which are "
            f"from {values.min():g} to {values.max():g}."
        )
    return ([low, -np.inf, _EXPONENTS[0]], [high, np.inf, _EXPONENTS[-1]])


def _fit_grid(x: np.ndarray, values: np.ndarray, bounds) -> np.ndarray:
    """Best a, b and c of each row of values, c from a grid; shape (n_rows, 3).

    For a given exponent the law is a straight line in ``x**-c``, whose best a and b are known.
    """
    (lowest, *_), (highest, *_) = bounds
    power = x ** -_EXPONENTS[:, None]
    centred = power - power.mean(axis=1, keepdims=True)
    mean = values.mean(axis=1)
    b = values @ centred.T / (centred**2).sum(axis=1)
    a = np.clip(mean[:, None] - b * power.mean(axis=1), lowest, highest)
    # the slope that is best for an asymptote that had to be bounded
    b = (values @ power.T - a * power.sum(axis=1)) / (power**2).sum(axis=1)
    residual = values[:, None] - a[..., None] - b[..., None] * power
    best = (residual**2).sum(axis=2).argmin(axis=1)
    rows = np.arange(len(values))
    return np.column_stack([a[rows, best], b[rows, best], _EXPONENTS[best]])


def _fit_law(x: np.ndarray, y: np.ndarray, bounds) -> np.ndarray:
    from scipy.optimize import curve_fit

    begin = _fit_grid(x, y[None], bounds)[0]
    with warnings.catch_warnings():
        # of a covariance that cannot be estimated, which is not used
        warnings.simplefilter("ignore")
        try:
            found, _ = curve_fit(_law, x, y, begin, bounds=bounds, jac=_slopes, max_nfev=500)
        except RuntimeError:
            # along a valley without a lowest point
            return begin
    return found


def _resample(x, y, fitted, bounds, n_resamples: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    level = _law(x, *fitted)
    residual = y - level
    residual = (residual - residual.mean()) * np.sqrt(len(y) / max(len(y) - len(fitted), 1))
    again = level + rng.choice(residual, (n_resamples, len(y)))
    return _fit_grid(x, again, bounds)


def _warn_of_edges(exponents: np.ndarray, level: float) -> None:
    low, high = _interval(exponents, level)
    if low > _EXPONENTS[0] and high < _EXPONENTS[-1]:
        return
    warn(
        f"the exponent's interval, {low:.2g} to {high:.2g}, reaches the end of what is tried "
        f"({_EXPONENTS[0]:g} to {_EXPONENTS[-1]:g}): the points do not fix a law, and nothing "
        "beyond them can be told. Measure more sizes, or repeat the runs.",
        Sleep2VecWarning,
    )


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
        ``encoder__hidden_size``, or mappings of parameters of the pretrainer; their number is
        counted.
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
    >>> from sleep2vec_sklearn.pretraining import EncoderSpec
    >>> from sleep2vec_sklearn.probing import run_scaling_sweep
    >>> nights = make_sleep_cohort(
    ...     6, hours=0.5, modalities=["ibi", "spo2"], missing=0, random_state=0
    ... )
    >>> tiny = Sleep2VecPretrainer(
    ...     encoder=EncoderSpec(hidden_size=8, n_heads=2, n_layers=1),
    ...     context_epochs=10,
    ...     batch_size=4,
    ...     max_epochs=1,
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
        from ..pretraining._data import list_candidates, split_subjects

        store = pretrainer.prepare(X)
        names = tuple(list_candidates(store, pretrainer.modalities, None))
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
        sizes = [v if isinstance(v, Mapping) else {"encoder__hidden_size": v} for v in values]
        known = self.pretrainer.get_params()
        wrong = [size for size in sizes if not size or not set(size) <= set(known)]
        self._refuse(
            axis,
            wrong,
            "values of encoder__hidden_size, or mappings of the pretrainer's parameters",
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
