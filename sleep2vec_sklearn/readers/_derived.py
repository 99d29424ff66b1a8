# SPDX-License-Identifier: BSD-3-Clause
"""Modalities that a file does not hold but its sensors imply: ``ibi`` and ``resp``.

================  ============================================================
modality          derived from, the first that the file has
================  ============================================================
ibi               ecg (R peaks), ppg (pulse onsets)
resp              effort (belt), airflow, ecg (size of the R waves)
================  ============================================================

How is told in :mod:`~sleep2vec_sklearn.recordings.derivation`. A source faster than its modality's
minimum rate is needed, as for reading it. A derived series is no second sensor: it shows what its
source shows, and fails when that fails.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

import numpy as np

from ..recordings import MODALITIES, Signal, SignalLayout, get_modality, list_modalities
from ._scoring import Scoring

__all__ = [
    "RECIPES",
    "DerivedSource",
    "Recipe",
    "choose_recipes",
    "sources_of",
]

DERIVATION_REVISION = 1
SERIES_RATE = 4.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one modality comes from another.

    Attributes
    ----------
    name : str
        What is derived.
    source : str
        What from.
    how : str
        In words.
    """

    name: str
    source: str
    how: str


RECIPES = (
    Recipe("ibi", "ecg", "R peaks"),
    Recipe("ibi", "ppg", "pulse onsets"),
    Recipe("resp", "effort", "the breathing band of the belt"),
    Recipe("resp", "airflow", "the breathing band of the flow"),
    Recipe("resp", "ecg", "size of the R waves"),
)


def choose_recipes(layout: Mapping[str, SignalLayout], left_out: Sequence[str] = ()):
    """Say what can be derived from what a file holds.

    Parameters
    ----------
    layout : mapping of str to SignalLayout
        What it holds.
    left_out : sequence of str
        Modalities that shall not be derived.

    Returns
    -------
    dict of str to Recipe
        At most one per modality, none for those the file has itself.
    """
    chosen: dict[str, Recipe] = {}
    for recipe in RECIPES:
        known = recipe.name in layout or recipe.name in left_out
        source = layout.get(recipe.source)
        if not known and source is not None and _fast_enough(recipe.source, source.rate):
            chosen.setdefault(recipe.name, recipe)
    return chosen


def _fast_enough(name: str, rate: float) -> bool:
    return rate >= (get_modality(name).conditioning.min_rate or 0)


def sources_of(names: Sequence[str]) -> list[str]:
    """The modalities that some of ``names`` may be derived from, and those names themselves."""
    needed = {recipe.source for recipe in RECIPES if recipe.name in names}
    return [name for name in MODALITIES if name in needed or name in names]


class DerivedSource:
    """A file's signals and, beside them, the modalities they imply.

    Nothing is derived before it is asked for; then the source is read once, with whatever else is
    asked for at the same time.

    Parameters
    ----------
    source : EdfSource, NpzSource or MneSource
        The file.
    recipes : mapping of str to Recipe
        What is derived; see :func:`choose_recipes`.
    modalities : sequence of str, optional
        Only these are shown; others may serve as sources.

    Attributes
    ----------
    notes : tuple of str
        The file's, and one per derived modality.
    """

    def __init__(
        self, source, recipes: Mapping[str, Recipe], modalities: Sequence[str] | None = None
    ):
        self.source = source
        shown = list_modalities(modalities)
        self.recipes = {name: recipes[name] for name in MODALITIES if name in recipes}
        own = dict(source.layout)
        n_samples = int(source.duration * SERIES_RATE + 1e-6)
        for name in self.recipes:
            own[name] = SignalLayout(SERIES_RATE, get_modality(name).unit, n_samples)
        self.layout = {name: own[name] for name in MODALITIES if name in own and name in shown}
        self.notes = tuple(source.notes) + tuple(
            f"{name}: derived from {recipe.source} ({recipe.how})"
            for name, recipe in self.recipes.items()
        )

    @property
    def derived(self) -> tuple[str, ...]:
        """The modalities that the file does not hold itself."""
        return tuple(self.recipes)

    @property
    def duration(self) -> float:
        """Seconds of the file."""
        return self.source.duration

    @property
    def start(self) -> datetime | None:
        """Clock time of the first sample."""
        return self.source.start

    @property
    def metadata(self) -> dict:
        """What the file says of the person."""
        return self.source.metadata

    @property
    def files(self) -> tuple[Path, ...]:
        """What fingerprints are made from."""
        return self.source.files

    def own_scoring(self) -> Scoring:
        """The file's own stages and events."""
        return self.source.own_scoring()

    def read(self, names: Sequence[str]) -> dict[str, Signal]:
        """Read and derive these modalities in one pass over the file."""
        needed = {self.recipes[n].source if n in self.recipes else n for n in names}
        read = self.source.read([name for name in MODALITIES if name in needed])
        peaks = _Peaks(read)
        return {
            name: self._derive(self.recipes[name], read, peaks)
            if name in self.recipes
            else read[name]
            for name in names
        }

    def fingerprint(self) -> str:
        """sha256 of the files, of what is read from them, and of what is derived how."""
        return _hash(("all", *self.layout), *(self.signal_fingerprint(n) for n in self.layout))

    def signal_fingerprint(self, name: str) -> str:
        """sha256 of what one modality's samples depend on; the file's own if it holds it."""
        if name not in self.recipes:
            return self.source.signal_fingerprint(name)
        recipe = self.recipes[name]
        version = _detector_version() if recipe.source == "ecg" else ""
        settings = (DERIVATION_REVISION, name, recipe.source, version, self.layout[name].n_samples)
        return _hash(settings, self.source.signal_fingerprint(recipe.source))

    def _derive(self, recipe: Recipe, read: dict[str, Signal], peaks: _Peaks) -> Signal:
        from ..recordings import derivation

        signal = read[recipe.source]
        values, rate = signal.values, signal.rate
        if recipe.source == "ecg":
            derive = {"ibi": derivation.ibi_from_ecg, "resp": derivation.resp_from_ecg}
            series, _ = derive[recipe.name](values, rate, peaks=peaks.of_ecg())
        elif recipe.name == "ibi":
            series, _ = derivation.ibi_from_ppg(values, rate)
        else:
            series, _ = derivation.resp_from_breathing(values, rate)
        fitted = np.full(self.layout[recipe.name].n_samples, np.nan, dtype=np.float32)
        fitted[: len(series)] = series[: len(fitted)]
        fitted.flags.writeable = False
        return Signal(fitted, SERIES_RATE, get_modality(recipe.name).unit)


class _Peaks:
    """The R peaks of one pass, found once for all that is derived from them."""

    def __init__(self, read: Mapping[str, Signal]):
        self._read = read
        self._found: np.ndarray | None = None

    def of_ecg(self) -> np.ndarray:
        if self._found is None:
            from ..recordings.derivation import find_r_peaks

            ecg = self._read["ecg"]
            self._found = find_r_peaks(ecg.values, ecg.rate)
        return self._found


@cache
def _detector_version() -> str:
    try:
        return importlib.metadata.version("sleepecg")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _hash(settings, *fingerprints: str) -> str:
    digest = hashlib.sha256(repr(("derived", settings)).encode())
    for fingerprint in fingerprints:
        digest.update(fingerprint.encode())
    return digest.hexdigest()
