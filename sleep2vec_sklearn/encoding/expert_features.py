# SPDX-License-Identifier: BSD-3-Clause
"""Expert features: the numbers that sleep research computes, as an encoder and a transformer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .._files import sha256
from .._validation import StrOptions, count, validate_params
from ..model.encoder import EncodedModality, Encoder, Part, SignalInput, check_tokens
from ..recordings._conditioning import ConditionedSignal, fingerprint
from ..recordings._expert_catalogue import FEATURES_REVISION, list_columns
from ..recordings.modality import (
    EPOCH_SECONDS,
    MODALITIES,
    Conditioning,
    get_modality,
    list_modalities,
)
from ..recordings.recording import Recording
from ._expert_blocks import (
    TIME,
    TIME_COLUMNS,
    TIME_FEATURES,
    choose_columns,
    list_parts,
    list_tasks,
    neutral_values,
    summarise,
    summary_names,
    time_fingerprint,
)
from ._leakage import RowsBySubject
from ._pooling import RowSummary
from .cache import check_cache
from .inputs import read_input
from .transformer import Sleep2VecTransformer

if TYPE_CHECKING:
    import pandas as pd

    from ._engine import EncodedNight


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

    times = {feature.name: (feature, "") for feature in TIME_FEATURES}
    rows = [
        {
            "name": f"{group}_{column}", "group": group,
            "meaning": feature.meaning + _in_words(context), "unit": feature.unit,
            "relative": bool(context), "minutes": _n_epochs_of(context) * EPOCH_SECONDS / 60,
            "typical": 0.0 if context else float(feature.typical),
        }
        for group in groups
        for column, (feature, context) in (times if group == TIME else list_columns(group)).items()
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

    columns: dict[str, tuple[str, ...]]

    def __init__(
        self, modalities: str | Sequence[str] | None = None, *, time: bool = True,
        levels: bool = True,
    ):  # fmt: skip
        names = list_modalities(modalities)
        columns = {name: choose_columns(name, levels) for name in names}
        if time:
            columns[TIME] = TIME_COLUMNS
        object.__setattr__(self, "columns", columns)
        sensors = [get_modality(name) for name in names]
        super().__init__(
            name="expert-features",
            sha256=sha256(repr((FEATURES_REVISION, columns))),
            groups={name: (name,) for name in names} | ({TIME: tuple(names)} if time else {}),
            widths={name: len(own) for name, own in columns.items()},
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
        return [f"{group}_{column}" for column in self.columns[group]]

    def neutral(self, group: str) -> np.ndarray:
        """Typical values; 0 for what is relative to the night."""
        return neutral_values(group, self.columns[group])

    def night_names(self, group: str) -> list[str]:
        """Names of what :class:`ExpertFeatures` gives of a night."""
        return summary_names(group, self.columns[group])

    def parts(self, recording: Recording, groups: Sequence[str]) -> list[Part]:
        """The groups that the night has, and the time if it has any other."""
        return list_parts(recording, groups)

    def fingerprint(self, recording: Recording, part: Part) -> str:
        """Of the signal, and of what the window depends on that its median is of."""
        if part[0] == TIME:
            return time_fingerprint(recording)
        return fingerprint(recording, *part, self._conditioning(part[0]))

    def tasks(
        self, recording: Recording, parts: Sequence[Part]
    ) -> Iterator[tuple[Part, Callable[[], EncodedModality]]]:
        """The calls that compute parts of a night, whose signals are read together, each once."""
        settings = {name: self._conditioning(name) for name, _ in parts if name != TIME}
        return list_tasks(recording, parts, settings, partial(self._compute, recording))

    def _conditioning(self, name: str) -> Conditioning:
        return replace(get_modality(name).conditioning, columns=self.columns[name])

    def _compute(
        self, recording: Recording, name: str, condition: Callable[[], ConditionedSignal | None]
    ) -> EncodedModality:
        signal = condition()
        if signal is None:
            return EncodedModality.missing()
        return check_tokens(self, recording, name, (signal.epochs, signal.valid))


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
        names = encoder.feature_names if self.unit_ == "epoch" else encoder.night_names
        return [name for group in self.modalities_ for name in names(group)]

    def _row_summary(self, encoder: Encoder, apart: bool) -> RowSummary:
        form = self.modalities_, self.fusion, self.pooling
        neutral = {group: encoder.neutral(group) for group in self.modalities_}
        return ExpertRows(*form, neutral=neutral, missing=self.missing)


@dataclass(frozen=True, slots=True)
class ExpertRows(RowSummary):
    """How features become rows: blocks of epochs side by side, or levels and spreads of a night."""

    neutral: Mapping[str, np.ndarray] = field(default_factory=dict)
    missing: str = "neutral"

    @property
    def form(self) -> tuple:
        """What tells the rows that it makes of an encoder's tokens from others."""
        return self.modalities, self.missing

    def __call__(self, night: EncodedNight, epochs: np.ndarray | None) -> np.ndarray:
        """Rows of these epochs, or the one row of the night if there are none."""
        found = night.modalities
        blocks = [
            self._summary(g, found.get(g))
            if epochs is None
            else self._block(g, found.get(g), epochs)
            for g in self.modalities
        ]
        return np.concatenate(blocks, axis=-1)

    def _summary(self, group: str, found: EncodedModality | None) -> np.ndarray:
        columns = TIME_COLUMNS if group == TIME else choose_columns(group)
        summary = summarise(group, columns, 0, found)
        if found is not None or self.missing == "neutral" or group == TIME:
            return summary
        # but for the hours that it is on
        on = summary_names(group, columns).index(f"{group}_on")
        summary[np.arange(len(summary)) != on] = np.nan
        return summary

    def _block(self, group: str, found: EncodedModality | None, epochs: np.ndarray) -> np.ndarray:
        fill = self.neutral[group]
        if found is None:
            rows = np.broadcast_to(fill, (len(epochs), len(fill)))
            return rows if self.missing == "neutral" else np.full_like(rows, np.nan)
        if self.missing == "nan":
            fill = np.full_like(fill, np.nan)
        else:
            fill = found.tokens[found.valid].mean(axis=0)
        return np.where(found.valid[epochs, None], found.tokens[epochs], fill)
