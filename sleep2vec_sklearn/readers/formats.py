# SPDX-License-Identifier: BSD-3-Clause
"""Sources by file format, and the modalities derived from their channels: ``ibi`` and ``resp``.

================  ============================================================
modality          derived from, the first that the file has
================  ============================================================
ibi               ecg (R peaks), ppg (pulse onsets)
resp              effort (belt), airflow, ecg (size of the R waves)
================  ============================================================

The methods are those of :mod:`~sleep2vec_sklearn.recordings.derivation`. The source needs its own
minimum rate. A derived series is no second sensor: it shows what its source shows, and fails when
that fails.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .._files import sha256
from ..errors import ReadError
from ..recordings import derivation
from ..recordings.modality import MODALITIES, get_modality, list_modalities
from ..recordings.sources import Signal, SignalLayout
from ._boundary import as_path, check_file, only_read_errors
from ._edf_header import read_header
from ._montage import check_derivations, pick_montage
from ._scoring import Scoring
from .edf import EdfSource, list_edf_channels
from .mne import MNE_SUFFIXES, MneSource, list_mne_channels
from .npz import NpzSource, describe_arrays
from .wearables import WEARABLE_SUFFIXES, WearableSource, is_wearable, joint_path

DERIVATION_REVISION = 1
SERIES_RATE = 4.0
_EDF_SUFFIXES = (".edf", ".rec", ".bdf")
SUFFIXES = (*_EDF_SUFFIXES, ".npz", *MNE_SUFFIXES, *WEARABLE_SUFFIXES)
_COLUMNS = ["label", "modality", "rate", "unit", "used", "why"]
_FileSource = EdfSource | NpzSource | MneSource | WearableSource


def describe_channels(path: str | PathLike[str], *, derivations: str = "one") -> pd.DataFrame:
    """Table of the channels of a recording, and of the modality that each is read as.

    Rows of derived modalities follow those of the file, with "(derived)" after the channel's label.

    Parameters
    ----------
    path : path-like
        EDF, EDF+, BDF, NPZ, a file of a wearable, or anything MNE-Python reads.
    derivations : {"one", "fill", "all"}, default="one"
        As in :func:`read_recording`: whether further derivations of a modality are used.

    Returns
    -------
    DataFrame
        Columns ``label``, ``modality`` (empty for none), ``rate`` in Hz, ``unit`` as the file
        states it, ``used`` and ``why``.

    Raises
    ------
    ReadError
        If the file cannot be read.

    Examples
    --------
    >>> from sleep2vec_sklearn import describe_channels, make_sleep_cohort
    >>> from sleep2vec_sklearn.datasets import write_edf_cohort
    >>> names = ["eeg", "effort"]
    >>> night = make_sleep_cohort(1, hours=0.5, modalities=names, missing=0, random_state=0)
    >>> path = write_edf_cohort(night, "study")[0]
    >>> describe_channels(path)[["label", "modality", "rate", "used"]]
                    label modality   rate  used
    0               C3-M2      eeg  256.0  True
    1            THOR RES   effort   32.0  True
    2  THOR RES (derived)     resp    4.0  True
    """
    path = as_path(path)
    check_derivations(derivations)
    with only_read_errors(path, "the reader of recordings"):
        return ChannelTable(_describe(path, derivations), columns=_COLUMNS)


def _describe(path: Path, derivations: str) -> list[tuple[Any, ...]]:
    suffix = path.suffix.lower()
    _check_file(path)
    if suffix == ".npz" or is_wearable(path):
        rows: list[Any] = (
            describe_arrays(path) if suffix == ".npz" else WearableSource(path).describe()
        )
        used_rows = {row[1]: row for row in rows if row[1] and row[4]}
    else:
        edf = suffix in _EDF_SUFFIXES
        channels = list_edf_channels(read_header(path)) if edf else list_mne_channels(path)
        montage = pick_montage(channels, mode=derivations, where=str(path), strict=False)
        rows = [
            (channel.label, modality or "", channel.rate, channel.dimension, used, why)
            for channel, (modality, used, why) in zip(channels, montage.reasons, strict=True)
        ]
        used_rows = {name: rows[d.channel.index] for name, d in montage.derivations.items()}
    layout = {name: SignalLayout(row[2], "", 0) for name, row in used_rows.items()}
    for name, recipe in choose_recipes(layout).items():
        label = f"{used_rows[recipe.source][0]} (derived)"
        why = f"derived from {recipe.source}: {recipe.method}"
        rows.append((label, name, SERIES_RATE, get_modality(name).unit, True, why))
    return rows


class ChannelTable(pd.DataFrame):
    """A DataFrame that prints in full, without its index."""

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def __repr__(self) -> str:
        shown = pd.DataFrame(self).assign(used=["yes" if used else "no" for used in self["used"]])
        for column in shown.columns.difference(["rate"]):
            texts = shown[column].astype(str)
            width = max([len(column), *texts.str.len()])
            shown[column] = texts.str.ljust(width)
        return shown.to_string(index=False, justify="left", max_colwidth=None)


@dataclass(frozen=True, slots=True)
class ReadSettings:
    """How the files of a night or a cohort are read; see :func:`read_recording`.

    ``coding`` is that of integer stages in a cohort, and whether it is clear.
    """

    modalities: str | Sequence[str] | None = None
    channels: Mapping[str, Any] | None = None
    units: Mapping[str, str] | None = None
    derivations: str = "one"
    derive: bool = True
    scorer: str | None = None
    columns: Mapping[str, Any] | None = None
    timezone: str | None = None
    coding: tuple[str, bool] | None = None


def open_source(
    path: Path | Sequence[Path], settings: ReadSettings | None = None
) -> _FileSource | DerivedSource:
    """Open a recording with the reader of its suffix, and derive further modalities."""
    settings = settings or ReadSettings()
    check_derivations(settings.derivations)
    first = path if isinstance(path, Path) else joint_path(path)
    with only_read_errors(first, "the reader of recordings"):
        return _open(path, settings)


def _open(path: Path | Sequence[Path], settings: ReadSettings) -> _FileSource | DerivedSource:
    channels = settings.channels
    if not isinstance(path, Path) or is_wearable(path):
        return WearableSource(
            path, modalities=settings.modalities, channels=channels, columns=settings.columns,
            timezone=settings.timezone,
        )  # fmt: skip
    _check_file(path)
    readers: dict[str, type] = dict.fromkeys(_EDF_SUFFIXES, EdfSource) | {".npz": NpzSource}
    reader = readers.get(path.suffix.lower(), MneSource)
    open_file: Callable[..., _FileSource] = partial(
        reader, path, channels=channels, units=settings.units, derivations=settings.derivations
    )
    if not settings.derive:
        return open_file(modalities=settings.modalities)
    wanted = list_modalities(settings.modalities)
    everything = settings.modalities is None
    needed = [*wanted, *(recipe.source for recipe in RECIPES if recipe.name in wanted)]
    source = add_derived(open_file(modalities=None if everything else needed), wanted, channels)
    return source if {*source.layout} <= {*wanted} else open_file(modalities=wanted)


def add_derived(
    source: _FileSource, wanted: Sequence[str], channels: Mapping[str, Any] | None
) -> _FileSource | DerivedSource:
    """The source with those of the wanted modalities that can be derived from it."""
    named = {get_modality(name).name for name in channels or {}}
    recipes = choose_recipes(source.layout, {*MODALITIES} - {*wanted} | named)
    return DerivedSource(source, recipes, wanted) if recipes else source


def _check_file(path: Path) -> None:
    if not path.exists():
        raise ReadError(f"{path}: no such file. Check the path.")
    if not path.is_dir():
        check_file(path)
    elif path.suffix.lower() not in MNE_SUFFIXES:
        raise ReadError(
            f"{path}: a folder; accepted here are files of recordings. Read a folder by "
            "read_cohort(folder), several of them by a list of their files, as in "
            "sorted(Path(folder).rglob('*.edf'))."
        )


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the modality ``name`` is derived from ``source``."""

    name: str
    source: str
    method: str
    derive: Callable[..., tuple[np.ndarray, float]]


RECIPES = (
    Recipe("ibi", "ecg", "R peaks", derivation.ibi_from_ecg),
    Recipe("ibi", "ppg", "pulse onsets", derivation.ibi_from_ppg),
    Recipe("resp", "effort", "the breathing band of the belt", derivation.resp_from_breathing),
    Recipe("resp", "airflow", "the breathing band of the flow", derivation.resp_from_breathing),
    Recipe("resp", "ecg", "size of the R waves", derivation.resp_from_ecg),
)


def choose_recipes(
    layout: Mapping[str, SignalLayout], excluded: Collection[str] = ()
) -> dict[str, Recipe]:
    """The first recipe of each modality that a file does not hold but allows."""
    chosen: dict[str, Recipe] = {}
    for recipe in RECIPES:
        source = layout.get(recipe.source)
        if source is None or recipe.name in layout or recipe.name in excluded:
            continue
        if source.rate >= (get_modality(recipe.source).conditioning.min_rate or 0):
            chosen.setdefault(recipe.name, recipe)
    return chosen


class DerivedSource:
    """The signals of a file and, from :meth:`read` on, the modalities derived from them."""

    def __init__(
        self, source: _FileSource, recipes: Mapping[str, Recipe],
        modalities: Sequence[str] = tuple(MODALITIES),
    ):  # fmt: skip
        self.source = source
        self.duration: float = source.duration
        self.start: datetime | None = source.start
        self.metadata: dict[str, Any] = source.metadata
        self.files: tuple[Path, ...] = source.files
        self.recipes = {name: recipes[name] for name in MODALITIES if name in recipes}
        self.derived = tuple(self.recipes)
        n_samples = int(source.duration * SERIES_RATE + 1e-6)
        layout = dict(source.layout) | {
            name: SignalLayout(SERIES_RATE, get_modality(name).unit, n_samples) for name in recipes
        }
        self.layout = {n: layout[n] for n in MODALITIES if n in layout and n in modalities}
        derived = self.recipes.items()
        self.notes = (
            *source.notes,
            *(f"{n}: derived from {r.source} ({r.method})" for n, r in derived),
        )

    @property
    def derivations(self) -> dict[str, tuple[str, ...]]:
        """Those of the file's modalities."""
        return getattr(self.source, "derivations", {})

    @property
    def derivation_mode(self) -> str:
        return getattr(self.source, "derivation_mode", "one")

    def read_derivation(self, name: str, index: int) -> Signal:
        return self.source.read_derivation(name, index)  # type: ignore[union-attr]

    def own_scoring(self) -> Scoring:
        return self.source.own_scoring()

    def read(self, names: Sequence[str]) -> dict[str, Signal]:
        """Read and derive these modalities in one pass over the file."""
        path = self.files[0] if self.files else Path(type(self.source).__name__)
        with only_read_errors(path, "the derivation of modalities"):
            return self._read(names)

    def _read(self, names: Sequence[str]) -> dict[str, Signal]:
        needed = {self.recipes[n].source if n in self.recipes else n for n in names}
        signals = self.source.read([name for name in MODALITIES if name in needed])
        derived = [self.recipes[name] for name in names if name in self.recipes]
        options: dict[str, dict[str, Any]] = {}
        if any(recipe.source == "ecg" for recipe in derived):
            # once for both series
            peaks = derivation.find_r_peaks(signals["ecg"].values, signals["ecg"].rate)
            options["ecg"] = {"peaks": peaks}
        for recipe in derived:
            source = signals[recipe.source]
            series, _ = recipe.derive(source.values, source.rate, **options.get(recipe.source, {}))
            fitted = np.full(self.layout[recipe.name].n_samples, np.nan, dtype=np.float32)
            fitted[: len(series)] = series[: len(fitted)]
            fitted.flags.writeable = False
            signals[recipe.name] = Signal(fitted, SERIES_RATE, get_modality(recipe.name).unit)
        return {name: signals[name] for name in names}

    def fingerprint(self) -> str:
        """sha256 of the files, of what is read from them, and of how it is derived."""
        # of "one", the derivations are in the settings of the first, whichever is read
        kept = {} if self.derivation_mode == "one" else self.derivations
        parts = [(name, i) for name in self.layout for i in range(len(kept.get(name, ())) or 1)]
        return _hash(("all", *self.layout), *(self.signal_fingerprint(*part) for part in parts))

    def signal_fingerprint(self, name: str, derivation: int = 0) -> str:
        """sha256 of what one modality's samples depend on; the file's own if it holds it."""
        if name not in self.recipes:
            return self.source.signal_fingerprint(name, derivation)
        recipe = self.recipes[name]
        version = _detector_version() if recipe.source == "ecg" else ""
        settings = (DERIVATION_REVISION, name, recipe.source, version, self.layout[name].n_samples)
        return _hash(settings, self.source.signal_fingerprint(recipe.source))


@cache
def _detector_version() -> str:
    try:
        return importlib.metadata.version("sleepecg")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _hash(settings: tuple[Any, ...], *fingerprints: str) -> str:
    return sha256(repr(("derived", settings)), *fingerprints)
