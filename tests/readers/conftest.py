# SPDX-License-Identifier: BSD-3-Clause
"""Small recordings written for the tests; their samples are simulated noise."""

import datetime

import edfio
import numpy as np
import pytest

NAME = "Mustermann"


@pytest.fixture
def write_edf(tmp_path):
    """Write an EDF file: label -> rate, (rate, unit) or (rate, unit, samples)."""

    def write(
        name="night.edf", channels=None, *, seconds=120, annotations=(), start=None, **kwargs
    ):
        rng = np.random.default_rng(0)
        signals = []
        for label, spec in (channels or {"EEG C4-M1": 128, "SpO2": (1, "%")}).items():
            rate, unit, *samples = spec if isinstance(spec, tuple) else (spec, "uV")
            values = samples[0] if samples else rng.normal(0, 30, int(rate * seconds))
            signals.append(
                edfio.EdfSignal(
                    values, rate, label=label, physical_dimension=unit, physical_range=(-500, 500)
                )
            )
        patient = edfio.Patient(
            code="X", sex="F", birthdate=datetime.date(1950, 6, 1), name=NAME, additional=["33yr"]
        )
        edf = edfio.Edf(
            signals,
            patient=kwargs.pop("patient", patient),
            starttime=(start or datetime.datetime(1985, 1, 1, 22, 30)).time(),
            recording=edfio.Recording(startdate=(start or datetime.datetime(1985, 1, 1)).date()),
            data_record_duration=kwargs.pop("record", 1) if signals else None,
            annotations=[edfio.EdfAnnotation(*annotation) for annotation in annotations] or None,
            **kwargs,
        )
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        edf.write(path)
        return path

    return write


@pytest.fixture
def stages_of():
    """Scored intervals of 30 s each, as EDF+ annotations."""

    def make(labels, onset=0.0, prefix="Sleep stage "):
        return [(onset + 30.0 * i, 30.0, prefix + label) for i, label in enumerate(labels)]

    return make
