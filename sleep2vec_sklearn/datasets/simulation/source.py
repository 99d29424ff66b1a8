# SPDX-License-Identifier: BSD-3-Clause
"""A simulated night as a signal source: samples are made when they are read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from ...signals import Signal, SignalLayout
from .night import Night
from .sensors import Failure, record

__all__ = ["SIMULATION_REVISION", "SimulatedSource"]

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
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def _layout(night: Night, name: str) -> SignalLayout:
    rate = night.site.rate(name)
    return SignalLayout(rate, night.site.unit(name), round(night.duration * rate))
