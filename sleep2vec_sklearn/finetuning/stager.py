# SPDX-License-Identifier: BSD-3-Clause
"""Sleep stages of a night by the bundled stager, SeqSleepNet, or a classifier."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from sklearn.utils.validation import check_is_fitted

from .._files import check_format_version, write_atomic
from ..encoding._base import signals_read
from ..encoding._centering import night_centers
from ..encoding._pooling import fuse
from ..encoding.cache import check_cache, open_store
from ..errors import CheckpointError, InvalidRecordingError
from ..evaluation.sleep_statistics import sleep_statistics, usable_lights, warn_of_lights
from ..recordings._conditioning import find_good_epochs
from ..recordings.epochs import EpochSequence
from ..recordings.modality import EPOCH_SECONDS, list_modalities
from ..recordings.recording import (
    Recording,
    as_recording,
    describe_recording,
    keep_signals,
    prefix_errors,
)
from ..recordings.stages import SleepStage

if TYPE_CHECKING:
    from ..encoding._engine import EncodedNight
    from ..model.encoder import EncodedModality

__all__ = ["StagedNight", "stage_night"]

_CHECKPOINT = "sleep2vec-mini"
BUNDLED_HEAD = Path(__file__).parent / "weights" / "sleep2vec-mini-stager.safetensors"
STAGES = ("W", "N1", "N2", "N3", "R")
_METADATA_KEY = "sleep2vec_sklearn_stager"
_FORMAT_VERSION = 1
_TENSORS = ("weight", "bias", "trust")


def stage_night(
    recording: Any, *, stager: Any = "bundled",
    modalities: Sequence[str] | None = None, device: str = "auto",
    cache: str | os.PathLike | None = "memory",
) -> StagedNight:  # fmt: skip
    """Stage a night with whatever sensors it has, or by SeqSleepNet from its EEG.

    By default the encoder is sleep2vec-mini. The head is linear, one vote per sensor, and was
    trained on simulated nights and nights of few real subjects: the model card and
    ``StagedNight.card`` say which, and how well it does on others. It is no medical device.

    Parameters
    ----------
    recording : Recording, dict or path
        One night; the whole of it, as its epochs are compared with each other.
    stager : "bundled", "seqsleepnet", path, SeqSleepNet or classifier, default="bundled"
        ``"seqsleepnet"`` is downloaded once and reads a central EEG; its file works too, and
        :class:`~sleep2vec_sklearn.model.SeqSleepNet`. It runs on the CPU, and nothing of it is
        cached. A classifier is any that was fitted on epochs with the codes of
        :class:`SleepStage` as y, such as a pipeline with a :class:`Sleep2VecTransformer`; it reads
        the sensors it was fitted with.
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
        If there is no such stager, or it cannot be downloaded or read.
    ReadError
        If a file cannot be read.

    Examples
    --------
    >>> from sleep2vec_sklearn import make_sleep_cohort, stage_night
    >>> night = make_sleep_cohort(1, hours=2, modalities=["eeg"], missing=0, random_state=0)[0]
    >>> staged = stage_night(night)
    >>> staged
    StagedNight(sim-0001-n1: W 74, N1 16, N2 89, N3 52, R 9; from eeg)
    >>> staged.probabilities.iloc[100].round(1).to_dict()
    {'W': 0.0, 'N1': 0.0, 'N2': 0.5, 'N3': 0.4, 'R': 0.0}
    """
    night = _as_night(recording)
    check_cache(cache)
    warn_of_lights([night])
    if hasattr(stager, "predict_proba") and hasattr(stager, "fit"):
        return _stage_by_classifier(night, stager, modalities)
    if not (isinstance(stager, str) and stager == "bundled"):
        return _stage_by_eeg(night, stager, modalities)
    head = load_stage_head()
    wanted = head.modalities if modalities is None else tuple(list_modalities(modalities))
    encoded = _encode(night, wanted, head, device, cache)
    probabilities = head.probabilities(encoded.modalities, encoded.window)
    valid = {name: one.valid for name, one in encoded.modalities.items()}
    embedding = fuse(encoded.modalities, wanted, "mean")[0]
    return _as_staged(night, probabilities, valid, embedding, head.card, encoded.left_out)


@dataclass(frozen=True, eq=False)
class StagedNight:
    """Stages of a night, from :func:`stage_night`.

    Attributes
    ----------
    id : str or None
        Of the recording.
    stages : int8 ndarray of shape (n_epochs,)
        The most probable stage; -1 where no sensor has a signal.
    probabilities : DataFrame of shape (n_epochs, 5)
        The hypnodensity: columns W, N1, N2, N3, R; NaN where no sensor has a signal.
    measured : bool DataFrame of shape (n_epochs, n_modalities)
        Which sensors each epoch was staged from.
    left_out : tuple of str
        Sensors that are flat or without samples.
    lights : (float or None, float or None) or None
        Of the recording.
    embedding : float32 ndarray of shape (n_epochs, width)
        The encoder's rows, fused by their mean.
    card : dict
        The head's training data, and its scores on other subjects.

    Examples
    --------
    >>> from sleep2vec_sklearn import make_sleep_cohort, stage_night
    >>> night = make_sleep_cohort(1, hours=2, modalities=["eeg"], missing=0, random_state=0)[0]
    >>> stage_night(night).to_frame().columns.tolist()
    ['onset', 'stage', 'W', 'N1', 'N2', 'N3', 'R', 'n_modalities']
    """

    id: str | None
    stages: np.ndarray
    probabilities: pd.DataFrame = field(repr=False)
    measured: pd.DataFrame = field(repr=False)
    left_out: tuple[str, ...] = ()
    lights: tuple | None = None
    embedding: np.ndarray | None = field(repr=False, default=None)
    card: dict = field(repr=False, default_factory=dict)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Sensors that were used."""
        return tuple(self.measured.columns)

    @property
    def rests_on(self) -> str:
        """One sentence on how much of the night each sensor covers."""
        shares = self.measured.mean()
        listed = ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items())
        absent = f"; without a signal: {', '.join(self.left_out)}" if self.left_out else ""
        return f"share of the night with a signal: {listed}{absent}"

    def to_frame(self) -> pd.DataFrame:
        """One row per epoch: onset in seconds, stage by name, probabilities, number of sensors."""
        table = self.probabilities.copy()
        names = [SleepStage(int(stage)).name for stage in self.stages]
        table.insert(0, "onset", np.arange(len(table)) * float(EPOCH_SECONDS))
        table.insert(1, "stage", names)
        table["n_modalities"] = self.measured.sum(axis=1)
        return table

    def statistics(self) -> pd.Series:
        """Sleep statistics of the staged night; see :func:`sleep_statistics`."""
        return sleep_statistics(self.stages, lights=self.lights)

    def __repr__(self) -> str:
        counts = [f"{name} {(self.stages == SleepStage[name]).sum()}" for name in STAGES]
        if (self.stages < 0).any():
            counts.append(f"{(self.stages < 0).sum()} without a signal")
        name = f"{self.id}: " if self.id is not None else ""
        return f"StagedNight({name}{', '.join(counts)}; from {', '.join(self.modalities)})"


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


def _as_staged(
    night: Recording, probabilities: np.ndarray, valid: Mapping[str, np.ndarray],
    embedding: np.ndarray | None, card: dict, left_out: tuple[str, ...] = (),
) -> StagedNight:  # fmt: skip
    measured = np.stack(list(valid.values()), axis=1)
    staged = measured.any(axis=1)
    stages = np.full(night.n_epochs, int(SleepStage.unscored), dtype=np.int8)
    stages[staged] = probabilities[staged].argmax(axis=1)
    epochs = pd.RangeIndex(night.n_epochs, name="epoch")
    return StagedNight(
        id=night.id, stages=stages,
        probabilities=pd.DataFrame(probabilities, index=epochs, columns=list(STAGES)),
        measured=pd.DataFrame(measured, index=epochs, columns=list(valid)), left_out=left_out,
        lights=usable_lights(night.lights, night.n_epochs), embedding=embedding, card=card,
    )  # fmt: skip


def _stage_by_eeg(night: Recording, stager: Any, modalities: Sequence[str] | None) -> StagedNight:
    from ..model.checkpoint import load_checkpoint
    from ..model.external import SeqSleepNet

    is_path = isinstance(stager, str | os.PathLike)
    known = stager == "seqsleepnet" or not is_path or Path(stager).exists()
    loaded = load_checkpoint(stager) if is_path and known else stager
    if not isinstance(loaded, SeqSleepNet):
        what = f"a {type(loaded).__name__}, which gives no stages" if known else "no stager"
        raise CheckpointError(
            f"stager={stager!r} is {what}; accepted are "
            "'bundled', 'seqsleepnet', a path to its file, a SeqSleepNet, or a fitted classifier. "
            "Use stager='bundled'."
        )
    if modalities is not None and list_modalities(modalities) != ["eeg"]:
        raise InvalidRecordingError(
            f"modalities={modalities!r}, but stager={loaded.name!r} reads the EEG alone. Leave "
            "them out, or the stager."
        )
    with prefix_errors(describe_recording(night)):
        states, probabilities, valid = loaded.states_and_probabilities(night)
    if not valid.any():
        raise InvalidRecordingError(
            f"{describe_recording(night)}: no usable signal: eeg flat or mostly without samples, "
            f"and {loaded.name} reads that alone. Use stager='bundled', which takes other sensors."
        )
    return _as_staged(night, probabilities, {"eeg": valid}, states, loaded.card)


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
    return _as_staged(night, probabilities, valid, None, {})


def _encode(
    night: Recording, wanted: Sequence[str], head: StageHead, device: str, cache: Any
) -> EncodedNight:
    # torch takes seconds to import
    from .._torch import resolve_device
    from ..encoding._engine import Engine
    from ..encoding._sleep2vec import as_encoder
    from ..model.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(_CHECKPOINT)
    if checkpoint.sha256 != head.checkpoint_sha256:
        raise CheckpointError(
            f"the bundled stager reads the tokens of an encoder with sha256 "
            f"{head.checkpoint_sha256[:12]}, but {_CHECKPOINT} has {checkpoint.sha256[:12]}. "
            "Reinstall, or train it again: python -m benchmarks.weights.stager"
        )
    encoder = as_encoder(checkpoint, device=resolve_device(device))
    engine = Engine(encoder, wanted, 0, open_store(cache), find_windows=True)
    with closing(engine.encode([night], [describe_recording(night)])) as nights:
        encoded = next(nights)
    if encoded.error is not None:
        raise encoded.error
    return encoded


@dataclass(frozen=True, eq=False)
class StageHead:
    """Linear votes of the modalities, by tokens relative to their mean over the night."""

    modalities: tuple[str, ...]
    weight: np.ndarray = field(repr=False)  # float32 (n_modalities, width, 5)
    bias: np.ndarray = field(repr=False)  # float32 (n_modalities, 5)
    trust: np.ndarray = field(repr=False)  # float32 (n_modalities,), the weight of each vote
    checkpoint_sha256: str
    card: dict = field(repr=False, default_factory=dict)

    def probabilities(
        self, night: Mapping[str, EncodedModality], window: tuple[int, int] | None = None
    ) -> np.ndarray:
        """Probabilities, float64 of shape (n_epochs, 5); NaN where no modality is valid.

        Tokens are relative to their mean over the epochs of ``window``, all by default.
        """
        n_epochs = len(next(iter(night.values())).valid)
        centers = night_centers(night, window or (0, n_epochs), fewest=1)
        total, trust = np.zeros((n_epochs, len(STAGES))), np.zeros((n_epochs, 1))
        for i, name in enumerate(self.modalities):
            if centers is None or name not in centers:
                continue
            measured, relative = night[name].valid[:, None], night[name].tokens - centers[name]
            vote = relative.astype(np.float64) @ self.weight[i] + self.bias[i]
            total += np.where(measured, self.trust[i] * vote, 0)
            trust += measured * self.trust[i]
        with np.errstate(invalid="ignore", divide="ignore"):
            logits = total / trust
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)


def save_stage_head(path: str | os.PathLike, head: StageHead) -> None:
    """Write a head to one safetensors file, in float16."""
    with np.errstate(over="ignore"):
        tensors = {name: getattr(head, name).astype(np.float16) for name in _TENSORS}
    if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
        raise CheckpointError(f"{path}: not saved, it has values that are not finite as float16.")
    document = {
        "format_version": _FORMAT_VERSION, "modalities": list(head.modalities),
        "stages": list(STAGES), "checkpoint_sha256": head.checkpoint_sha256, "card": head.card,
    }  # fmt: skip
    try:
        description = json.dumps(document, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: not saved, the card must be JSON: {error}") from error
    write_atomic(Path(path), save(tensors, metadata={_METADATA_KEY: description}))


@lru_cache(maxsize=2)
def load_stage_head(path: str | os.PathLike = BUNDLED_HEAD) -> StageHead:
    """Read a head; the bundled one by default."""
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name).astype(np.float32) for name in _TENSORS}
            metadata = file.metadata() or {}
        document = json.loads(metadata[_METADATA_KEY])
        version = int(document["format_version"])
        modalities = tuple(document["modalities"])
        sha256, card = str(document["checkpoint_sha256"]), dict(document["card"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: no stager can be read from it ({error!r}). Get the file again, or reinstall "
            "if it was bundled."
        ) from error
    check_format_version(path, version, _FORMAT_VERSION, CheckpointError)
    n = len(modalities)
    shapes = [tensors[name].shape for name in _TENSORS]
    if shapes != [(n, *shapes[0][1:2], len(STAGES)), (n, len(STAGES)), (n,)]:
        raise CheckpointError(
            f"{path}: tensors have the shapes {shapes} for {n} modalities, {len(STAGES)} stages; "
            "get the file again."
        )
    return StageHead(modalities, **tensors, checkpoint_sha256=sha256, card=card)
