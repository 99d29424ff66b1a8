# SPDX-License-Identifier: BSD-3-Clause
"""Simulated cohorts: nights of subjects as the sensors of several sites record them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter1d
from scipy.signal import butter, sosfilt

from ..._arguments import check_number
from ..._files import sha256
from ...recordings.cohort import Cohort
from ...recordings.modality import EPOCH_SECONDS, MODALITIES, list_modalities
from ...recordings.recording import Recording
from ...recordings.sources import Signal, SignalLayout
from .._files import as_cohort
from ._cardiorespiratory import airflow, ecg, effort, ibi, ppg, resp, spo2
from ._neurophysiology import eeg, emg, eog
from ._night import Night, ar1_noise, draw_night
from ._subjects import SITE_KINDS, draw_outcomes, draw_site, draw_subject, seed_from

# part of every fingerprint; raised when a change alters the samples of a seed
SIMULATION_REVISION = 6

_DEFAULT_KINDS = ("full_laboratory", "laboratory", "wearable", "watch_laboratory", "home")
_APNEA_AHI = 15
_MOST_SIMULATED = 1_000_000
_PER_MICROVOLT = {"uV": 1.0, "mV": 1e-3, "V": 1e-6}
_VOLTAGES = ("eeg", "eog", "emg", "ecg")
_FLAT_WHEN_OFF = ("eeg", "eog", "emg", "ecg", "airflow", "effort", "ppg", "actigraphy")
_COUNT_THRESHOLD = 0.08
_COUNT_SATURATION = 4.0


def make_sleep_cohort(
    n_subjects: int = 20, *, nights_per_subject: int = 1, hours: float = 8.0, n_sites: int = 2,
    site_kinds: Sequence[str] | None = None, modalities: Sequence[str] | None = None,
    missing: float = 0.15,
    random_state: int | np.random.Generator | np.random.RandomState | None = None,
) -> Cohort:  # fmt: skip
    """Simulate a cohort of sleep recordings with stages, events and outcomes.

    The recordings are lazy: each holds a few kB and makes its signals when they are read, so a
    thousand nights fit in memory. Samples of a modality do not depend on which others are read.
    No parameter is fitted to an individual recording.

    Parameters
    ----------
    n_subjects : int, default=20
        Number of subjects, spread evenly over the sites.
    nights_per_subject : int, default=1
        Nights of each subject, all at the same site.
    hours : float, default=8.0
        Length of every night; rounded to whole 30-s epochs.
    n_sites : int, default=2
        Number of sites. They differ in sensors, sampling rates, units, gain, filters and hum.
    site_kinds : sequence of str, optional
        Kinds the sites take in turn: "laboratory" (nine modalities), "full_laboratory" (all),
        "watch_laboratory" (polysomnography with a smart watch), "home" (no EEG) and "wearable"
        (a watch's heart rate and activity counts). By default two laboratories come first, then
        the other kinds, where they record any of ``modalities``.
    modalities : sequence of str, optional
        Restrict the sensors; all that a site has by default.
    missing : float, default=0.15
        Probability that a sensor is missing for a night; half of it, that it is off for part of
        the night.
    random_state : int, Generator, RandomState or None, default=None
        Seed. With an int, subject k is the same for any ``n_subjects``.

    Returns
    -------
    Cohort
        Recordings with ids such as ``"sim-0001-n1"``; ``stages`` as a scorer sees them;
        ``events`` (obstructive_apnea, hypopnea, arousal, desaturation). Columns of ``metadata``:
        subject, night, site, age, sex, bmi, ahi, apnea (AHI >= 15), hypertension,
        survival_time (years), event (died; else censored).

    Raises
    ------
    ValueError
        If a number is out of range, a kind of site is unknown, or none records ``modalities``.
    UnknownModalityError
        If a modality is not in the catalogue.

    Examples
    --------
    >>> from sleep2vec_sklearn import make_sleep_cohort
    >>> cohort = make_sleep_cohort(4, hours=1, random_state=0)
    >>> len(cohort), cohort[0].n_epochs
    (4, 120)
    """
    # by hand, because scikit-learn's constraints take a second to import
    most = _MOST_SIMULATED
    n_subjects = check_number("n_subjects", n_subjects, 1, most, whole=True)
    nights_per_subject = check_number("nights_per_subject", nights_per_subject, 1, most, whole=True)
    n_sites = check_number("n_sites", n_sites, 1, most, whole=True)
    hours = check_number("hours", hours, 0.25, 24)
    missing = check_number("missing", missing, 0, 1, below=True)
    requested = set(list_modalities(modalities))
    if not requested:
        raise ValueError("modalities is empty; pass None for all that a site records.")
    seed = seed_from(random_state)
    kinds = _select_kinds(site_kinds, requested)
    sites = [draw_site(seed, k + 1, kinds[k % len(kinds)]) for k in range(n_sites)]
    n_epochs = round(hours * 3600 / EPOCH_SECONDS)
    recordings = []
    for index in range(1, n_subjects + 1):
        subject = draw_subject(seed, index)
        outcomes = draw_outcomes(seed, index, subject)
        site = sites[(index - 1) % n_sites]
        for number in range(1, nights_per_subject + 1):
            night = draw_night((seed, index, number), subject, site, n_epochs)
            metadata = {
                "subject": subject.id, "night": number, "site": site.name, "age": subject.age,
                "sex": subject.sex, "bmi": subject.bmi, "ahi": round(float(night.ahi), 1),
                "apnea": int(night.ahi >= _APNEA_AHI), "hypertension": outcomes.hypertension,
                "survival_time": outcomes.survival_time, "event": outcomes.event,
            }  # fmt: skip
            recordings.append(_make_recording(night, metadata, requested, missing))
    return as_cohort(recordings)


def _select_kinds(site_kinds: Sequence[str] | None, requested: Set[str]) -> tuple[str, ...]:
    kinds = _DEFAULT_KINDS if site_kinds is None else site_kinds
    kinds = (kinds,) if isinstance(kinds, str) or not isinstance(kinds, Sequence) else tuple(kinds)
    unknown = [kind for kind in kinds if not isinstance(kind, str) or kind not in SITE_KINDS]
    if unknown or not kinds:
        raise ValueError(
            f"site_kinds has {', '.join(map(repr, unknown)) or 'no entry'}; accepted are "
            f"{', '.join(SITE_KINDS)}."
        )
    useless = [kind for kind in kinds if not requested & set(SITE_KINDS[kind])]
    if len(useless) == len(kinds) or (site_kinds is not None and useless):
        names = ", ".join(name for name in MODALITIES if name in requested)
        raise ValueError(
            f"a {useless[0]!r} site records {', '.join(SITE_KINDS[useless[0]])}, and none of the "
            f"modalities asked for ({names}). Leave that kind out of site_kinds or ask for one of "
            "its modalities."
        )
    return tuple(kind for kind in kinds if kind not in useless)


def _make_recording(
    night: Night, metadata: dict[str, Any], requested: Set[str], missing: float
) -> Recording:
    recorded = night.site.modalities
    selected = tuple(name for name in recorded if name in requested)
    rng = night.random_stream("failures")
    present, failures = draw_failures(recorded, selected, night.duration, missing, rng)
    clock = night.random_stream("clock")
    start = datetime(2020, 1, 1, 22, 0) + timedelta(
        days=int(clock.integers(0, 1000)), minutes=int(clock.normal(30, 40))
    )
    lights_off = float(min(clock.uniform(0, 240), night.duration / 10))
    lights_on = float(night.duration - min(clock.uniform(0, 300), night.duration / 10))
    return Recording.from_source(
        SimulatedSource(night, present, failures), subject=metadata["subject"], metadata=metadata,
        stages=night.scored_stages, events=_make_events(night), start=start,
        lights=(round(lights_off), round(lights_on)), duration=night.duration,
        id=f"{metadata['subject']}-n{metadata['night']}",
    )  # fmt: skip


def _make_events(night: Night) -> pd.DataFrame:
    breathing, arousals = night.respiratory, night.arousals
    desaturating = breathing.desaturating
    fall = (breathing.onset + 0.8 * breathing.lag)[desaturating]
    length = breathing.end + breathing.lag - breathing.onset - 0.8 * breathing.lag
    kinds = np.where(breathing.apnea, "obstructive_apnea", "hypopnea")
    columns = {
        "onset": np.concatenate([breathing.onset, arousals.onset, fall]),
        "duration": np.concatenate([breathing.duration, arousals.duration, length[desaturating]]),
        "type": [*kinds, *["arousal"] * len(arousals), *["desaturation"] * len(fall)],
    }
    table = pd.DataFrame(columns)
    return table.round(2).sort_values("onset", kind="stable", ignore_index=True)


@dataclass(frozen=True, slots=True)
class Failure:
    """A sensor that is off from ``start`` to ``stop`` seconds, as a flat line or as NaN."""

    start: float
    stop: float
    flat: bool


class SimulatedSource:
    """Signals of one simulated night, by the sensors that are present, generated on demand."""

    def __init__(
        self, night: Night, modalities: Sequence[str],
        failures: Mapping[str, Failure] | None = None,
    ):  # fmt: skip
        self.night = night
        self.failures = dict(failures or {})
        self._fingerprints: dict[str, str] = {}
        rates = {name: night.site.rate(name) for name in modalities}
        self.layout = {
            name: SignalLayout(rate, night.site.unit(name), round(night.duration * rate))
            for name, rate in rates.items()
        }

    def read(self, names: Sequence[str]) -> dict[str, Signal]:
        signals = {}
        for name in names:
            layout = self.layout[name]
            values = record(self.night, name, self.failures.get(name))
            values.flags.writeable = False
            signals[name] = Signal(values, layout.rate, layout.unit)
        return signals

    def fingerprint(self) -> str:
        """sha256 of the revision, the seed and every parameter that the samples depend on."""
        return self._fingerprint(list(self.layout), self.failures)

    def signal_fingerprint(self, name: str) -> str:
        """The same for one modality, whose samples do not depend on the others."""
        # asked for in every fold of a search
        if name not in self._fingerprints:
            failures = {k: v for k, v in self.failures.items() if k == name}
            self._fingerprints[name] = self._fingerprint([name], failures)
        return self._fingerprints[name]

    def _fingerprint(self, modalities: list[str], failures: Mapping[str, Failure]) -> str:
        night = self.night
        settings = {
            "revision": SIMULATION_REVISION, "seed": night.seed, "n_epochs": len(night.true_stages),
            "subject": asdict(night.subject), "site": asdict(night.site), "modalities": modalities,
            "failures": {name: asdict(failure) for name, failure in failures.items()},
        }  # fmt: skip
        return sha256(json.dumps(settings, sort_keys=True))


def draw_failures(
    modalities: tuple[str, ...], selected: tuple[str, ...], duration: float, chance: float,
    rng: np.random.Generator,
) -> tuple[tuple[str, ...], dict[str, Failure]]:  # fmt: skip
    """Modalities with a signal, and those of them that are off for part of the night."""
    # modalities that are not selected are drawn too, so the selection changes no draw
    draws = rng.random((2, len(modalities)))
    # one sensor works all night
    draws[:, modalities.index(selected[rng.integers(2**31) % len(selected)])] = 1.0
    missing = dict(zip(modalities, draws[0] < chance, strict=True))
    present = tuple(name for name in modalities if name in selected and not missing[name])
    failures = {}
    for name, draw in zip(modalities, draws[1], strict=True):
        length = duration * rng.uniform(0.1, 0.65)
        start = rng.uniform(0, duration) if rng.random() < 0.5 else duration - length
        flat = name in _FLAT_WHEN_OFF and rng.random() < 0.6
        if name in present and draw < chance / 2:
            failures[name] = Failure(start, min(start + length, duration), flat)
    return present, failures


def record(night: Night, name: str, failure: Failure | None = None) -> np.ndarray:
    """Samples of one modality by the site's device, in its unit and at its rate."""
    site = night.site
    rate = site.rate(name)
    signal = GENERATORS[name](night, rate)
    if name in _VOLTAGES:
        signal = _amplify(night, name, signal, rate)
        signal *= np.float32(_PER_MICROVOLT[site.unit(name)])
    if failure is not None:
        span = slice(round(failure.start * rate), round(failure.stop * rate))
        signal[span] = 0 if failure.flat else np.nan
    return signal


def _amplify(night: Night, name: str, signal: np.ndarray, rate: float) -> np.ndarray:
    site = night.site
    rng = night.random_stream(f"{name} amplifier")
    _add_electrode_pops(night, rng, signal, rate)
    signal += np.float32(site.noise) * rng.standard_normal(len(signal), dtype=np.float32)
    if site.line_frequency < rate / 2:
        # one second, repeated: a sine over the whole night costs ten times as much
        second = np.sin(2 * np.pi * site.line_frequency * np.arange(round(rate)) / rate)
        contact = np.exp(0.6 * ar1_noise(rng, night.duration, 900))
        contact *= site.line_amplitude * np.sqrt(2)
        signal += np.outer(contact, second).astype(np.float32).reshape(-1)
    low = min(site.low_pass if name != "emg" else 100.0, 0.45 * rate)
    sections = butter(1, [site.high_pass, low], "bandpass", fs=rate, output="sos")
    signal = sosfilt(sections.astype(np.float32), signal)
    signal *= np.float32(site.gain)
    return signal


def _add_electrode_pops(
    night: Night, rng: np.random.Generator, signal: np.ndarray, rate: float
) -> None:
    """Steps that decay within a second or two, mostly when the body moves."""
    big = night.movements.onset[night.movements.size > 0.5]
    times = np.concatenate(
        [big[rng.random(len(big)) < 0.3], rng.uniform(0, night.duration, rng.poisson(4))]
    )
    axis = np.arange(0, 3, 1 / rate)
    size = rng.choice([-1, 1], len(times)) * rng.gamma(2, 90, len(times))
    for start, height in zip((times * rate).astype(int), size, strict=True):
        span = signal[start : start + len(axis)]
        span += (height * np.exp(-axis[: len(span)] / 0.5)).astype(np.float32)


def actigraphy(night: Night, rate: float) -> np.ndarray:
    """Counts per sample period, a second or half a minute, of shape (duration * rate,)."""
    rng = night.random_stream("actigraphy")
    seconds = np.zeros(night.duration + 64)
    moves = night.movements
    strength = moves.size * np.exp(rng.normal(0, 0.4, len(moves)))
    # some movements spare the wrist
    strength[rng.random(len(moves)) < 0.15] = 0
    length = np.maximum(np.ceil(moves.duration).astype(int), 1)
    index = np.repeat(moves.onset.astype(int), length)
    first = np.repeat(np.cumsum(length) - length, length)
    index = index + np.arange(len(index)) - first
    vigour = np.repeat(strength, length) * rng.gamma(1.5, 1 / 1.5, len(index))
    np.add.at(seconds, np.minimum(index, len(seconds) - 1), vigour)
    seconds = seconds[: night.duration]
    seconds = np.where(seconds > _COUNT_THRESHOLD, seconds / (1 + seconds / _COUNT_SATURATION), 0)
    site = night.site
    period = round(1 / rate)
    if period > 1:
        counts = seconds.reshape(-1, period).sum(axis=1)
    else:
        counts = np.repeat(seconds, round(rate)) / round(rate)
    counts = site.counts_scale * counts
    if site.counts_smoothing > 0:
        # as some pipelines do (Walch et al. 2019, doi:10.1093/sleep/zsz180)
        return gaussian_filter1d(counts, site.counts_smoothing * rate).astype(np.float32)
    return np.round(counts, 0 if site.counts_scale * period > 3 else 1).astype(np.float32)


_PHYSIOLOGY = (eeg, eog, emg, ecg, ppg, ibi, airflow, effort, resp, spo2, actigraphy)
# the function of each modality is named like it
GENERATORS = {generate.__name__: generate for generate in _PHYSIOLOGY}
