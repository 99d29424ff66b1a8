# SPDX-License-Identifier: BSD-3-Clause
"""Sleep stages of a night by the bundled stager, another program, their vote, or a classifier."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from .._warnings import warn
from ..encoding._base import signals_read
from ..encoding._centering import is_short
from ..encoding._pooling import fuse
from ..encoding.cache import check_cache, open_store
from ..errors import CheckpointError, InvalidRecordingError, RecordingWarning
from ..evaluation._lights import usable_lights, warn_of_lights
from ..recordings._night_window import FEWEST_EPOCHS
from ..recordings._usable import find_good_epochs
from ..recordings.epochs import EpochSequence
from ..recordings.modality import list_modalities
from ..recordings.recording import (
    Recording,
    as_recording,
    describe_recording,
    keep_signals,
)
from ..recordings.stages import SleepStage
from ._stage_head import STAGES, load_stage_head
from ._stage_programs import NAMES, Staging, first_derivations, stage_by_program
from .staged_night import StagedNight

_CHECKPOINT = "sleep2vec-mini"


def stage_night(
    recording: Any, *, stager: Any = "bundled",
    modalities: Sequence[str] | None = None, device: str = "auto",
    cache: str | os.PathLike | None = "memory",
) -> StagedNight:  # fmt: skip
    """Stage a night with whatever sensors it has, or by another program from its EEG.

    By default the encoder is sleep2vec-mini, each sensor votes by itself, and votes are summed with
    weights. The time of night is no input. The votes were trained on simulated nights and nights
    of few real subjects: the model card and ``StagedNight.card`` say which, and how well they do on
    others. It is no medical device.

    Parameters
    ----------
    recording : Recording, dict or path
        One night; the whole of it, as its epochs are compared with each other.
    stager : {"bundled", "seqsleepnet", "yasa", "vote"}, path, network or classifier
        Who stages; "bundled" by default.

        - ``"seqsleepnet"`` is downloaded once and reads a central EEG; its file works too, by a
          path or an address of the hub (``"hf://..."``), and
          :class:`~sleep2vec_sklearn.model.SeqSleepNet`.
        - A :class:`~sleep2vec_sklearn.model.SleepFMStager` reads whatever the night has of EEG,
          EOG, EMG, ECG, airflow, effort and SpO2.
        - ``"yasa"`` is YASA (``pip install yasa``), of the EEG and, where the night has them, EOG,
          EMG, and age and sex in the metadata.
        - ``"vote"`` is the mean of the log-probabilities of these two, as far as they are installed
          or were downloaded before, and the bundled one, with equal weights;
          ``StagedNight.voters`` says who took part.
        - A path to a ``.ckpt`` that the paper's authors fine-tuned for the five stages, or what
          :func:`~sleep2vec_sklearn.finetuning.load_finetuned` makes of it; the night needs every
          sensor that the file reads, with amplitudes as in its training.
        - A classifier is any that was fitted on epochs with the codes of :class:`SleepStage` as y,
          such as a pipeline with a :class:`Sleep2VecTransformer`; it reads the sensors it was
          fitted with.

        All but the bundled one run on the CPU, and nothing of them is cached.
    modalities : sequence of str, optional
        Those to use; all that the night has by default.
    device : str, default="auto"
        A torch device; "auto" takes a GPU if there is one.
    cache : "memory", path or None, default="memory"
        As of :class:`Sleep2VecTransformer`, which shares its tokens.

    Returns
    -------
    StagedNight

    Raises
    ------
    InvalidRecordingError
        If it is no recording, or has no usable signal of any modality, or of an EEG if that is
        needed.
    CheckpointError
        If there is no such stager, or it cannot be downloaded or read, or is not installed.
    ReadError
        If a file cannot be read.

    Examples
    --------
    >>> from sleep2vec_sklearn import make_sleep_cohort, stage_night
    >>> night = make_sleep_cohort(1, hours=2, modalities=["eeg"], missing=0, random_state=0)[0]
    >>> staged = stage_night(night)
    >>> staged
    StagedNight(sim-0001-n1: ...; from eeg)
    >>> [*staged.probabilities.columns], staged.voters
    (['W', 'N1', 'N2', 'N3', 'R'], ('eeg',))
    """
    night = _as_night(recording)
    check_cache(cache)
    warn_of_lights([night])
    if hasattr(stager, "predict_proba") and hasattr(stager, "fit"):
        return _stage_by_classifier(night, stager, modalities)
    if isinstance(stager, str) and stager == "bundled":
        return _as_staged(night, _stage_bundled(night, modalities, device, cache))
    if not (isinstance(stager, str) and stager in NAMES):
        stager = _open(stager)
    staging = stage_by_program(
        night, stager, modalities, lambda: _stage_bundled(night, None, device, cache)
    )
    return _as_staged(night, staging)


def _as_night(recording: Any) -> Recording:
    if isinstance(recording, str | os.PathLike):
        from ..readers.recording import read_recording

        return read_recording(recording)
    if isinstance(recording, Sequence) and not isinstance(recording, Recording):
        raise InvalidRecordingError(
            f"stage_night takes one recording, got a {type(recording).__name__}; stage them one by "
            "one: [stage_night(night) for night in nights]."
        )
    return as_recording(recording)


def _open(stager: Any) -> Any:
    """The network of a path, or one that is given."""
    from ..model.external import SeqSleepNet, SleepFM, SleepFMStager
    from ..model.upstream._files import locate
    from .upstream import open_stager

    loaded = stager
    if isinstance(stager, str | os.PathLike):
        file = locate(stager)
        if not file.path.exists():
            is_word = file.path.name == str(stager)
            raise _no_stager(stager, "no stager" if is_word else "a file that is not there")
        loaded = open_stager(file)
    if isinstance(loaded, SleepFM):
        raise _no_stager(stager, "the encoder of SleepFM; make a SleepFMStager of it and its head")
    if not isinstance(loaded, SeqSleepNet | SleepFMStager) and not hasattr(loaded, "stage"):
        raise _no_stager(stager, f"a {type(loaded).__name__}, which gives no stages")
    return loaded


def _no_stager(stager: Any, what: str) -> CheckpointError:
    names = ", ".join(map(repr, ("bundled", *NAMES)))
    return CheckpointError(
        f"stager={stager!r} is {what}; accepted are {names}, a path to SeqSleepNet's file or to a "
        "fine-tuned one of the authors, what it loads as, a SleepFMStager, or a fitted classifier. "
        "Use stager='bundled'."
    )


def _as_staged(night: Recording, staging: Staging) -> StagedNight:
    probabilities = staging.probabilities
    staged = np.isfinite(probabilities).all(axis=1)
    stages = np.full(night.n_epochs, int(SleepStage.unscored), dtype=np.int8)
    stages[staged] = probabilities[staged].argmax(axis=1)
    epochs = pd.RangeIndex(night.n_epochs, name="epoch")
    return StagedNight(
        id=night.id, stages=stages,
        probabilities=pd.DataFrame(probabilities, index=epochs, columns=list(STAGES)),
        measured=pd.DataFrame(dict(staging.measured), index=epochs), agreement=staging.agreement,
        voters=staging.voters, derivations=dict(staging.derivations), left_out=staging.left_out,
        lights=usable_lights(night.lights, night.n_epochs), start=night.start,
        embedding=staging.embedding, card=staging.card,
    )  # fmt: skip


def _stage_by_classifier(
    night: Recording, classifier: Any, modalities: Sequence[str] | None
) -> StagedNight:
    check_is_fitted(classifier)
    classes = np.asarray(classifier.classes_)
    is_coded = classes.dtype != bool and np.isin(classes, range(len(STAGES))).all()
    if modalities is not None or not is_coded:
        raise InvalidRecordingError(
            f"stager: a classifier of the classes {', '.join(map(str, classes))} with modalities="
            f"{modalities!r}; accepted is one of the codes 0 to 4 (W, N1, N2, N3, R), without "
            "modalities. Fit it on EpochSequence.stages, and drop sensors by night.without()."
        )
    # for the classifier, and for which sensors are on
    night = keep_signals(night)
    probabilities = np.zeros((night.n_epochs, len(STAGES)))
    probabilities[:, classes.astype(int)] = classifier.predict_proba(EpochSequence([night]))
    valid = {
        name: find_good_epochs(signal, name, night.n_epochs, coarse=True)
        for name, signal in night.read(signals_read(classifier) or None).items()
    }
    probabilities[~np.any(list(valid.values()), axis=0)] = np.nan
    staging = Staging.of_one(
        "classifier", probabilities, valid, derivations=first_derivations(night, valid)
    )
    return _as_staged(night, staging)


def _stage_bundled(
    night: Recording, modalities: Sequence[str] | None, device: str, cache: Any
) -> Staging:
    # torch takes seconds to import
    from .._torch import resolve_device
    from ..encoding._engine import Engine
    from ..encoding._sleep2vec import as_encoder
    from ..model.checkpoint import load_checkpoint

    head, checkpoint = load_stage_head(), load_checkpoint(_CHECKPOINT)
    if checkpoint.sha256 != head.checkpoint_sha256:
        raise CheckpointError(
            f"the bundled stager reads the tokens of an encoder with sha256 "
            f"{head.checkpoint_sha256[:12]}, but {_CHECKPOINT} has {checkpoint.sha256[:12]}. "
            "Reinstall, or train it again: python -m benchmarks.weights.stager"
        )
    wanted = head.modalities if modalities is None else tuple(list_modalities(modalities))
    if not wanted:
        raise InvalidRecordingError(
            "modalities=[] names no sensor to stage from; accepted are "
            f"{', '.join(head.modalities)}, or None for all that the night has."
        )
    encoder = as_encoder(checkpoint, device=resolve_device(device))
    engine = Engine(encoder, wanted, 0, open_store(cache), find_windows=True)
    with closing(engine.encode([night], [describe_recording(night)])) as nights:
        encoded = next(nights)
    if encoded.error is not None:
        raise encoded.error
    if is_short(encoded.modalities):
        warn(
            f"{describe_recording(night)} has fewer than {FEWEST_EPOCHS} epochs with a signal, too "
            "few to compare with each other: its stages say little. Stage the whole night.",
            RecordingWarning,
        )
    probabilities, agreement = head.stage(encoded.modalities, encoded.window)
    states = {
        name: replace(item, tokens=item.tokens[:, : encoder.n_shared(name)])
        for name, item in encoded.modalities.items()
    }
    return Staging(
        probabilities, {name: item.valid for name, item in states.items()}, agreement,
        tuple(states), first_derivations(night, states), fuse(states, wanted, "mean")[0],
        encoded.left_out, head.card,
    )  # fmt: skip
