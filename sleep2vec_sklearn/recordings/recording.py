# SPDX-License-Identifier: BSD-3-Clause
"""One night of one subject."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from importlib import import_module
from numbers import Real
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from .._arguments import shown
from .._html import as_html
from ..errors import InvalidRecordingError
from ._notes import Caution, warn_of_notes
from .modality import EPOCH_SECONDS, MODALITIES, get_modality, list_modalities
from .sources import (
    KeptSignals,
    MemorySource,
    Signal,
    SignalSource,
    check_mapping,
    check_rate,
    longest_duration,
    series_in_time,
    usable_seconds,
)
from .stages import SleepStage, as_stages

if TYPE_CHECKING:
    import pandas as pd

NOT_AN_ARRAY = (
    "recordings and their epochs are no array, and this tool makes one of X: put the step that "
    "needs numbers after a Sleep2VecTransformer, as in make_pipeline(Sleep2VecTransformer(), "
    "BaggingClassifier()), or hand the tool the rows, Sleep2VecTransformer().fit_transform(X)."
)
_MISSING_IN_TABLES = ("nan", "<NA>", "NaT")
_LONGEST_DAYS = 5000
_STAGE_COLUMN = re.compile(r"(sleep[-_ ]*)?(stages?|staging|scoring|hypno(gram)?)", re.IGNORECASE)


class Recording(Mapping[str, np.ndarray]):
    """One night of one subject on one montage.

    An immutable mapping from modality name to a one-dimensional array. Plain dicts are accepted
    wherever a recording is; this class adds rates, units, labels and metadata.

    Parameters
    ----------
    signals : mapping of str to array-like, (array-like, float), Signal or None
        Samples of each modality, of shape (n_samples,) or (n_epochs, samples_per_epoch); a pair
        (samples, rate in Hz); a :class:`Signal` with its rate and unit, as :meth:`read` gives it;
        a pandas Series with times as its index; or None for a missing modality. NaN marks a gap.
        Nothing is copied: do not change an array afterwards, as its tokens may be cached.
    rates : mapping of str to float, optional
        Samples per second; the catalogue's rate by default. Not of ``ibi``, unless its values are
        clearly a series at 4 Hz: intervals of single beats become one by
        :func:`~sleep2vec_sklearn.recordings.derivation.ibi_from_intervals`.
    units : mapping of str to str, optional
        Unit of the samples, e.g. ``{"eeg": "V", "ibi": "ms"}``; the catalogue's by default.
    subject : hashable, optional
        Subject identifier, the group in cross-validation. NaN and the like count as None.
    metadata : mapping, optional
        Age, sex, site and other facts.
    stages : array-like of shape (n_epochs,), optional
        Sleep stage per 30-s epoch; see :class:`SleepStage`.
    events : DataFrame, optional
        Columns ``onset`` and ``duration`` in seconds from the start, and ``type``.
    start : datetime, optional
        Clock time of the first sample.
    lights : (float or None, float or None), optional
        Lights-off and lights-on, in seconds from the start.
    duration : float, optional
        Length in seconds; that of the longest modality by default. Shorter modalities leave
        missing epochs at their end.
    id : str, optional
        Name used in errors, indices and caches.
    align : {"raise", "trim"}, default="raise"
        What to do if stages and epochs differ in number: raise, or cut the surplus and mark
        missing stages as unscored.

    Attributes
    ----------
    n_epochs : int
        Whole 30-s epochs; :meth:`without` does not change them.
    modalities : tuple of str
        Modalities with a signal, in the catalogue's order.

    Raises
    ------
    InvalidRecordingError
        If there is no signal, less than one epoch of it, or the stages do not fit.
    UnknownModalityError
        If a name is not in the catalogue.
    InvalidSignalError
        If a signal has the wrong rank, type, rate or unit, or its shape, times or size say that it
        is not what it is taken for.

    See Also
    --------
    read_recording : Read a night from a file.

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn import Recording
    >>> night = Recording({"ecg": (np.zeros(60 * 200), 200), "spo2": None}, subject="a")
    >>> night.n_epochs, night.modalities
    (2, ('ecg',))
    """

    def __init__(
        self, signals: Mapping[str, Any], *, rates: Mapping[str, float] | None = None,
        units: Mapping[str, str] | None = None, subject: Any = None,
        metadata: Mapping[str, Any] | None = None, stages: Any = None,
        events: pd.DataFrame | None = None, start: datetime | None = None,
        lights: Sequence[float | None] | None = None, duration: float | None = None,
        id: str | None = None, align: str = "raise",
    ):  # fmt: skip
        self.id = id
        with self._id_in_errors():
            placed, units, start = series_in_time(_check_mapping(signals), units, start)
            self._source: SignalSource = MemorySource(placed, rates, units)
            self._describe(subject, metadata, events, start, lights, duration, stages, align)

    @classmethod
    def from_source(
        cls, source: SignalSource, *, subject: Any = None,
        metadata: Mapping[str, Any] | None = None, stages: Any = None,
        events: pd.DataFrame | None = None, start: datetime | None = None,
        lights: Sequence[float | None] | None = None, duration: float | None = None,
        id: str | None = None, notes: Sequence[str] = (), align: str = "raise",
    ) -> Recording:  # fmt: skip
        """Make a lazy recording, whose samples are read on use; see the class for the parameters.

        ``notes`` say what a reader left out or changed, and why.
        """
        recording = cls.__new__(cls)
        recording.id = id
        with recording._id_in_errors():
            recording._source = source
            recording._describe(subject, metadata, events, start, lights, duration, stages, align)
        recording.notes = tuple(notes)
        return recording

    @classmethod
    def from_mne(
        cls, raw: Any, *, modalities: str | Sequence[str] | None = None,
        channels: Mapping[str, Any] | None = None, derive: bool = True, **described: Any,
    ) -> Recording:  # fmt: skip
        """Make a recording of an object of MNE-Python, such as a Raw that was cropped or filtered.

        Channels are chosen by their labels, and stages, events and lights are those of the
        annotations, as :func:`~sleep2vec_sklearn.read_recording` does with files. Spans annotated
        as bad are gaps. Do not change the object afterwards.

        Parameters
        ----------
        raw : mne.io.Raw
        modalities, channels, derive
            As of :func:`~sleep2vec_sklearn.read_recording`; a choice of modalities derives none.
        **described
            ``subject``, ``metadata``, ``stages``, ``events``, ``start``, ``lights``, ``id`` and
            ``align``, as of the class, over those of the object.

        Raises
        ------
        NoUsableChannelError
            If none of the channels maps to a wanted modality.
        InvalidRecordingError
            If it is no Raw object, or the night is unusable.

        Examples
        --------
        >>> import mne
        >>> import numpy as np
        >>> from sleep2vec_sklearn import Recording
        >>> info = mne.create_info(["EEG C3-A2", "ECG"], 128.0, ["eeg", "ecg"])
        >>> noise = 3e-5 * np.random.default_rng(0).standard_normal((2, 128 * 60))
        >>> raw = mne.io.RawArray(noise, info, verbose="error")
        >>> night = Recording.from_mne(raw, subject="s01", derive=False)
        >>> night.modalities, night.units["eeg"], night.n_epochs
        (('eeg', 'ecg'), 'V', 2)
        """
        return _reader("recording").recording_from_raw(
            cls, raw, modalities=modalities, channels=channels, derive=derive, **described
        )

    @classmethod
    def from_dataframe(
        cls, table: pd.DataFrame, *, rate: float | None = None,
        channels: Mapping[str, Any] | None = None, units: Mapping[str, str] | None = None,
        **described: Any,
    ) -> Recording:  # fmt: skip
        """Make a recording of a table with a column for each channel and a row for each time.

        Parameters
        ----------
        table : DataFrame
            Columns are called as modalities or as channels of a montage ("C3-M2 (uV)"); others
            are left out, and ``notes`` say so; one of stages, which ``stages`` takes by the epoch,
            with a warning. Its index holds times of day or timedeltas, which
            need not be even for ``ibi`` and ``spo2``, or ``rate`` is stated. With an index of
            times, rows without a value of a channel are not its samples, so that channels of
            several rates fit into one table.
        rate : float, optional
            Samples per second, where the index holds no times.
        channels : mapping, optional
            Modality to column, to (column, reference column), or to None to leave it out.
        units : mapping of str to str, optional
            Unit of each modality; the catalogue's by default.
        **described
            ``subject``, ``metadata``, ``stages``, ``events``, ``start``, ``lights``, ``duration``,
            ``id`` and ``align``, as of the class. ``start`` is by default the first time of day.

        Raises
        ------
        NoUsableChannelError
            If none of the columns maps to a modality.
        InvalidRecordingError
            If there is neither a rate nor an index of times, or the night is unusable.

        Examples
        --------
        >>> import pandas as pd
        >>> from sleep2vec_sklearn import Recording
        >>> times = pd.date_range("2024-03-01 23:00", periods=120, freq="s")
        >>> table = pd.DataFrame({"SpO2": 96.0, "bpm": 58.0}, index=times)
        >>> night = Recording.from_dataframe(table, channels={"ibi": "bpm"}, units={"ibi": "bpm"})
        >>> night.rates, night.start
        ({'spo2': 1.0, 'ibi': 1.0}, datetime.datetime(2024, 3, 1, 23, 0))
        """
        if not hasattr(table, "iloc") or not hasattr(table, "columns"):
            raise InvalidRecordingError(
                f"the table is a {type(table).__name__}; accepted is a DataFrame of pandas. Use "
                "its to_pandas(), or Recording({'spo2': (values, rate)}) for arrays."
            )
        timed, stated = table.index.dtype.kind in "mM", isinstance(rate, Real)
        if timed == stated or (rate is not None) != stated or not len(table):
            raise InvalidRecordingError(
                f"the table has {len(table)} rows, an index of {table.index.dtype} and rate "
                f"{rate!r}; accepted are rows with times of day or timedeltas as index, or with a "
                "rate in Hz. Use table.set_index(pd.to_datetime(table['time'])), or of seconds "
                "table.set_index(pd.to_timedelta(table.index, unit='s'))."
            )
        rate = None if rate is None else check_rate("the table", rate)
        montage = _reader("_montage").montage_of_columns(table.columns, rate, channels)
        signals: dict[str, Any] = {}
        for name, derivation in montage.derivations.items():
            values = table.iloc[:, derivation.channel.index]
            if derivation.reference is not None:
                reference = table.iloc[:, derivation.reference.index]
                values = values - reference * derivation.reference_factor
            signals[name] = values.dropna() if timed else (values.to_numpy(), rate)
        if timed and table.index.dtype.kind == "M" and described.get("start") is None:
            described["start"] = table.index[0]
        own = {n: d.unit for n, d in montage.derivations.items() if d.channel.dimension}
        recording = cls(signals, units={**own, **check_mapping("units", units)}, **described)
        columns = zip(table.columns, montage.reasons, strict=True)
        recording.notes = tuple(f"{c!r} left out: {r[2]}" for c, r in columns if not r[1])
        labels = [c for c in table.columns if _STAGE_COLUMN.fullmatch(str(c))]
        if labels and recording.stages is None:
            kind = "a column of the table seems to hold stages, which are not read from it"
            fix = f"pass stages= with one label per {EPOCH_SECONDS} s"
            recording.notes += (Caution(f"{kind}: {labels[0]!r}; {fix}", kind),)
            warn_of_notes([recording])
        return recording

    def _id_in_errors(self) -> AbstractContextManager[None]:
        return prefix_errors(None if self.id is None else describe_recording(self))

    def _describe(
        self, subject: Any, metadata: Mapping[str, Any] | None, events: pd.DataFrame | None,
        start: datetime | None, lights: Sequence[float | None] | None, duration: float | None,
        stages: Any, align: str,
    ) -> None:  # fmt: skip
        layout = self._source.layout
        self.modalities = tuple(name for name in MODALITIES if name in layout)
        if duration is not None and not isinstance(duration, bool | np.bool_ | str):
            with suppress(TypeError, ValueError, OverflowError, RuntimeError):
                duration = float(duration)
        if duration is not None and not (isinstance(duration, float) and np.isfinite(duration)):
            raise InvalidRecordingError(
                f"the night has duration {shown(duration)}; accepted is a number of seconds, or "
                "None for that of the longest modality."
            )
        longest = longest_duration(layout)
        self.duration = longest if duration is None else duration
        if self.duration > _LONGEST_DAYS * 86_400:
            raise InvalidRecordingError(
                f"the night lasts {self.duration / 86_400:,.0f} days; accepted are up to "
                f"{_LONGEST_DAYS:,}, the years of a watch. Check the rates and the duration: they "
                "are in Hz and in seconds."
            )
        self.n_epochs = int(self.duration / EPOCH_SECONDS + 1e-6)
        if self.n_epochs < 1:
            raise InvalidRecordingError(
                f"the night lasts {self.duration:g} s, shorter than one epoch of "
                f"{EPOCH_SECONDS} s. Check the rates: they are samples per second."
            )
        # NaN, NaT and NA of a table equal nothing, not even themselves
        self.subject = None if str(subject) in _MISSING_IN_TABLES else subject
        if metadata is not None and not isinstance(metadata, Mapping):
            raise InvalidRecordingError(
                f"metadata is {shown(metadata)}; accepted is a dict of facts of the night. Of a "
                "row of a table pass row.to_dict()."
            )
        self.metadata = MappingProxyType(dict({} if metadata is None else metadata))
        if events is not None and not hasattr(events, "iloc"):
            raise InvalidRecordingError(
                f"events is {shown(events)}; accepted is a DataFrame with the columns onset, "
                "duration and type. Make one of it: pd.DataFrame(events)."
            )
        self.events = events
        self.start = start
        self.lights = None if lights is None else _as_lights(lights)
        self.notes: tuple[str, ...] = ()
        if not isinstance(align, str) or align not in ("raise", "trim"):
            raise InvalidRecordingError(f"align must be 'raise' or 'trim', got {shown(align)}.")
        self.stages = None if stages is None else self._fit_stages(as_stages(stages), align)

    def _fit_stages(self, stages: np.ndarray, align: str) -> np.ndarray:
        if len(stages) == self.n_epochs:
            return stages
        if align == "raise":
            raise InvalidRecordingError(
                f"the night has {len(stages)} stages for {self.n_epochs} epochs of "
                f"{EPOCH_SECONDS} s ({self.duration:g} s of signal). Check where the labels start, "
                "or pass align='trim' to cut the surplus and fill up with unscored."
            )
        missing = np.full(max(self.n_epochs - len(stages), 0), -1, dtype=np.int8)
        return as_stages(np.concatenate([stages[: self.n_epochs], missing]))

    def __getitem__(self, name: str) -> np.ndarray:
        return self.signal(name).values

    def __contains__(self, name: object) -> bool:
        # Mapping's own would read the signal
        return name in self.modalities

    def __iter__(self) -> Iterator[str]:
        return iter(self.modalities)

    def __len__(self) -> int:
        return len(self.modalities)

    # Mapping compares contents
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(NOT_AN_ARRAY)

    def __repr__(self) -> str:
        name = f"id={self.id!r}, " if self.id is not None else ""
        return f"Recording({name}{self.n_epochs} epochs, {', '.join(self.modalities)})"

    def _repr_html_(self) -> str:
        import pandas as pd

        hours, minutes = divmod(round(self.duration / 60), 60)
        facts: dict[str, Any] = {
            "subject": self.subject, "start": self.start, "duration": f"{hours} h {minutes:02} min",
            "epochs": self.n_epochs, "events": None if self.events is None else len(self.events),
        }  # fmt: skip
        joint = " or " if self.derivation_mode == "one" else " + "
        sensors: dict[str, Any] = {"rate_hz": self.rates, "unit": self.units}
        channels = {name: joint.join(labels) for name, labels in self.derivations.items()}
        channels |= {name: f"derived {channels.get(name, '')}".strip() for name in self.derived}
        sensors |= {"channel": channels} if channels else {}
        known = {name: value for name, value in facts.items() if value is not None}
        tables = [
            pd.DataFrame([known], index=["night"]),
            pd.DataFrame(sensors, index=list(self.modalities)),
        ]
        if self.stages is not None:
            per_epoch, order = EPOCH_SECONDS / 60, sorted(SleepStage, key=lambda stage: stage % 6)
            scored = {stage.name: per_epoch * (self.stages == stage).sum() for stage in order}
            tables.append(pd.DataFrame([scored], index=["minutes"]))
        return as_html(repr(self), *tables, notes=self.notes, na_rep="")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "metadata": dict(self.metadata)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.metadata = MappingProxyType(self.metadata)
        if self.stages is not None:
            self.stages.flags.writeable = False

    @property
    def rates(self) -> dict[str, float]:
        """Native samples per second of each modality."""
        layout = self._source.layout
        return {name: layout[name].rate for name in self.modalities}

    @property
    def units(self) -> dict[str, str]:
        """Unit of each modality's samples."""
        layout = self._source.layout
        return {name: layout[name].unit for name in self.modalities}

    @property
    def derived(self) -> tuple[str, ...]:
        """Modalities that the reader derived from others, such as ``ibi`` from an ECG."""
        derived = getattr(self._source, "derived", ())
        return tuple(name for name in self.modalities if name in derived)

    @property
    def derivations(self) -> dict[str, tuple[str, ...]]:
        """Channels that each modality is read from, those of a file; the preferred one first.

        By default those that may be read, and once one has been, that which was good for longest;
        with ``read_recording(derivations="fill")`` or ``"all"`` all that are kept.
        """
        found = getattr(self._source, "derivations", {})
        return {name: found[name] for name in self.modalities if name in found}

    @property
    def derivation_mode(self) -> str:
        """What further derivations do: none ("one"), fill epochs ("fill"), or count ("all")."""
        return str(getattr(self._source, "derivation_mode", "one"))

    @property
    def fingerprint(self) -> str:
        """Hex sha256 of the samples, or of the file and the settings it is read with."""
        return self._source.fingerprint()

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that the fingerprint is computed from; none for signals in memory."""
        return tuple(getattr(self._source, "files", ()))

    def signal_fingerprint(self, name: str, derivation: int = 0) -> str:
        """Hex sha256 of what the samples of one modality depend on, whatever else is read."""
        signal_fingerprint = getattr(self._source, "signal_fingerprint", None)
        if signal_fingerprint is None:
            return self._source.fingerprint()
        return str(signal_fingerprint(name, derivation) if derivation else signal_fingerprint(name))

    def read(self, names: str | Sequence[str] | None = None) -> dict[str, Signal]:
        """Read modalities, by default all, in one pass; those that are missing are left out."""
        present = [name for name in list_modalities(names) if name in self.modalities]
        return self._source.read(present) if present else {}

    def signal(self, name: str, derivation: int = 0) -> Signal:
        """Read one modality with its rate and unit; a KeyError if the recording lacks it.

        ``derivation`` is the place in :attr:`derivations` of the one to read.
        """
        if get_modality(name).name not in self.modalities:
            raise KeyError(f"{name!r}; {describe_recording(self)} has {', '.join(self.modalities)}")
        if not derivation:
            return self._source.read([name])[name]
        kept = self.derivations.get(name, ())
        if derivation not in range(len(kept)):
            raise KeyError(
                f"derivation {derivation!r} of {name!r}; {describe_recording(self)} has "
                f"{', '.join(kept) or 'none'}"
            )
        return self._source.read_derivation(name, derivation)  # type: ignore[attr-defined]

    def filled_epochs(self) -> dict[str, int]:
        """Epochs of each modality that its further derivations fill; the signals are read for it.

        Empty unless the recording was read with ``derivations="fill"``.
        """
        several = [name for name, labels in self.derivations.items() if len(labels) > 1]
        return self._added_epochs(self.read(several)) if self.derivation_mode == "fill" else {}

    def _added_epochs(self, signals: Mapping[str, Signal]) -> dict[str, int]:
        """Epochs in which the first derivation of a modality, ``signals``, is off, another on."""
        from ._usable import find_good_epochs

        added = {}
        for name, labels in self.derivations.items():
            if self.derivation_mode == "one" or len(labels) < 2:
                continue
            good = first = find_good_epochs(signals[name], name, self.n_epochs)
            for index in range(1, len(labels)):
                if not good.all():
                    other = self.signal(name, index)
                    good = good | find_good_epochs(other, name, self.n_epochs)
            added[name] = int(good.sum() - first.sum())
        return added

    def without(self, *names: str) -> Recording:
        """The same night without some modalities, but one at least; its epochs and labels stay."""
        dropped = {get_modality(name).name for name in names}
        remaining = tuple(name for name in self.modalities if name not in dropped)
        if not remaining:
            raise InvalidRecordingError(
                f"{describe_recording(self)} would have no modality left without "
                f"{', '.join(self.modalities)}. Leave the recording out instead."
            )
        reduced = copy.copy(self)
        reduced.modalities = remaining
        return reduced

    def coverage(self) -> dict[str, float]:
        """Seconds of usable signal per modality: not NaN, not flat, within what a sensor reads.

        Epochs in which one of several derivations is on count, where these are read.
        """
        return self._measure_coverage()[0]

    def to_frame(self) -> pd.DataFrame:
        """A row per modality: ``modality``, ``rate_hz``, ``unit`` and ``hours``; no signal is read.

        Examples
        --------
        >>> from sleep2vec_sklearn import Recording
        >>> Recording({"spo2": ([96.0] * 3600, 1.0)}).to_frame().to_dict("records")
        [{'modality': 'spo2', 'rate_hz': 1.0, 'unit': '%', 'hours': 1.0}]
        """
        import pandas as pd

        layouts = [self._source.layout[name] for name in self.modalities]
        return pd.DataFrame({
            "modality": list(self.modalities), "rate_hz": [layout.rate for layout in layouts],
            "unit": [layout.unit for layout in layouts],
            "hours": [layout.duration / 3600 for layout in layouts],
        })  # fmt: skip

    def _measure_coverage(self) -> tuple[dict[str, float], dict[str, int]]:
        """:meth:`coverage`, and the epochs of it that further derivations add, in one pass."""
        signals = self.read()
        seconds = {
            name: usable_seconds(signal, get_modality(name), self.duration)
            for name, signal in signals.items()
        }
        added = self._added_epochs(signals)
        for name, n_epochs in added.items():
            seconds[name] += float(n_epochs * EPOCH_SECONDS)
        return seconds, added


def keep_signals(recording: Recording, signals: Mapping[str, Signal] | None = None) -> Recording:
    """The same night, of which these signals have been read; by default each is kept once read."""
    kept = copy.copy(recording)
    kept._source = KeptSignals(recording._source, signals or {}, more=signals is None)
    return kept


def as_recording(element: Any, index: int | str | None = None) -> Recording:
    """Take a Recording as it is and make one of a plain dict.

    Raises
    ------
    InvalidRecordingError
        If the element is neither, or a dict that cannot be a recording; names its index.

    Examples
    --------
    >>> from sleep2vec_sklearn.recordings import as_recording
    >>> as_recording({"spo2": [96.0] * 480})
    Recording(4 epochs, spo2)
    """
    if isinstance(element, Recording):
        return element
    name = describe_recording(None, index)
    if not isinstance(element, Mapping):
        raise InvalidRecordingError(
            f"{name} is a {type(element).__name__}; accepted are a Recording or a dict of "
            "modality to samples, e.g. {'eeg': samples, 'spo2': None}. Read a file by "
            "read_recording(path)."
        )
    with prefix_errors(name):
        return Recording(element)


def describe_recording(recording: Recording | None, index: int | str | None = None) -> str:
    """How errors name a recording: its index in X, its id, both, or neither."""
    text = "recording" if index is None else f"recording {index}"
    name = getattr(recording, "id", None)
    return text if name is None else f"{text} ({name})"


@contextmanager
def prefix_errors(name: str | None) -> Iterator[None]:
    """Begin the errors about a recording with its name."""
    try:
        yield
    except InvalidRecordingError as error:
        if name is not None:
            error.args = (f"{name}: {error}",)
        raise


def name_subjects(recordings: Sequence[Recording]) -> np.ndarray:
    """Subject of each recording, else its id or index; see :func:`as_names`."""
    return as_names([r.id if r.subject is None else r.subject for r in recordings])


def as_names(names: Sequence[Any]) -> np.ndarray:
    """Object array of names that can be sorted, as grouping needs it; None stands for an index."""
    if all(name is None for name in names):
        names = range(len(names))
    else:
        # a bare index could be another's name
        names = [describe_recording(None, i) if n is None else n for i, n in enumerate(names)]
        try:
            sorted(set(names))
        except TypeError:
            names = [str(name) for name in names]
    return np.fromiter(names, dtype=object, count=len(names))


def _as_lights(lights: Any) -> tuple[float | None, float | None]:
    """Lights off and on in seconds; a NaN of a table is None."""
    try:
        off, on = (None if light is None or np.isnan(light) else float(light) for light in lights)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise InvalidRecordingError(
            f"lights are {shown(lights)}; accepted are lights-off and lights-on in seconds from "
            "the start of the recording, None for one that is not known. Of clock times "
            "take (pd.Timestamp(off) - pd.Timestamp(start)).total_seconds()."
        ) from None
    if not np.isfinite([light for light in (off, on) if light is not None]).all():
        raise InvalidRecordingError(
            f"lights are {shown(lights)}; accepted are finite seconds or None. Pass None for one "
            "that is not known."
        )
    return off, on


def _check_mapping(signals: Any) -> Mapping[str, Any]:
    if isinstance(signals, Recording):
        raise InvalidRecordingError(
            "signals is a Recording already, whose rates, units and labels would be lost. Use it "
            "as it is, or pass recording.read(), which has its rates and units."
        )
    if not isinstance(signals, Mapping):
        fix = "Wrap a bare array, e.g. {'eeg': samples}."
        for member, constructor in (("iloc", "from_dataframe"), ("get_data", "from_mne")):
            fix = f"Use Recording.{constructor}." if hasattr(signals, member) else fix
        kind = type(signals).__name__
        raise InvalidRecordingError(
            f"signals must be a mapping of modality to samples, got {kind}. {fix}"
        )
    return signals


def _reader(module: str) -> Any:
    """A module of the room of readers, which builds on this one, for the labels of channels."""
    return import_module(f"..readers.{module}", __package__)
