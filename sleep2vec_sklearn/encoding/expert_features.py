# SPDX-License-Identifier: BSD-3-Clause
"""Expert features: the numbers that sleep research computes, as an encoder and a transformer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .._files import sha256
from .._validation import StrOptions, count, validate_params
from ..model.encoder import EncodedModality, Encoder, Part, SignalInput, check_tokens
from ..recordings._conditioning import find_usable
from ..recordings.modality import EPOCH_SECONDS, MODALITIES, get_modality, list_modalities
from ..recordings.recording import Recording
from ..recordings.sources import Signal
from . import _cardiorespiratory_features as cardiorespiratory
from . import _spectral_features as spectral
from ._centering import find_window, needs_signals, window_modalities
from ._leakage import RowsBySubject
from ._pooling import RowSummary
from ._spectral_features import Feature, Samples, moving_sum
from .cache import check_cache
from .covariates import time_columns
from .inputs import read_input
from .transformer import Sleep2VecTransformer

if TYPE_CHECKING:
    import pandas as pd

    from ._engine import EncodedNight

FEATURES_REVISION = 1
TIME = "time"
_TIME_FEATURES = (
    Feature("hours", "time since lights out", "h", 3.5),
    Feature("hours2", "its square", "h2", 16),
    Feature("settling", "exp(-hours)", "1", 0.15),
    Feature("share", "share of the time between lights out and on that is over", "1", 0.5),
)
_BREATHING = (cardiorespiratory.BREATHING_FEATURES, cardiorespiratory.breathing_features)
_SENSORS: dict[str, tuple[tuple[Feature, ...], Callable[[Samples], dict[str, np.ndarray]]]] = {
    "eeg": (spectral.EEG_FEATURES, spectral.eeg_features),
    "eog": (spectral.EOG_FEATURES, spectral.eog_features),
    "emg": (spectral.EMG_FEATURES, spectral.emg_features),
    "ecg": (cardiorespiratory.ECG_FEATURES, cardiorespiratory.ecg_features),
    "airflow": _BREATHING,
    "effort": _BREATHING,
    "spo2": (cardiorespiratory.SPO2_FEATURES, cardiorespiratory.spo2_features),
    "ibi": (cardiorespiratory.IBI_FEATURES, cardiorespiratory.heart_features),
    "resp": _BREATHING,
    "ppg": (cardiorespiratory.PPG_FEATURES, cardiorespiratory.ppg_features),
    "actigraphy": (
        cardiorespiratory.ACTIGRAPHY_FEATURES,
        cardiorespiratory.actigraphy_features,
    ),
}
_STATISTICS = ("mean", "sd", "p5", "p95")


@cache
def list_columns(group: str, levels: bool = True) -> tuple[tuple[Feature, str], ...]:
    """Columns of a group: each feature itself, with the context ``""``, then those with one."""
    features = _TIME_FEATURES if group == TIME else _SENSORS[group][0]
    themselves = features if levels or group == TIME else ()
    contexts = ((f, context) for f in features for context in f.contexts.split())
    return (*((f, "") for f in themselves), *contexts)


def _column_name(group: str, feature: Feature, context: str) -> str:
    return "_".join(filter(None, (group, feature.name, context)))


def feature_table(groups: Iterable[str] = (*MODALITIES, TIME)) -> pd.DataFrame:
    """The columns of :class:`ExpertFeatures` for epochs, one row each.

    Parameters
    ----------
    groups : sequence of str, optional
        Modalities, and "time"; all by default.

    Returns
    -------
    DataFrame
        Indexed by ``name``: ``group``; ``meaning``; ``unit``; ``relative``, whether it is a
        difference to the night's median; ``minutes``, the window that it is made of beyond what
        ``meaning`` says; ``typical``, the value in place of a missing sensor.

    Examples
    --------
    >>> from sleep2vec_sklearn.encoding import feature_table
    >>> table = feature_table(["spo2"])
    >>> table.loc["spo2_mean_m11", "meaning"]
    'mean saturation, relative to the night, mean over 5.5 min'
    """
    import pandas as pd

    rows = [
        {
            "name": _column_name(group, feature, context), "group": group,
            "meaning": feature.meaning + _in_words(context), "unit": feature.unit,
            "relative": bool(context), "minutes": _n_epochs_of(context) * EPOCH_SECONDS / 60,
            "typical": 0.0 if context else float(feature.typical),
        }
        for group in groups
        for feature, context in list_columns(group)
    ]  # fmt: skip
    return pd.DataFrame(rows).set_index("name")


def _n_epochs_of(context: str) -> int:
    return int(context[1:]) if context[:1] in ("m", "s") else 3 if context[:1] in ("a", "b") else 1


def _in_words(context: str) -> str:
    if context in ("", "rel"):
        return ", relative to the night" if context else ""
    minutes = f"{int(context[1:]) * EPOCH_SECONDS / 60:g} min"
    what = {
        "m": f"mean over {minutes}", "s": f"SD over {minutes}", "b": f"{minutes} before",
        "a": f"{minutes} after",
    }[context[0]]  # fmt: skip
    return f", relative to the night, {what}"


class ExpertFeatureEncoder(Encoder):
    """Expert features as an encoder; :class:`ExpertFeatures` is the transformer around it.

    Parameters
    ----------
    modalities : str or sequence of str, optional
        Groups, all by default; "time" follows them.
    time : bool, default=True
        Whether it does.
    levels : bool, default=True
        As of :class:`ExpertFeatures`.
    """

    levels: bool

    def __init__(
        self, modalities: str | Sequence[str] | None = None, *, time: bool = True,
        levels: bool = True,
    ):  # fmt: skip
        object.__setattr__(self, "levels", bool(levels))
        names = list_modalities(modalities)
        groups = {name: (name,) for name in names} | ({TIME: tuple(names)} if time else {})
        content = FEATURES_REVISION, [(name, list_columns(name, levels)) for name in groups]
        sensors = [get_modality(name) for name in names]
        super().__init__(
            name="expert-features",
            sha256=sha256(repr(content)),
            groups=groups,
            widths={name: len(list_columns(name, levels)) for name in groups},
            inputs=tuple(
                SignalInput(m.name, unit=m.unit, min_rate=m.conditioning.min_rate) for m in sensors
            ),
            context_epochs=None,
            shared_space=False,
            background=(TIME,) if time else (),
            card={"license": "BSD-3-Clause", "training_data": "none"},
        )

    def encode(self, recording: Recording, group: str) -> tuple[np.ndarray, np.ndarray]:
        """Columns of a group, float32, and in which epochs its sensor is on."""
        ((_, task),) = self.tasks(recording, [(group, 0)])
        encoded = task()
        return encoded.tokens, encoded.valid

    def feature_names(self, group: str) -> list[str]:
        """Names that are valid in R and Stata too."""
        return [_column_name(group, *column) for column in list_columns(group, self.levels)]

    def neutral(self, group: str) -> np.ndarray:
        """Typical values; 0 for what is relative to the night."""
        return _typical(list_columns(group, self.levels))

    def parts(self, recording: Recording, groups: Sequence[str]) -> list[Part]:
        """The groups that the night has, and the time if it has any other."""
        found = [group for group in groups if group in recording.modalities]
        parts = [(group, i) for group in found for i in range(_n_derivations(recording, group))]
        return [*parts, (TIME, 0)] if found and TIME in groups else parts

    def fingerprint(self, recording: Recording, part: Part) -> str:
        """Of the signal, and of what the window depends on that its median is of."""
        if part[0] == TIME:
            return sha256(repr((recording.n_epochs, recording.lights)))
        read = dict.fromkeys(_window_modalities(recording), 0) | {part[0]: part[1]}
        signals = [recording.signal_fingerprint(*item) for item in sorted(read.items())]
        return sha256(repr((part, recording.lights, signals)))

    def tasks(
        self, recording: Recording, parts: Sequence[Part]
    ) -> Iterator[tuple[Part, Callable[[], EncodedModality]]]:
        """The calls that compute parts of a night, whose signals are read together, each once."""
        first = [name for name, index in parts if name != TIME and index == 0]
        for_window = _window_modalities(recording)
        signals = recording.read(list(dict.fromkeys([*first, *for_window]))) if parts else {}
        window = find_window(recording, {name: signals[name] for name in for_window})
        for name, index in parts:
            # freed with its call
            signal = signals.pop(name, None) if index == 0 else None
            yield (name, index), partial(self._compute, recording, (name, index), signal, window)
            del signal

    def _compute(
        self, recording: Recording, part: Part, signal: Signal | None, window: tuple[int, int]
    ) -> EncodedModality:
        (name, index), n_epochs = part, recording.n_epochs
        if name == TIME:
            times = time_columns(recording, np.arange(n_epochs))
            return check_tokens(self, recording, name, times)
        signal = recording.signal(name, index) if signal is None else signal
        values, valid = compute_features(signal, name, n_epochs, window, self.levels)
        if recording.derivation_mode == "fill":
            for other in range(1, len(recording.derivations.get(name, ()))):
                if valid.all():
                    break
                signal = recording.signal(name, other)
                more, there = compute_features(signal, name, n_epochs, window, self.levels)
                values = np.where((there & ~valid)[:, None], more, values)
                valid = valid | there
        return check_tokens(self, recording, name, (values, valid))


def _typical(columns: Sequence[tuple[Feature, str]]) -> np.ndarray:
    return np.array([0 if context else f.typical for f, context in columns], np.float32)


def _n_derivations(recording: Recording, name: str) -> int:
    kept = recording.derivations if recording.derivation_mode == "all" else {}
    return len(kept.get(name, ())) or 1


def _window_modalities(recording: Recording) -> list[str]:
    """Modalities whose signals tell which part of a long recording is the night."""
    return window_modalities(recording) if needs_signals(recording) else []


def compute_features(
    signal: Signal, name: str, n_epochs: int, window: tuple[int, int] | None = None,
    levels: bool = True,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Columns of a modality for each epoch, and in which epochs its sensor is on.

    Parameters
    ----------
    signal : Signal
    name : str
        The modality.
    n_epochs : int
    window : (int, int), optional
        First epoch of the night, to whose median columns are relative, and the first after it.
    levels : bool, default=True
        Whether there are columns that are not relative to it.

    Returns
    -------
    float32 array of shape (n_epochs, n_columns), bool array of shape (n_epochs,)

    Raises
    ------
    InvalidSignalError
        If the signal is too slow, or of a size that its unit does not have.
    """
    features, compute = _SENSORS[name]
    modality = get_modality(name)
    values, rate, valid = find_usable(signal, modality, modality.conditioning, n_epochs)
    columns = list_columns(name, levels)
    if not valid.any():
        return np.zeros((n_epochs, len(columns)), dtype=np.float32), valid
    found = compute(Samples(values, rate, valid))
    table = np.stack([np.asarray(found[f.name], dtype=np.float64) for f in features], axis=1)
    inside = np.zeros(n_epochs, dtype=bool)
    inside[slice(*(window or (0, n_epochs)))] = True
    inside &= valid
    relative, median = _relative(table, valid, inside if inside.any() else valid, features)
    out = np.empty((n_epochs, len(columns)), dtype=np.float32)
    known = np.isfinite(table) & valid[:, None]
    for context in {context for _, context in columns}:
        places = [j for j, column in enumerate(columns) if column[1] == context]
        chosen = [features.index(columns[j][0]) for j in places]
        part = _around(relative[:, chosen], known[:, chosen], context)
        out[:, places] = part if context else part + median[chosen]
    return out, valid


def _relative(
    table: np.ndarray, valid: np.ndarray, inside: np.ndarray, features: Sequence[Feature]
) -> tuple[np.ndarray, np.ndarray]:
    """Features minus their median over the night, 0 where they are not known; the median."""
    known = np.isfinite(table) & valid[:, None]
    median = np.array([feature.typical for feature in features], dtype=np.float64)
    for j, usual in enumerate((known & inside[:, None]).T):
        if usual.any():
            median[j] = np.median(table[usual, j])
    return np.where(known, table - median, 0), median


def _around(relative: np.ndarray, known: np.ndarray, context: str) -> np.ndarray:
    """Mean, SD or neighbours of columns in which 0 stands for what is not known."""
    if context in ("", "rel"):
        return relative
    kind, n = context[0], int(context[1:])
    width = n if kind in "ms" else 3
    count = np.maximum(moving_sum(known.astype(float), width), 1)
    mean = moving_sum(relative, width) / count
    if kind == "s":
        return np.sqrt(np.maximum(moving_sum(relative**2, width) / count - mean**2, 0))
    if kind == "m":
        return mean
    place = np.arange(len(mean)) + (n if kind == "a" else -n)
    return mean[np.clip(place, 0, len(mean) - 1)]


class ExpertFeatures(Sleep2VecTransformer):
    """The features that sleep research computes, of whatever sensors a night has.

    Spectra, spindles, slow waves, eye movements and muscle tone; heart-rate variability, breathing,
    saturation and activity; over 30 s to 40 min, as they are and relative to the night; and the
    time. :func:`feature_table` lists them; ``docs/expert_features.md`` says where they come from.
    Nothing is learned. A list of recordings gives one row per night, an :class:`EpochSequence` one
    per 30-s epoch. Also accepted by ``Sleep2VecTransformer(checkpoint=...)`` and the fine-tuning
    estimators.

    Parameters
    ----------
    modalities : str or sequence of str, optional
        All by default. Never taken from the data, so the width is the same in every fold.
    time : bool, default=True
        Whether the time since lights out is among the columns of epochs, and the length of the
        recording among those of nights.
    levels : bool, default=True
        Whether epochs have the columns that are not relative to the night too. Trees use them;
        a linear head that is trained on a few tens of subjects is better without.
    missing : {"neutral", "nan"}, default="neutral"
        What stands for a sensor that is off: its mean over the night, or a typical value if it is
        off all night; or NaN, for heads that accept it.
    cache, on_error, batch_size, verbose
        As of :class:`Sleep2VecTransformer`.

    Attributes
    ----------
    unit_ : {"night", "epoch"}
        What a row stands for.
    modalities_ : tuple of str
        Modalities used, in the order of their blocks, and "time".
    n_features_out_ : int
        Number of columns. Those of nights are mean, SD and the 5th and 95th percentile over
        epochs of each feature that is not relative to the night, the hours that a sensor is on, and
        the minutes below 90 % of saturation.

    See Also
    --------
    feature_table : meaning and unit of the columns.

    Examples
    --------
    >>> from sklearn.ensemble import HistGradientBoostingClassifier
    >>> from sklearn.pipeline import make_pipeline
    >>> from sleep2vec_sklearn import EpochSequence, make_sleep_cohort
    >>> from sleep2vec_sklearn.encoding import ExpertFeatures
    >>> X = EpochSequence(make_sleep_cohort(2, hours=1, modalities=["ibi"], random_state=0))
    >>> features = ExpertFeatures("ibi", missing="nan")
    >>> model = make_pipeline(features, HistGradientBoostingClassifier(max_iter=5))
    >>> model.fit(X, X.stages > 0)[:-1].get_feature_names_out()[:3]
    array(['ibi_hr', 'ibi_hr_sd', 'ibi_hr_change'], dtype=object)
    """

    _parameter_constraints: ClassVar[dict] = {
        "time": ["boolean"], "levels": ["boolean"], "missing": [StrOptions({"neutral", "nan"})],
        "on_error": [StrOptions({"raise", "nan"})], "batch_size": [count(), None],
        "verbose": ["verbose"],
    }  # fmt: skip
    # no parameters here
    layer, precision, device = "last", "float32", "cpu"
    fusion, pooling, center, context_minutes = "concat", "mean", None, 0.0
    store_weights_in_pickle = False

    def __init__(
        self, modalities: str | Sequence[str] | None = None, *, time: bool = True,
        levels: bool = True, missing: str = "neutral", cache: str | PathLike | None = "memory",
        on_error: str = "raise", batch_size: int | None = None, verbose: int = 0,
    ):  # fmt: skip
        self.modalities = modalities
        self.time = time
        self.levels = levels
        self.missing = missing
        self.cache = cache
        self.on_error = on_error
        self.batch_size = batch_size
        self.verbose = verbose

    @property
    def encoder(self) -> ExpertFeatureEncoder:
        """The features as an encoder; that of nights has all columns."""
        levels = self.levels or getattr(self, "unit_", "epoch") == "night"
        return ExpertFeatureEncoder(self.modalities, time=self.time, levels=levels)

    @property
    def checkpoint(self) -> ExpertFeatureEncoder:
        """The same."""
        return self.encoder

    def fit(self, X: Any, y: Any = None) -> ExpertFeatures:
        """Check parameters and input; nothing is learned and no signal is read.

        Parameters
        ----------
        X : list of Recording or dict, list of lists of them, or EpochSequence
            Nights, subjects, or epochs.
        y : ignored

        Raises
        ------
        ValueError
            If a parameter is not one of those accepted.
        InvalidRecordingError
            If X is not such a list.
        """
        validate_params(self)
        check_cache(self.cache)
        inputs = read_input(X, self.on_error)
        self.unit_ = inputs.unit
        encoder = self.encoder
        self.modalities_ = tuple(encoder.groups)
        self.fusion_, self.center_ = self.fusion, self.center
        self.precision_, self.device_ = self.precision, self.device
        self.checkpoint_sha256_ = encoder.sha256
        self.n_features_out_ = len(self._name_columns(encoder))
        self._rows_at_fit = RowsBySubject.of_input(inputs)
        return self

    def _name_columns(self, encoder: Encoder) -> list[str]:
        names = encoder.feature_names if self.unit_ == "epoch" else _summary_names
        return [name for group in self.modalities_ for name in names(group)]

    def _row_summary(self, encoder: Encoder) -> RowSummary:
        form = self.modalities_, self.fusion, self.pooling
        return ExpertRows(*form, missing=self.missing, levels=self.levels)


def _summary_names(group: str) -> list[str]:
    if group == TIME:
        return ["time_recorded"]
    names = [_column_name(group, f, c) for f, c in list_columns(group) if not c]
    t90 = ["spo2_t90"] if group == "spo2" else []
    return [*(f"{name}_{s}" for s in _STATISTICS for name in names), f"{group}_on", *t90]


@dataclass(frozen=True, slots=True)
class ExpertRows(RowSummary):
    """How features become rows: blocks of epochs side by side, or levels and spreads of a night."""

    missing: str = "neutral"
    levels: bool = True

    def __call__(self, night: EncodedNight, epochs: np.ndarray | None) -> np.ndarray:
        """Rows of these epochs, or the one row of the night if there are none."""
        of_group = self._summary if epochs is None else partial(self._block, epochs=epochs)
        blocks = [of_group(group, night.modalities.get(group)) for group in self.modalities]
        return np.concatenate(blocks, axis=-1)

    def _block(self, group: str, found: EncodedModality | None, epochs: np.ndarray) -> np.ndarray:
        fill = _typical(list_columns(group, self.levels))
        if found is None:
            rows = np.broadcast_to(fill, (len(epochs), len(fill)))
            return rows if self.missing == "neutral" else np.full_like(rows, np.nan)
        if self.missing == "nan":
            fill = np.full_like(fill, np.nan)
        else:
            fill = found.tokens[found.valid].mean(axis=0)
        return np.where(found.valid[epochs, None], found.tokens[epochs], fill)

    def _summary(self, group: str, found: EncodedModality | None) -> np.ndarray:
        """Mean, SD, 5th and 95th percentile of features over epochs, and counts."""
        if group == TIME:
            n_epochs = 0 if found is None else len(found.valid)
            return np.array([n_epochs * EPOCH_SECONDS / 3600], np.float32)
        features = [feature for feature, context in list_columns(group) if not context]
        if found is None:
            typical = np.array([feature.typical for feature in features])
            if self.missing == "nan":
                typical[:] = np.nan
            statistics, hours = [typical, 0 * typical, typical, typical], 0.0
        else:
            values = found.tokens[found.valid, : len(features)].astype(np.float64)
            tails = np.percentile(values, [5, 95], axis=0)
            statistics = [values.mean(axis=0), values.std(axis=0), *tails]
            hours = len(values) * EPOCH_SECONDS / 3600
        row = [*np.concatenate(statistics), hours]
        if group == "spo2":
            names = [feature.name for feature in features]
            row.append(60 * hours * statistics[0][names.index("below90")])
        return np.array(row, dtype=np.float32)
