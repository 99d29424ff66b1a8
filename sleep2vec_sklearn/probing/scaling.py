# SPDX-License-Identifier: BSD-3-Clause
"""Scaling of pretraining: sweeps of its size, and a saturating power law through the results."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.utils import check_scalar

from .._arguments import as_numbers, check_number, shown
from .._html import ShownAsTable
from .._progress import progress_bar
from .._warnings import ignored, warn
from ..errors import Sleep2VecWarning, TrainingWarning
from ..recordings.modality import list_modalities
from ._sensor_study import digest, draw_seed

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ..nightstore.store import NightStore
    from ..pretraining.pretrainer import Sleep2VecPretrainer

_Bounds = tuple[list[float], list[float]]
_EXPONENTS = np.geomspace(0.01, 10.0, 400)
_MIN_SIZES = 4
_MOST_RESAMPLES = 1_000_000
AXES = ("n_nights", "n_modalities", "n_parameters")
# parameters of the pretrainer that change no result
_NOT_IN_KEY = ("device", "n_workers", "verbose", "state_dir", "save_every", "callbacks")


@dataclass(frozen=True, eq=False, repr=False)
class ScalingLaw(ShownAsTable):
    """Result of :func:`fit_scaling_law`: ``y = a + b * x**-c``.

    Attributes
    ----------
    a, b, c : float
        The asymptote, the distance to it at x = 1 (negative if y rises), and the exponent.
    parameters : DataFrame
        Columns parameter, value, low, high.
    points : DataFrame
        Columns x and y, as measured.
    x_name, y_name : str
    r2 : float
        Share of the variance of the points that the law explains.
    level : float
        Confidence level of the intervals.

    Examples
    --------
    >>> import pandas as pd
    >>> from sleep2vec_sklearn import fit_scaling_law
    >>> points = pd.DataFrame({"n_nights": [8, 16, 32, 64], "loss": [2.4, 2.0, 1.7, 1.5]})
    >>> law = fit_scaling_law(points, x="n_nights", n_resamples=50)
    >>> law.predict([32, 256])["extrapolated"].tolist()
    [False, True]
    """

    a: float
    b: float
    c: float
    parameters: pd.DataFrame
    points: pd.DataFrame
    x_name: str
    y_name: str
    r2: float
    level: float
    _draws: np.ndarray = field(repr=False)

    def to_frame(self) -> pd.DataFrame:
        """The parameters of the law: columns parameter, value, low, high."""
        return self.parameters.copy()

    def _headline(self) -> str:
        law = f"{self.a:.3g} {self.b:+.3g} * {self.x_name}**-{self.c:.3g}"
        return f"ScalingLaw({self.y_name} = {law}, {len(self.points)} points, r2 {self.r2:.3f})"

    def predict(self, x: ArrayLike) -> pd.DataFrame:
        """Values of the law, also where nothing was measured.

        Parameters
        ----------
        x : float or array-like

        Returns
        -------
        DataFrame
            Columns x, y, low, high (of the law, not of single runs), and ``extrapolated``: whether
            x is outside of the range measured.

        Raises a ValueError if x is not positive.
        """
        sizes = np.atleast_1d(np.asarray(x, dtype=float))
        if not (np.isfinite(sizes) & (sizes > 0)).all():
            raise ValueError(f"x must be positive and finite, got {sizes.tolist()}.")
        scale = _scale_of(self.points["x"].to_numpy())
        low, high = _interval(_law(sizes[:, None] / scale, *self._draws.T), self.level)
        beyond = (sizes < self.points["x"].min()) | (sizes > self.points["x"].max())
        y = _law(sizes, self.a, self.b, self.c)
        table = {"x": sizes, "y": y, "low": low, "high": high, "extrapolated": beyond}
        return pd.DataFrame(table)


def fit_scaling_law(
    points: pd.DataFrame, *, x: str | None = None, y: str = "loss",
    asymptote: tuple[float, float] = (0.0, np.inf), level: float = 0.95, n_resamples: int = 500,
    random_state: Any = 0,
) -> ScalingLaw:  # fmt: skip
    """Fit a saturating power law, ``a + b * x**-c``, by least squares.

    Parameters
    ----------
    points : DataFrame
        One row per run, as of :func:`run_scaling_sweep` or from anywhere else.
    x : str, optional
        Column of sizes; for a sweep along one axis, that axis.
    y : str, default="loss"
        Column of a measure, which may fall or rise.
    asymptote : (float, float), default=(0, inf)
        Bounds of ``a``: what no size could ever reach beyond. ``(0, 1)`` for a share.
    level : float, default=0.95
        Confidence level of the intervals.
    n_resamples : int, default=500
        Refits behind an interval, to the law plus residuals drawn from those of the points, which
        are enlarged for the three parameters fitted.
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
        If the exponent's interval reaches the end of the range searched, 0.01 to 10: the points
        fix no law.

    Notes
    -----
    Beyond the largest size measured the law is an extrapolation, not a result: intervals there
    say how well the points fix the law, not whether it holds. ``predict`` marks it.

    Examples
    --------
    >>> import pandas as pd
    >>> from sleep2vec_sklearn import fit_scaling_law
    >>> points = pd.DataFrame({"n_nights": [8, 16, 32, 64, 128]})
    >>> law = fit_scaling_law(points.assign(loss=1 + 4 * points["n_nights"] ** -0.5), x="n_nights")
    >>> round(law.a, 2), round(law.b, 2), round(law.c, 2)
    (1.0, 4.0, 0.5)
    """
    if not isinstance(points, pd.DataFrame):
        raise ValueError(
            f"points is {shown(points)}; accepted is a DataFrame with a row per size. Pass "
            "pd.DataFrame({'n_nights': sizes, 'loss': losses}) with x='n_nights'."
        )
    level = check_number("level", level, 0, 1, above=True, below=True)
    n_resamples = check_number("n_resamples", n_resamples, 1, _MOST_RESAMPLES, whole=True)
    x_name = _choose_axis(points) if x is None else x
    sizes, values = _read_points(points, x_name, y)
    bounds = _check_asymptote(asymptote, values)
    scale = _scale_of(sizes)
    fitted = _fit_law(sizes / scale, values, bounds)
    seed = draw_seed(random_state)
    draws = _resample(sizes / scale, values, fitted, bounds, n_resamples, seed)
    _warn_of_edges(draws[:, 2], level)
    residual = values - _law(sizes / scale, *fitted)
    r2 = 1 - (residual**2).sum() / ((values - values.mean()) ** 2).sum()
    (own,) = _unscale(fitted[None], scale)
    low, high = _interval(_unscale(draws, scale).T, level)
    parameters = {"parameter": ["a", "b", "c"], "value": own, "low": low, "high": high}
    table, measured = pd.DataFrame(parameters), pd.DataFrame({"x": sizes, "y": values})
    a, b, c = own.tolist()
    return ScalingLaw(a, b, c, table, measured, x_name, y, float(r2), level, draws)


def _interval(draws: np.ndarray, level: float) -> np.ndarray:
    tail = 100 * (1 - level) / 2
    return np.percentile(draws, [tail, 100 - tail], axis=-1)


def _law(x: np.ndarray, a: float, b: float, c: float) -> np.ndarray:
    return a + b * x**-c


def _jacobian(x: np.ndarray, a: float, b: float, c: float) -> np.ndarray:
    power = x**-c
    return np.column_stack([np.ones_like(x), power, -b * power * np.log(x)])


def _scale_of(sizes: np.ndarray) -> float:
    """Geometric mean; the law is fitted to sizes in this unit."""
    return float(np.exp(np.log(sizes).mean()))


def _unscale(parameters: np.ndarray, scale: float) -> np.ndarray:
    a, b, c = parameters.T
    return np.column_stack([a, b * scale**c, c])


def _choose_axis(points: pd.DataFrame) -> str:
    axes = list(points["axis"].unique()) if "axis" in points else []
    if len(axes) != 1:
        listed = ", ".join(axes) or "no column 'axis'"
        raise ValueError(
            f"x is None, and points have {listed}; pass the column of sizes, or the rows of one "
            f"axis alone, e.g. points[points.axis == {AXES[0]!r}]."
        )
    return axes[0]


def _read_points(points: pd.DataFrame, x: str, y: str) -> tuple[np.ndarray, np.ndarray]:
    missing = [n for n in (x, y) if not isinstance(n, str | int) or n not in points.columns]
    if missing:
        raise ValueError(
            f"points have no column {', '.join(map(repr, missing))}; they have "
            f"{', '.join(map(str, points.columns))}."
        )
    sizes, values = (as_numbers(f"points[{name!r}]", points[name]) for name in (x, y))
    invalid = np.flatnonzero(~(np.isfinite(sizes) & (sizes > 0) & np.isfinite(values)))
    if len(invalid):
        row = invalid[0]
        raise ValueError(
            f"row {row} of points has {x}={sizes[row]:g} and {y}={values[row]:g}; sizes must be "
            "positive and values finite. Leave it out."
        )
    n_sizes = len(np.unique(sizes))
    if n_sizes < _MIN_SIZES:
        raise ValueError(
            f"points have {n_sizes} different values of {x}; the law has three parameters and "
            f"needs at least {_MIN_SIZES} sizes. Measure more."
        )
    if np.ptp(values) == 0:
        raise ValueError(f"{y} is {values[0]:g} at all sizes, so there is no law to fit.")
    return sizes, values


def _check_asymptote(asymptote: tuple[float, float], values: np.ndarray) -> _Bounds:
    pair = as_numbers("asymptote", asymptote, length=2)
    low, high = pair.tolist()
    if not low < high or high < values.min() or low > values.max():
        raise ValueError(
            f"asymptote={asymptote!r} must be two rising numbers around the values, which are "
            f"from {values.min():g} to {values.max():g}."
        )
    return [low, -np.inf, _EXPONENTS[0]], [high, np.inf, _EXPONENTS[-1]]


def _fit_grid(x: np.ndarray, values: np.ndarray, bounds: _Bounds) -> np.ndarray:
    """Best a, b and c of each row of values, c from a grid; shape (n_rows, 3)."""
    # for a given exponent the law is a straight line in x**-c, whose best a and b are known
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


def _fit_law(x: np.ndarray, y: np.ndarray, bounds: _Bounds) -> np.ndarray:
    from scipy.optimize import least_squares

    start = _fit_grid(x, y[None], bounds)[0]
    # not curve_fit, which warns of a covariance that is not used
    with np.errstate(all="ignore"):
        fitted = least_squares(
            lambda law: _law(x, *law) - y, start, lambda law: _jacobian(x, *law), bounds,
            max_nfev=500,
        )  # fmt: skip
    # where there is none, along a valley without a minimum
    return fitted.x if fitted.success else start


def _resample(
    x: np.ndarray, y: np.ndarray, fitted: np.ndarray, bounds: _Bounds, n_resamples: int, seed: int
) -> np.ndarray:
    rng = np.random.default_rng(seed)
    level = _law(x, *fitted)
    residual = y - level
    # residuals are smaller than errors, by the parameters fitted
    residual = (residual - residual.mean()) * np.sqrt(len(y) / max(len(y) - len(fitted), 1))
    return _fit_grid(x, level + rng.choice(residual, (n_resamples, len(y))), bounds)


def _warn_of_edges(exponents: np.ndarray, level: float) -> None:
    low, high = _interval(exponents, level)
    if low > _EXPONENTS[0] and high < _EXPONENTS[-1]:
        return
    warn(
        f"the exponent's interval, {low:.2g} to {high:.2g}, reaches the end of the range searched "
        f"({_EXPONENTS[0]:g} to {_EXPONENTS[-1]:g}): the points do not fix a law, which can "
        "predict nothing beyond them. Measure more sizes, or repeat the runs.",
        Sleep2VecWarning,
    )


def run_scaling_sweep(
    pretrainer: Sleep2VecPretrainer, X: Any, sweeps: Mapping[str, Sequence], *,
    held_out: float | Sequence[str] = 0.25,
    evaluate: Callable[[Any], Mapping[str, float]] | None = None, n_repeats: int = 1,
    path: str | os.PathLike | None = None, random_state: Any = 0, verbose: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Pretrain encoders along one axis at a time, and score them on the same held-out subjects.

    Parameters
    ----------
    pretrainer : Sleep2VecPretrainer
        Whatever is not swept: sizes, modalities, and length of the runs. With
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
        Function of a fitted pretrainer; returns a mapping of further measures. Finished runs do
        not notice when it changes: use another ``path`` then.
    n_repeats : int, default=1
        Runs of each setting, which differ in weights, batches, and nights.
    path : path-like, optional
        File to which every finished run is added as a line, and from which it is read when the
        same sweep is run again.
    random_state : int, RandomState or None, default=0
    verbose : int, default=0
        1 shows a progress bar.

    Returns
    -------
    DataFrame
        One row per run: ``axis``, ``repeat``, ``n_nights``, ``n_modalities``, ``n_parameters``,
        ``loss`` and ``recall`` of held-out subjects, what ``evaluate`` returns, and ``seconds``.
        Loss and recall are means over the pairs that all runs of the axis have; NaN if there is
        none.

    Raises
    ------
    ValueError
        If an axis is unknown, or a value is not one of those accepted.

    Examples
    --------
    >>> from sleep2vec_sklearn import Sleep2VecPretrainer, make_sleep_cohort
    >>> from sleep2vec_sklearn.pretraining import EncoderSpec
    >>> from sleep2vec_sklearn.probing import run_scaling_sweep
    >>> names = ["ibi", "spo2"]
    >>> nights = make_sleep_cohort(6, hours=0.5, modalities=names, missing=0, random_state=0)
    >>> spec = EncoderSpec(hidden_size=8, n_heads=2, n_layers=1)
    >>> tiny = Sleep2VecPretrainer(encoder=spec, context_epochs=10, batch_size=4, max_epochs=1)
    >>> points = run_scaling_sweep(tiny, nights, {"n_nights": [2, 4]}, held_out=2)
    >>> points[["n_nights", "n_modalities"]]
       n_nights  n_modalities
    0         2             2
    1         4             2
    """
    unknown = [axis for axis in sweeps if axis not in AXES]
    if unknown or not sweeps:
        raise ValueError(
            f"sweeps has {', '.join(map(repr, unknown)) or 'no axis'}; accepted are "
            f"{', '.join(AXES)}."
        )
    check_scalar(n_repeats, "n_repeats", Integral, min_val=1)
    sweep = _Sweep.prepare(pretrainer, X, held_out, draw_seed(random_state), evaluate)
    runs = []
    for axis, values in sweeps.items():
        settings = sweep.read_settings(axis, values)
        pairs = sweep.common_pairs(settings)
        runs += [(axis, s, repeat, pairs) for s in settings for repeat in range(n_repeats)]
    finished = _FinishedRuns(path)
    rows = []
    for axis, *run in progress_bar(verbose, runs, desc="pretraining", unit="run"):
        key = sweep.key_of(axis, *run)
        row = finished.rows.get(key)
        if row is None:
            row = {"axis": axis, "repeat": run[1], **sweep.run(*run)}
            finished.add(key, row)
        rows.append(row)
    return pd.DataFrame(rows)


class _Setting(NamedTuple):
    n_nights: int
    modalities: tuple[str, ...]
    parameters: dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Sweep:
    pretrainer: Sleep2VecPretrainer
    store: NightStore
    modalities: tuple[str, ...]
    training: np.ndarray
    held_out: np.ndarray
    seed: int
    evaluate: Callable[[Any], Mapping[str, float]] | None

    @classmethod
    def prepare(
        cls, pretrainer: Sleep2VecPretrainer, X: Any, held_out: float | Sequence[str], seed: int,
        evaluate: Callable[[Any], Mapping[str, float]] | None,
    ) -> _Sweep:  # fmt: skip
        from ..pretraining._data import list_candidates, split_subjects

        store = pretrainer.prepare(X)
        names = tuple(list_candidates(store, pretrainer.modalities, None))
        training, held = split_subjects(store, store.table["subject"], held_out, seed, names)
        if not len(held):
            raise ValueError(
                f"held_out={held_out!r} leaves no subject to measure on; accepted is a share or a "
                "number of the subjects, or their names."
            )
        return cls(pretrainer, store, names, training, held, seed, evaluate)

    def read_settings(self, axis: str, values: Sequence) -> list[_Setting]:
        n_nights = len(self.training)
        if axis == "n_nights":
            invalid = [n for n in values if not (_is_count(n) and 2 <= n <= n_nights)]
            _refuse(axis, invalid, f"numbers of nights from 2 to {n_nights}")
            return [_Setting(int(n), self.modalities, {}) for n in values]
        if axis == "n_modalities":
            return [_Setting(n_nights, self._read_modalities(value), {}) for value in values]
        sizes = [v if isinstance(v, Mapping) else {"encoder__hidden_size": v} for v in values]
        known = self.pretrainer.get_params()
        invalid = [size for size in sizes if not size or not set(size) <= set(known)]
        accepted = "values of encoder__hidden_size, or mappings of the pretrainer's parameters"
        _refuse(axis, invalid, accepted)
        return [_Setting(n_nights, self.modalities, dict(size)) for size in sizes]

    def _read_modalities(self, value: Any) -> tuple[str, ...]:
        present = self.modalities
        if _is_count(value):
            if not 2 <= value <= len(present):
                listed = ", ".join(present)
                _refuse("n_modalities", [value], f"2 to {len(present)} ({listed})")
            named = self.pretrainer.modalities
            return tuple((present if named is None else list_modalities(named))[:value])
        names = tuple(list_modalities(value))
        if len(names) < 2 or not set(names) <= set(present):
            _refuse("n_modalities", [value], f"two or more of {', '.join(present)}")
        return names

    def common_pairs(self, settings: Sequence[_Setting]) -> list[str]:
        """Pairs that every run of an axis has, as the history names them."""
        shared = set.intersection(*(set(s.modalities) for s in settings))
        ordered = [name for name in self.modalities if name in shared]
        return ["-".join(pair) for pair in itertools.combinations(ordered, 2)]

    def nights_of(self, setting: _Setting, repeat: int) -> NightStore:
        """Training nights, those of each size within the next, and all held-out ones."""
        order = np.random.default_rng([self.seed, repeat]).permutation(self.training)
        training = np.sort(order[: setting.n_nights])
        return self.store.take(np.concatenate([training, self.held_out]))

    def key_of(self, axis: str, setting: _Setting, repeat: int, pairs: list[str]) -> str:
        parameters = self.pretrainer.get_params() | setting.parameters
        shown = {k: v for k, v in sorted(parameters.items()) if k not in _NOT_IN_KEY}
        nights = self.nights_of(setting, repeat).identify()
        return digest(axis, repeat, self.seed, pairs, setting.modalities, shown, nights)

    def run(self, setting: _Setting, repeat: int, pairs: list[str]) -> dict[str, Any]:
        subjects = sorted(set(map(str, self.store.table["subject"].iloc[self.held_out])))
        fixed = {"validation": subjects, "random_state": self.seed + repeat, "state_dir": None}
        model = clone(self.pretrainer).set_params(
            **setting.parameters, **fixed, modalities=list(setting.modalities)
        )
        nights = self.nights_of(setting, repeat)
        start = time.perf_counter()
        # small numbers of nights are what is studied here
        with ignored(TrainingWarning, "batch_size="):
            model.fit(nights)
        seconds = time.perf_counter() - start
        row: dict[str, Any] = {
            "n_nights": setting.n_nights,
            "n_modalities": len(setting.modalities),
            "n_parameters": sum(p.numel() for p in model.net_.averaged().parameters()),
        }
        last = model.history_[-1]
        for measure in ("loss", "recall"):
            values = [last[f"valid_{measure}_{pair}"] for pair in pairs]
            row[measure] = float(np.mean(values)) if pairs else np.nan
        measures = {} if self.evaluate is None else self.evaluate(model)
        row |= {name: float(value) for name, value in measures.items()}
        return row | {"seconds": seconds}


def _refuse(axis: str, invalid: Sequence, accepted: str) -> None:
    if invalid:
        raise ValueError(f"sweeps[{axis!r}] has {invalid[0]!r}; accepted are {accepted}.")


def _is_count(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


class _FinishedRuns:
    """Rows of finished runs by key, one line of JSON each; a truncated line is ignored."""

    def __init__(self, path: str | os.PathLike | None) -> None:
        self._path = None if path is None else Path(path)
        self.rows: dict[str, dict] = {}
        if self._path is None or not self._path.exists():
            return
        for line in self._path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(json.JSONDecodeError, KeyError, TypeError):
                run = json.loads(line)
                self.rows[run["key"]] = run["row"]

    def add(self, key: str, row: dict) -> None:
        if self._path is None:
            return
        # appended, as several processes may add their runs to one file
        with self._path.open("a+b") as file:
            file.seek(0, os.SEEK_END)
            # a process may have been killed within its line
            truncated = file.tell() and self._path.read_bytes()[-1:] != b"\n"
            line = json.dumps({"key": key, "row": row}) + "\n"
            file.write((b"\n" if truncated else b"") + line.encode())
