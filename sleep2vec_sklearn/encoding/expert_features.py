# SPDX-License-Identifier: BSD-3-Clause
"""Expert features: the numbers that sleep research computes, as an encoder and a transformer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from .._files import sha256
from ..model.encoder import Encoder, Part, SignalInput
from ..recordings._conditioning import find_usable
from ..recordings.modality import EPOCH_SECONDS, MODALITIES, get_modality, list_modalities
from ..recordings.recording import Recording
from . import _cardiorespiratory_features as cardiorespiratory
from . import _spectral_features as spectral
from ._spectral_features import Feature, Samples, moving_sum
from .covariates import time_columns

if TYPE_CHECKING:
    import pandas as pd

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
    "ibi": (cardiorespiratory.IBI_FEATURES, cardiorespiratory.ibi_features),
    "resp": _BREATHING,
    "ppg": (cardiorespiratory.PPG_FEATURES, cardiorespiratory.ppg_features),
    "actigraphy": (
        cardiorespiratory.ACTIGRAPHY_FEATURES,
        cardiorespiratory.actigraphy_features,
    ),
}
_STATISTICS = ("mean", "sd", "p5", "p95")


@cache
def list_columns(group: str) -> tuple[tuple[Feature, str], ...]:
    """Columns of a group: each feature itself, with the context ``""``, then those with one."""
    features = _TIME_FEATURES if group == TIME else _SENSORS[group][0]
    contexts = ((f, context) for f in features for context in f.contexts.split())
    return (*((f, "") for f in features), *contexts)


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
    >>> table.loc["spo2_mean_m11", ["unit", "relative", "minutes"]].tolist()
    ['%', True, 5.5]
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
    """

    def __init__(self, modalities: str | Sequence[str] | None = None, *, time: bool = True):
        names = list_modalities(modalities)
        groups = {name: (name,) for name in names} | ({TIME: tuple(names)} if time else {})
        content = [
            (name, *((f, context) for f, context in list_columns(name))) for name in groups
        ]
        super().__init__(
            name="expert-features",
            sha256=sha256(repr((FEATURES_REVISION, content))),
            groups=groups,
            widths={name: len(list_columns(name)) for name in groups},
            inputs=tuple(
                SignalInput(n, unit=MODALITIES[n].unit, min_rate=MODALITIES[n].conditioning.min_rate)
                for n in names
            ),
            context_epochs=None,
            shared_space=False,
            card={"license": "BSD-3-Clause", "training_data": "none", "revision": FEATURES_REVISION},
        )  # fmt: skip

    def encode(self, recording: Recording, group: str) -> tuple[np.ndarray, np.ndarray]:
        """Columns of a group, float32, and in which epochs its sensor is on."""
        return compute_features(recording, group)

    def feature_names(self, group: str) -> list[str]:
        """Names that are valid in R and Stata too."""
        return [_column_name(group, *column) for column in list_columns(group)]

    def neutral(self, group: str) -> np.ndarray:
        """Typical values; 0 for what is relative to the night."""
        return np.array([0 if c else f.typical for f, c in list_columns(group)], np.float32)

    def parts(self, recording: Recording, groups: Sequence[str]) -> list[Part]:
        """The groups that the night has, and the time if it has any other."""
        found = super().parts(recording, [group for group in groups if group != TIME])
        return [*found, (TIME, 0)] if found and TIME in groups else found

    def fingerprint(self, recording: Recording, part: Part) -> str:
        """Of the signals; of the time, the night's length and lights."""
        if part[0] == TIME:
            return sha256(repr((recording.n_epochs, recording.lights)))
        return super().fingerprint(recording, part)


def compute_features(recording: Recording, group: str) -> tuple[np.ndarray, np.ndarray]:
    """Columns of a group for each epoch of a night, and which epochs are valid."""
    n_epochs = recording.n_epochs
    if group == TIME:
        times = time_columns(recording, np.arange(n_epochs))
        return times.astype(np.float32), np.ones(n_epochs, dtype=bool)
    features, compute = _SENSORS[group]
    modality = get_modality(group)
    signal = recording.signal(group)
    values, rate, valid = find_usable(signal, modality, modality.conditioning, n_epochs)
    del signal
    if not valid.any():
        return np.zeros((n_epochs, len(list_columns(group))), dtype=np.float32), valid
    found = compute(Samples(values, rate, valid))
    table = np.stack([np.asarray(found[f.name], dtype=np.float64) for f in features], axis=1)
    return _with_contexts(table, valid, list_columns(group)), valid


def _with_contexts(
    table: np.ndarray, valid: np.ndarray, columns: Sequence[tuple[Feature, str]]
) -> np.ndarray:
    """The columns made of a table of features; what an epoch lacks is the night's median."""
    known = np.isfinite(table) & valid[:, None]
    features = [feature for feature, context in columns if not context]
    median = np.array(
        [
            np.median(table[known[:, j], j]) if known[:, j].any() else feature.typical
            for j, feature in enumerate(features)
        ]
    )
    relative = np.where(known, table - median, 0)
    out = np.empty((len(table), len(columns)), dtype=np.float32)
    position = {feature: j for j, feature in enumerate(features)}
    contexts: dict[str, list[int]] = {}
    for j, (_, context) in enumerate(columns):
        contexts.setdefault(context, []).append(j)
    for context, places in contexts.items():
        chosen = [position[columns[j][0]] for j in places]
        part = relative[:, chosen]
        out[:, places] = part + median if not context else _around(part, known[:, chosen], context)
    return out


def _around(relative: np.ndarray, known: np.ndarray, context: str) -> np.ndarray:
    """Mean, SD or neighbours of columns in which 0 stands for what is not known."""
    if context == "rel":
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
