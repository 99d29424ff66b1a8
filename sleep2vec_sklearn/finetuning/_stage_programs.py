# SPDX-License-Identifier: BSD-3-Clause
"""Other stagers: SeqSleepNet, SleepFM, YASA, and the vote of some with the bundled one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from ..errors import CheckpointError, InvalidRecordingError, InvalidSignalError
from ..recordings._demographics import read_age, read_sex
from ..recordings._resampling import resample
from ..recordings._usable import find_usable
from ..recordings.modality import EPOCH_SECONDS, get_modality, list_modalities
from ..recordings.recording import Recording, describe_recording, prefix_errors
from ._stage_head import STAGES, softmax

NAMES = ("seqsleepnet", "yasa", "vote")
YASA_RATE = 100.0
_YASA_STAGES = {"WAKE": "W", "REM": "R"}
_YASA_CARD = {
    "name": "YASA",
    "licence": "BSD-3-Clause",
    "training_data": "nights of the National Sleep Research Resource: MESA, CFS, CHAT, HomePAP, "
    "MrOS, SHHS, CCSHS",
    "reference": "https://doi.org/10.7554/eLife.70092",
}
# all are strong on a laboratory's EEG, and which one errs less on a given night is not known
VOTE_WEIGHTS: Mapping[str, float] = {"bundled": 1.0, "seqsleepnet": 1.0, "yasa": 1.0}
# so that no program has a veto
_SMALLEST = 1e-3
_INSTALL = {
    "seqsleepnet": "sleep2vec_sklearn.load_checkpoint('seqsleepnet')",
    "yasa": "pip install yasa",
}


@dataclass(frozen=True, eq=False)
class Staging:
    """What a stager makes of a night; NaN where no sensor that it reads has a signal."""

    probabilities: np.ndarray  # float64 (n_epochs, 5)
    measured: Mapping[str, np.ndarray]  # by sensor, bool (n_epochs,)
    agreement: np.ndarray  # float64 (n_epochs,)
    voters: tuple[str, ...]
    derivations: Mapping[str, str] = field(default_factory=dict)
    embedding: np.ndarray | None = None
    left_out: tuple[str, ...] = ()
    card: dict = field(default_factory=dict)

    @classmethod
    def of_one(
        cls, voter: str, probabilities: np.ndarray, measured: Mapping[str, np.ndarray], **more: Any
    ) -> Staging:
        """That of one voter, which agrees with itself."""
        agreement = np.where(np.isnan(probabilities).any(axis=1), np.nan, 1.0)
        return cls(probabilities, measured, agreement, (voter,), **more)


def stage_by_program(
    night: Recording, stager: Any, modalities: Sequence[str] | None,
    stage_bundled: Callable[[], Staging],
) -> Staging:  # fmt: skip
    """Stage by what is no classifier, a name or network; refusals come before any download."""
    name = stager if isinstance(stager, str) else stager.name
    if name == "sleepfm":
        return _stage_by_sleepfm(night, stager, modalities)
    reads = ("eeg",) if name == "seqsleepnet" else getattr(stager, "modalities_", None)
    if modalities is not None and (reads is None or {*list_modalities(modalities)} != {*reads}):
        chosen = "the EEG" if reads in (None, ("eeg",)) else ", ".join(reads)
        raise InvalidRecordingError(
            f"modalities={modalities!r}, but stager={name!r} chooses its own: it reads {chosen}"
            f"{'' if reads is None else ' alone'}. Leave them out, or the stager."
        )
    if hasattr(stager, "stage"):
        return _stage_by_finetuned(night, stager)
    with prefix_errors(describe_recording(night)):
        if "eeg" not in night.modalities:
            raise InvalidRecordingError(
                f"the night has {', '.join(night.modalities)}; stager={name!r} reads an EEG. Use "
                "stager='bundled', which takes other sensors."
            )
        if name == "vote":
            return _stage_by_vote(night, stage_bundled)
        staging = _stage_by_yasa(night) if name == "yasa" else _stage_by_network(night, stager)
        if not staging.measured["eeg"].any():
            raise InvalidRecordingError(
                f"no usable signal: eeg flat or mostly without samples, and stager={name!r} needs "
                "it. Use stager='bundled', which takes other sensors."
            )
    return staging


def _stage_by_finetuned(night: Recording, network: Any) -> Staging:
    # loaded from a file of the authors
    classes = getattr(network, "classes_", ())
    if network.unit_ != "epoch" or list(classes) != list(range(len(STAGES))):
        outputs = f"{network.head.config.n_outputs} outputs of {network.unit_}s"
        raise CheckpointError(
            f"stager={network.name!r} has {outputs}, but a stager has those of the five stages for "
            "each epoch. Predict with load_finetuned(path).predict(X)."
        )
    probabilities, measured = network.stage(night)
    return Staging.of_one(
        network.name, probabilities, measured, card=network.card,
        derivations=first_derivations(night, measured),
    )  # fmt: skip


def _stage_by_sleepfm(night: Recording, stager: Any, modalities: Sequence[str] | None) -> Staging:
    if modalities is not None:
        night = night.without(*set(night.modalities).difference(list_modalities(modalities)))
    with prefix_errors(describe_recording(night)):
        probabilities, measured = stager.read_and_stage(night)
        on = {name: valid for name, valid in measured.items() if valid.any()}
        if not on:
            raise InvalidRecordingError(
                f"no usable signal: {', '.join(measured)} flat or mostly without samples. Leave "
                "the recording out."
            )
    return Staging.of_one(
        stager.name, probabilities, on, card=stager.card,
        derivations=first_derivations(night, on),
        left_out=tuple(name for name in measured if name not in on),
    )  # fmt: skip


def _stage_by_network(night: Recording, network: Any) -> Staging:
    from ..model.checkpoint import load_checkpoint

    try:
        network = load_checkpoint(network) if isinstance(network, str | os.PathLike) else network
    except ImportError as error:
        raise CheckpointError(str(error)) from error
    states, probabilities, valid, label = network.read_and_stage(night)
    return Staging.of_one(
        network.name, probabilities, {"eeg": valid}, embedding=states, card=network.card,
        derivations={} if label is None else {"eeg": label},
    )  # fmt: skip


def _stage_by_yasa(night: Recording) -> Staging:
    try:
        import mne
        import yasa
    except ImportError as error:
        raise CheckpointError(
            f"stager='yasa' needs YASA, which is not installed ({error}). Install it with: "
            f"{_INSTALL['yasa']}"
        ) from error
    signals: dict[str, np.ndarray] = {}
    measured: dict[str, np.ndarray] = {}
    derivations: dict[str, str] = {}
    for name in ("eeg", "eog", "emg"):
        if name not in night.modalities:
            continue
        index, label = _choose_derivation(night, name)
        try:
            values, on = _microvolts(night, name, index)
        except InvalidSignalError:
            if name == "eeg":
                raise
            continue
        if on.any() or name == "eeg":
            signals[name], measured[name] = values, on
            derivations |= {} if label is None else {name: label}
    probabilities = np.full((night.n_epochs, len(STAGES)), np.nan)
    if measured["eeg"].any():
        info = mne.create_info([*signals], YASA_RATE, [*signals])
        raw = mne.io.RawArray(1e-6 * np.stack([*signals.values()]), info, verbose="error")
        named = {f"{name}_name": name for name in signals}
        program = yasa.SleepStaging(raw, **named, metadata=_age_and_sex(night))
        # before version 0.7 by a method of its own
        found = getattr(program, "predict_proba", lambda: program.predict().proba)()
        on = measured["eeg"]
        probabilities[on] = found.rename(columns=_YASA_STAGES)[[*STAGES]].to_numpy()[on]
    card = {**_YASA_CARD, "version": yasa.__version__, "sensors": [*signals]}
    return Staging.of_one("yasa", probabilities, measured, card=card, derivations=derivations)


def _choose_derivation(night: Recording, name: str) -> tuple[int, str | None]:
    """Index and label of the derivation to read: the first, or the most central of all EEGs."""
    from ..model.external.seqsleepnet import rank_derivation

    labels = night.derivations.get(name, ())
    index = 0
    if name == "eeg" and labels and night.derivation_mode == "all":
        index = min(range(len(labels)), key=lambda i: rank_derivation(labels[i]))
    return index, labels[index] if labels else None


def _microvolts(night: Recording, name: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    """A signal at 100 Hz in uV, without gaps, and in which epochs it is on."""
    n_samples = round(night.n_epochs * EPOCH_SECONDS * YASA_RATE)
    modality = get_modality(name)
    conditioning = replace(modality.conditioning, min_rate=80.0)
    signal = night.signal(name, index)
    values, rate, on = find_usable(signal, modality, conditioning, night.n_epochs)
    values = resample(np.ascontiguousarray(values), rate, YASA_RATE, "polyphase")[:n_samples]
    if not on.any():
        return np.zeros(n_samples), on
    return np.pad(values.astype(np.float64), (0, n_samples - len(values)), mode="edge"), on


def _age_and_sex(night: Recording) -> dict[str, Any] | None:
    name = describe_recording(night)
    age = read_age(night.metadata.get("age"), name)
    male = read_sex(night.metadata.get("sex"), name)
    return {"age": age, "male": bool(male)} if 0 < age < 120 and np.isfinite(male) else None


def first_derivations(night: Recording, names: Sequence[str] | Mapping) -> dict[str, str]:
    """What sensors were read from, where the recording knows it; several joined by "+"."""
    several = night.derivation_mode != "one"
    return {
        name: " + ".join(labels) if several else labels[0]
        for name, labels in night.derivations.items()
        if name in names and labels
    }


def _stage_by_vote(night: Recording, stage_bundled: Callable[[], Staging]) -> Staging:
    """The mean of the log-probabilities of the programs that are at hand."""
    from ..model.external.seqsleepnet import find_file

    path = find_file()
    programs: dict[str, Callable[[], Staging]] = {"bundled": stage_bundled}
    if path is not None:
        programs["seqsleepnet"] = lambda: _stage_by_network(night, path)
    if find_spec("yasa") is not None:
        programs["yasa"] = lambda: _stage_by_yasa(night)
    if len(programs) == 1:
        lines = "\n".join(f"  {line}" for line in _INSTALL.values())
        raise CheckpointError(
            "stager='vote' finds no program besides the bundled one, and downloads none by itself. "
            f"Get SeqSleepNet, YASA, or both:\n{lines}"
        )
    stagings = {name: program() for name, program in programs.items()}
    weights = {name: VOTE_WEIGHTS[name] for name in stagings}
    probabilities, agreement = vote(
        np.stack([staging.probabilities for staging in stagings.values()]),
        np.array([*weights.values()]),
    )
    cards = {name: staging.card for name, staging in stagings.items()}
    return replace(
        stagings["bundled"], probabilities=probabilities, agreement=agreement,
        voters=tuple(stagings), card={"voters": cards, "weights": weights},
    )  # fmt: skip


def vote(probabilities: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted means of log-probabilities (n_programs, n_epochs, 5), and the share that agrees.

    NaN is a program without an opinion.
    """
    on = np.isfinite(probabilities).all(axis=2)
    logarithms = np.log(np.maximum(np.where(on[..., None], probabilities, 1), _SMALLEST))
    weight = on * weights[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = softmax((weight[..., None] * logarithms).sum(axis=0) / weight.sum(axis=0)[:, None])
        same = logarithms.argmax(axis=2) == mean.argmax(axis=1)
        return mean, (weight * same).sum(axis=0) / weight.sum(axis=0)
