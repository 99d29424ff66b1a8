# SPDX-License-Identifier: BSD-3-Clause
"""A saturating power law through measured points, and how far it can be trusted."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import numpy as np

from ..errors import Sleep2VecWarning
from .scaling_sweep import AXES
from .splits import draw_seed

__all__ = ["ScalingLaw", "fit_scaling_law"]

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
    warnings.warn(
        f"the exponent's interval, {low:.2g} to {high:.2g}, reaches the end of what is tried "
        f"({_EXPONENTS[0]:g} to {_EXPONENTS[-1]:g}): the points do not fix a law, and nothing "
        "beyond them can be told. Measure more sizes, or repeat the runs.",
        Sleep2VecWarning,
        stacklevel=3,
    )
