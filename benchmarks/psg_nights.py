# SPDX-License-Identifier: BSD-3-Clause
"""Simulated nights of a polysomnogram, sensors that they lose, and an encoder's rows of them.

A night is simulated once: every sensor's tokens go to a folder, from which the rows of any subset
of sensors are made without reading a signal again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed

from benchmarks.psg_features import WIDTHS
from benchmarks.psg_hand_made import HandMade
from sleep2vec_sklearn import (
    EpochSequence,
    Recording,
    Sleep2VecTransformer,
    make_sleep_cohort,
)
from sleep2vec_sklearn.model.checkpoint import Checkpoint
from sleep2vec_sklearn.recordings import (
    EPOCH_SECONDS,
    Cohort,
    Signal,
    SignalLayout,
)

MODALITIES = tuple(WIDTHS)
SITES = 6
SEED = 20261123
_NIGHTS_PER_JOB = 4


def simulated_psg(
    n_nights: int, modalities: Sequence[str] = MODALITIES, *, hours: float = 8.0
) -> Cohort:
    """One night each of people, and from laboratories, that no encoder was pretrained on."""
    return make_sleep_cohort(
        n_nights,
        hours=hours,
        n_sites=SITES,
        site_kinds="laboratory",
        modalities=modalities,
        missing=0.0,
        random_state=SEED,
    )


class _OtherSamples:
    """A source that gives the samples of a recording in another way."""

    def __init__(self, recording: Recording):
        self.recording = recording

    @property
    def layout(self) -> dict[str, SignalLayout]:
        night = self.recording
        return {
            name: SignalLayout(rate, night.units[name], round(night.duration * rate))
            for name, rate in night.rates.items()
        }

    def read(self, names: Sequence[str]) -> dict[str, Signal]:
        return self.recording.read(names)

    def signal_fingerprint(self, name: str) -> str:
        return self.recording.signal_fingerprint(name)

    def fingerprint(self) -> str:
        parts = [self.signal_fingerprint(name) for name in self.recording.modalities]
        return hashlib.sha256("".join(parts).encode()).hexdigest()

    def as_recording(self) -> Recording:
        """The night with these samples."""
        night = self.recording
        return Recording.from_source(
            self,
            subject=night.subject,
            metadata=night.metadata,
            stages=night.stages,
            duration=night.duration,
            id=night.id,
        )


class _Kept(_OtherSamples):
    """The samples themselves, each sensor read once."""

    def __init__(self, recording: Recording):
        super().__init__(recording)
        self._signals = recording.read()

    def read(self, names: Sequence[str]) -> dict[str, Signal]:
        return {name: self._signals[name] for name in names}


class _Interrupted(_OtherSamples):
    """The samples with gaps: first and last epoch by sensor."""

    def __init__(self, recording: Recording, gaps: Mapping[str, tuple[int, int]]):
        super().__init__(recording)
        self.gaps = dict(gaps)

    def read(self, names: Sequence[str]) -> dict[str, Signal]:
        signals = self.recording.read(names)
        for name in set(names) & set(self.gaps):
            signal = signals[name]
            values = signal.values.astype(np.float32)
            first, last = (round(edge * EPOCH_SECONDS * signal.rate) for edge in self.gaps[name])
            values[first:last] = np.nan
            signals[name] = Signal(values, signal.rate, signal.unit)
        return signals

    def signal_fingerprint(self, name: str) -> str:
        fingerprint = self.recording.signal_fingerprint(name)
        if name not in self.gaps:
            return fingerprint
        return hashlib.sha256(f"{fingerprint} without {self.gaps[name]}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Loss:
    """How sensors are lost at random, the same way at every call.

    Attributes
    ----------
    probability : float
        That a sensor of a night is hit; one is always left alone.
    share : float
        Part of the night that it is off for, one stretch; 1 for all of it.
    """

    probability: float
    share: float = 1.0

    def __str__(self) -> str:
        part = "the night" if self.share == 1 else f"{self.share:.0%} of the night"
        return f"each sensor lost for {part} with p = {self.probability:g}"

    def apply(self, recording: Recording) -> Recording:
        """The night with its losses."""
        names = recording.modalities
        seed = int(recording.signal_fingerprint(names[0])[:12], 16)
        rng = np.random.default_rng([seed, round(1000 * self.probability)])
        hit = rng.random(len(names)) < self.probability
        hit[rng.integers(len(names))] = False
        lost = [name for name, is_hit in zip(names, hit, strict=True) if is_hit]
        if self.share == 1:
            return recording.without(*lost) if lost else recording
        length = round(recording.n_epochs * self.share)
        firsts = rng.integers(0, recording.n_epochs - length + 1, size=len(lost))
        gaps = {n: (int(k), int(k) + length) for n, k in zip(lost, firsts, strict=True)}
        return _Interrupted(recording, gaps).as_recording()


@dataclass(frozen=True, slots=True)
class EncoderRows:
    """Rows of a frozen encoder, as :class:`HandMade` gives those of hand-made features.

    Attributes
    ----------
    name : str
        What tables call it.
    checkpoint : Checkpoint
        Config and weights.
    fusion : {"concat", "mean"}
        As of the transformer.
    cache : str
        Folder of tokens.
    """

    name: str
    checkpoint: Checkpoint
    fusion: str
    cache: str

    def prepare(self, recordings: Sequence[Recording]) -> dict:
        """Bring the tokens of every sensor of these nights into the cache."""
        self.epochs(recordings, recordings[0].modalities)
        return {}

    def epochs(self, recordings: Sequence[Recording], modalities: Sequence[str]) -> np.ndarray:
        """Rows of all epochs, float32."""
        return self._transformer(modalities).fit_transform(EpochSequence(recordings))

    def nights(self, recordings: Sequence[Recording], modalities: Sequence[str]) -> np.ndarray:
        """A row per night: mean and spread over its epochs."""
        return self._transformer(modalities, pooling="mean_std").fit_transform(list(recordings))

    def _transformer(self, modalities: Sequence[str], **parameters) -> Sleep2VecTransformer:
        return Sleep2VecTransformer(
            self.checkpoint,
            modalities=list(modalities),
            fusion=self.fusion,
            cache=self.cache,
            **parameters,
        )


def prepare(
    cohort: Cohort, encoders: Sequence[EncoderRows], losses: Sequence[Loss], n_jobs: int
) -> HandMade:
    """Simulate every night once, encode it, and make its hand-made features."""
    starts = range(0, len(cohort), _NIGHTS_PER_JOB)
    jobs = (cohort[start : start + _NIGHTS_PER_JOB] for start in starts)
    tables = Parallel(n_jobs=n_jobs)(
        delayed(_prepare_nights)(list(nights), encoders, losses) for nights in jobs
    )
    return HandMade({key: value for part in tables for key, value in part.items()})


def _prepare_nights(nights, encoders, losses) -> dict:
    features = HandMade()
    for night in nights:
        kept = _Kept(night).as_recording()
        variants = [kept, *(loss.apply(kept) for loss in losses if loss.share < 1)]
        for rows in (*encoders, features):
            for variant in variants:
                rows.prepare([variant])
    return features.tables
