# SPDX-License-Identifier: BSD-3-Clause
"""Simulated cohorts of nights with real structure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta

import numpy as np

from ..._files import sha256
from ...recordings import (
    EPOCH_SECONDS,
    MODALITIES,
    Cohort,
    Recording,
    Signal,
    SignalLayout,
    list_modalities,
)
from ._night import Night, draw_night
from ._sensors import Failure, draw_failures, record
from ._subjects import SITE_KINDS, draw_outcomes, draw_site, draw_subject
from ._synthesis import seed_from

__all__ = [
    "SIMULATION_REVISION",
    "SimulatedSource",
    "make_sleep_cohort",
]

_DEFAULT_KINDS = ("full_laboratory", "laboratory", "wearable", "watch_laboratory", "home")
_APNEA_AHI = 15


def make_sleep_cohort(
    n_subjects: int = 20,
    *,
    nights_per_subject: int = 1,
    hours: float = 8.0,
    n_sites: int = 2,
    site_kinds: Sequence[str] | None = None,
    modalities: Sequence[str] | None = None,
    missing: float = 0.15,
    random_state=None,
) -> Cohort:
    """Simulate a cohort of sleep recordings with stages, events and outcomes.

    The recordings are lazy: each holds a few kB and makes its signals when they are read, so a
    thousand nights fit in memory. Reading some modalities gives the samples that reading all
    would give. Everything is simulated; nothing is fitted to a person.

    Parameters
    ----------
    n_subjects : int, default=20
        Number of people, spread evenly over the sites.
    nights_per_subject : int, default=1
        Nights of each person, all at the same site.
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
        Seed. With an int, person k is the same whatever ``n_subjects`` is.

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
        If a number is out of range, a kind of site is unknown, or none has a modality asked for.
    UnknownModalityError
        If a modality is not in the catalogue.

    Examples
    --------
    >>> from sleep2vec_sklearn import make_sleep_cohort
    >>> cohort = make_sleep_cohort(4, hours=1, random_state=0)
    >>> len(cohort), cohort[0].n_epochs
    (4, 120)
    """
    _check_counts(n_subjects, nights_per_subject, hours, n_sites, missing)
    wanted = _catalogued(modalities)
    seed = seed_from(random_state)
    kinds = _kinds(site_kinds, wanted)
    sites = [draw_site(seed, k + 1, kinds[k % len(kinds)]) for k in range(n_sites)]
    n_epochs = round(hours * 3600 / EPOCH_SECONDS)
    recordings = []
    for index in range(1, n_subjects + 1):
        subject = draw_subject(seed, index)
        outcomes = draw_outcomes(seed, index, subject)
        site = sites[(index - 1) % n_sites]
        for number in range(1, nights_per_subject + 1):
            night = draw_night((seed, index, number), subject, site, n_epochs)
            row = {
                "subject": subject.id,
                "night": number,
                "site": site.name,
                "age": subject.age,
                "sex": subject.sex,
                "bmi": subject.bmi,
                "ahi": round(float(night.ahi), 1),
                "apnea": int(night.ahi >= _APNEA_AHI),
                "hypertension": outcomes.hypertension,
                "survival_time": outcomes.survival_time,
                "event": outcomes.event,
            }
            recordings.append(_as_recording(night, row, wanted, missing))
    return Cohort(recordings, _table(recordings))


def _check_counts(n_subjects, nights_per_subject, hours, n_sites, missing) -> None:
    counts = {"n_subjects": n_subjects, "nights_per_subject": nights_per_subject}
    for name, value in {**counts, "n_sites": n_sites}.items():
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}.")
    if not 0.25 <= hours <= 24:
        raise ValueError(f"hours must be between 0.25 and 24, got {hours!r}.")
    if not 0 <= missing < 1:
        raise ValueError(f"missing is a probability, at least 0 and below 1, got {missing!r}.")


def _catalogued(modalities) -> tuple[str, ...]:
    asked = list_modalities(modalities)
    if not asked:
        raise ValueError("modalities is empty; pass None for all that a site records.")
    return tuple(name for name in MODALITIES if name in asked)


def _kinds(site_kinds, wanted: tuple[str, ...]) -> tuple[str, ...]:
    given = _DEFAULT_KINDS if site_kinds is None else site_kinds
    given = (given,) if isinstance(given, str) else tuple(given)
    unknown = [kind for kind in given if kind not in SITE_KINDS]
    if unknown or not given:
        raise ValueError(
            f"site_kinds has {', '.join(map(repr, unknown)) or 'no entry'}; accepted are "
            f"{', '.join(SITE_KINDS)}."
        )
    useful = tuple(kind for kind in given if set(SITE_KINDS[kind]) & set(wanted))
    if not useful or (site_kinds is not None and len(useful) < len(given)):
        barren = next(kind for kind in given if not set(SITE_KINDS[kind]) & set(wanted))
        raise ValueError(
            f"a {barren!r} site records {', '.join(SITE_KINDS[barren])}, and none of the "
            f"modalities asked for ({', '.join(wanted)}). Leave that kind out of site_kinds or "
            "ask for one of its modalities."
        )
    return useful


def _as_recording(night: Night, row: dict, wanted: tuple[str, ...], missing: float) -> Recording:
    rng = night.stream("failures")
    recorded = night.site.modalities
    asked = tuple(name for name in recorded if name in wanted)
    present, failures = draw_failures(recorded, asked, night.duration, missing, rng)
    evening = night.stream("clock")
    start = datetime(2020, 1, 1, 22, 0) + timedelta(
        days=int(evening.integers(0, 1000)), minutes=int(evening.normal(30, 40))
    )
    off = float(min(evening.uniform(0, 240), night.duration / 10))
    on = float(night.duration - min(evening.uniform(0, 300), night.duration / 10))
    return Recording.from_source(
        SimulatedSource(night, present, failures),
        subject=row["subject"],
        metadata=row,
        stages=night.scored_stages,
        events=_events(night),
        start=start,
        lights=(round(off), round(on)),
        duration=night.duration,
        id=f"{row['subject']}-n{row['night']}",
    )


def _events(night: Night):
    import pandas as pd

    breathing, arousals = night.respiratory, night.arousals
    seen = breathing.desaturating
    fall = breathing.end + breathing.lag - breathing.onset - 0.8 * breathing.lag
    kinds = np.where(breathing.apnea, "obstructive_apnea", "hypopnea")
    table = pd.DataFrame(
        {
            "onset": np.concatenate(
                [breathing.onset, arousals.onset, (breathing.onset + 0.8 * breathing.lag)[seen]]
            ),
            "duration": np.concatenate([breathing.duration, arousals.duration, fall[seen]]),
            "type": [*kinds, *["arousal"] * len(arousals), *["desaturation"] * int(seen.sum())],
        }
    )
    return table.round(2).sort_values("onset", kind="stable", ignore_index=True)


def _table(recordings: list[Recording]):
    import pandas as pd

    index = pd.Index([recording.id for recording in recordings], name="recording")
    return pd.DataFrame([dict(recording.metadata) for recording in recordings], index=index)


SIMULATION_REVISION = 5
"""Part of every fingerprint; raised when a change alters the samples of a seed."""


class SimulatedSource:
    """Signals of one simulated night, generated on demand.

    Holds the seed and the night's plan (a few kB). Each modality has its own random stream, so
    any subset reads the same samples as all together.

    Parameters
    ----------
    night : Night
        Stages, events, subject and site.
    modalities : sequence of str
        Which sensors are present.
    failures : mapping of str to Failure, optional
        Sensors that are off for a part of the night.
    """

    def __init__(
        self,
        night: Night,
        modalities: Sequence[str],
        failures: Mapping[str, Failure] | None = None,
    ):
        self.night = night
        self.failures = dict(failures or {})
        self._layout = {name: _layout(night, name) for name in modalities}

    @property
    def layout(self) -> dict[str, SignalLayout]:
        """Modality to layout, known without making a sample."""
        return dict(self._layout)

    def read(self, names: Sequence[str]) -> dict[str, Signal]:
        """Make the samples of these modalities, float32 and read-only."""
        signals = {}
        for name in names:
            layout = self._layout[name]
            values = record(self.night, name, self.failures.get(name))
            values.flags.writeable = False
            signals[name] = Signal(values, layout.rate, layout.unit)
        return signals

    def fingerprint(self) -> str:
        """sha256 of the revision, the seed and every parameter the samples depend on."""
        return self._fingerprint(list(self._layout), self.failures)

    def signal_fingerprint(self, name: str) -> str:
        """The same for one modality, whose samples do not depend on the others."""
        return self._fingerprint([name], {k: v for k, v in self.failures.items() if k == name})

    def _fingerprint(self, modalities: list[str], failures: Mapping[str, Failure]) -> str:
        night = self.night
        described = {
            "revision": SIMULATION_REVISION,
            "seed": night.seed,
            "n_epochs": len(night.true_stages),
            "subject": asdict(night.subject),
            "site": asdict(night.site),
            "modalities": modalities,
            "failures": {name: asdict(failure) for name, failure in failures.items()},
        }
        return sha256(json.dumps(described, sort_keys=True))


def _layout(night: Night, name: str) -> SignalLayout:
    rate = night.site.rate(name)
    return SignalLayout(rate, night.site.unit(name), round(night.duration * rate))
