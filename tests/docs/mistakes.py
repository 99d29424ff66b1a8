# SPDX-License-Identifier: BSD-3-Clause
"""Mistakes people make, each of which raises, or warns of, what docs/errors.md quotes.

Each takes an empty folder to work in, which is the current one too, so that paths are short.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from sleep2vec_sklearn import (
    EpochSequence,
    Recording,
    Sleep2VecClassifier,
    Sleep2VecCoxRegressor,
    Sleep2VecEventDetector,
    Sleep2VecPretrainer,
    Sleep2VecTransformer,
    make_sleep_cohort,
    read_cohort,
    read_recording,
    set_config,
)
from sleep2vec_sklearn.datasets import write_edf_cohort
from sleep2vec_sklearn.evaluation import survival_outcome
from sleep2vec_sklearn.pretraining import EncoderSpec

MISTAKES = []


def mistake(function):
    MISTAKES.append(function)
    return function


def wave(rate=128.0, minutes=5, size=30.0, seed=0):
    """A plausible voltage."""
    return size * np.random.default_rng(seed).standard_normal(round(minutes * 60 * rate))


def beats(subject=None, minutes=5, seed=0, **described):
    values = 0.9 + 0.05 * np.random.default_rng(seed).standard_normal(minutes * 240)
    return Recording({"ibi": values}, subject=subject, **described)


@mistake
def a_sensor_by_another_name():
    Recording({"heart_rate": wave()})


@mistake
def volts_given_as_microvolts():
    night = Recording({"eeg": wave(size=3e-5)}, id="s01")
    Sleep2VecTransformer(cache=None).fit_transform([night])


@mistake
def a_rate_that_is_too_slow():
    night = Recording({"ecg": (wave(rate=25), 25.0)}, id="s01")
    Sleep2VecTransformer(cache=None).fit_transform([night])


@mistake
def a_unit_that_is_not_known():
    Recording({"spo2": np.full(1200, 96.0)}, units={"spo2": "mmHg"})


@mistake
def stages_of_another_length():
    beats(stages=[0, 0, 1, 2])


@mistake
def stages_with_an_odd_name():
    beats(minutes=1, stages=["W", "light"])


@mistake
def nothing_left_of_a_night():
    night = Recording({"eeg": np.zeros(38400)}, id="s01")
    Sleep2VecTransformer(cache=None).fit_transform([night])


@mistake
def a_flat_sensor():
    night = Recording({"eeg": np.zeros(38400), "ibi": beats()["ibi"]}, id="s01")
    Sleep2VecTransformer(cache=None).fit_transform([night])


@mistake
def something_that_is_no_recording():
    Sleep2VecTransformer().fit_transform([wave()])


@mistake
def nights_handed_to_a_tool_that_needs_numbers():
    np.asarray(EpochSequence([beats()]))


@mistake
def epochs_after_nights():
    fitted = Sleep2VecTransformer().fit([beats(id="s01")])
    fitted.transform(EpochSequence([beats(id="s01")]))


@mistake
def other_epochs_of_a_person_who_was_fitted_on():
    X = EpochSequence([beats("s01")])
    Sleep2VecTransformer(cache=None).fit(X[:8]).transform(X[5:])


@mistake
def the_same_when_leakage_is_to_raise():
    set_config(leakage="raise")
    other_epochs_of_a_person_who_was_fitted_on()


@mistake
def a_file_that_is_not_there():
    read_recording("night.edf")


@mistake
def a_file_of_another_kind():
    Path("night.edf").write_text("not an EDF file")
    read_recording("night.edf")


@mistake
def a_file_without_a_known_channel():
    path = write_edf_cohort(make_sleep_cohort(1, hours=0.25, random_state=0), ".")[0]
    data = path.read_bytes()
    n_channels = int(data[252:256])
    labels = b"".join(f"Chan{k}".encode().ljust(16) for k in range(n_channels))
    path.write_bytes(data[:256] + labels + data[256 + len(labels) :])
    read_recording(path)


@mistake
def a_folder_without_a_night():
    Path("study").mkdir()
    read_cohort("study", verbose=0)


@mistake
def a_table_without_paths():
    read_cohort(pd.DataFrame({"file": ["a.edf"]}), verbose=0)


@mistake
def a_damaged_file_in_a_folder():
    write_edf_cohort(make_sleep_cohort(2, hours=0.25, random_state=0), "study")
    Path("study/sim-0002-n1.edf").write_text("damaged")
    read_cohort("study", verbose=0)


@mistake
def a_checkpoint_that_does_not_exist():
    Sleep2VecTransformer("sleep2vec-large").fit([beats()])


@mistake
def a_file_that_is_no_checkpoint():
    Path("mine.safetensors").write_text("nothing")
    Sleep2VecTransformer("mine.safetensors").fit([beats()])


@mistake
def a_cache_folder_that_is_a_file():
    Path("tokens").write_text("a file, not a folder")
    Sleep2VecTransformer(cache="tokens").fit_transform([beats()])


@mistake
def a_modality_the_checkpoint_does_not_read():
    nights = make_sleep_cohort(3, hours=0.5, modalities=["ibi", "spo2"], missing=0, random_state=0)
    size = EncoderSpec(hidden_size=16, token_dim=16, n_layers=1)
    small = {"encoder": size, "context_epochs": 20}
    quick = {"max_epochs": 1, "steps_per_epoch": 1, "batch_size": 2, "validation": 0}
    pretrainer = Sleep2VecPretrainer(random_state=0, **small, **quick).fit(nights)
    both = {"ibi": beats()["ibi"], "resp": wave(4.0)}
    Sleep2VecTransformer(pretrainer.checkpoint()).fit_transform([both])


@mistake
def nights_that_share_no_two_sensors():
    Sleep2VecPretrainer().fit([beats(f"s{k}", seed=k) for k in range(3)])


@mistake
def another_run_in_a_state_dir():
    nights = make_sleep_cohort(3, hours=0.5, modalities=["ibi", "spo2"], missing=0, random_state=0)
    size = EncoderSpec(hidden_size=16, token_dim=16, n_layers=1)
    small = {"encoder": size, "context_epochs": 20}
    quick = {"max_epochs": 1, "steps_per_epoch": 1, "batch_size": 2, "validation": 0}
    Sleep2VecPretrainer(random_state=0, state_dir="run", **small, **quick).fit(nights)
    Sleep2VecPretrainer(random_state=1, state_dir="run", **small, **quick).fit(nights)


def several(n=6):
    return [beats(f"s{k}", seed=k, id=f"s{k}") for k in range(n)]


@mistake
def fewer_labels_than_nights():
    Sleep2VecClassifier(max_epochs=1).fit(several(), [0, 1, 1])


@mistake
def a_sensor_that_was_never_trained_on():
    fitted = Sleep2VecClassifier(max_epochs=1, random_state=0).fit(several(), [0, 1] * 3)
    fitted.predict([{"eeg": wave()}])


@mistake
def nobody_had_the_event():
    y = survival_outcome([0] * 6, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    Sleep2VecCoxRegressor(max_epochs=1).fit(several(), y)


@mistake
def a_time_that_is_not_above_zero():
    survival_outcome([1, 0], [0.0, 2.0])


@mistake
def events_after_the_end_of_the_night():
    events = pd.DataFrame({"onset": [900.0], "duration": [15.0], "type": ["hypopnea"]})
    nights = [beats(f"s{k}", seed=k, id=f"s{k}", events=events) for k in range(3)]
    Sleep2VecEventDetector(max_epochs=1, random_state=0).fit(nights)
