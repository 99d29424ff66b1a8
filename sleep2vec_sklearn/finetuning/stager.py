# SPDX-License-Identifier: BSD-3-Clause
"""Sleep stages of a night, ready made: the bundled encoder and a bundled head."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from .._hardware import resolve_device
from ..encoding.cache import check_cache, open_store
from ..encoding.fusion import fuse
from ..errors import CheckpointError, InvalidRecordingError
from ..evaluation.sleep_statistics import sleep_statistics
from ..signals import EPOCH_SECONDS, Recording, SleepStage
from ..signals.modality import list_modalities
from ..signals.naming import describe_place
from ..signals.recording import as_recording
from .stage_head import STAGES, StageHead, load_stage_head

__all__ = ["StagedNight", "stage_night"]

_CHECKPOINT = "sleep2vec-mini"


def stage_night(
    recording, *, modalities: Sequence[str] | None = None, device: str = "auto", cache="memory"
) -> StagedNight:
    """Stage a night with whatever sensors it has.

    The encoder is sleep2vec-mini. The head is linear, one vote per sensor, and was trained on
    simulated nights and on nights of few real people; which, and how good it is on people it did
    not see, is in the model card and in ``StagedNight.card``. It is no medical device.

    Parameters
    ----------
    recording : Recording, dict or path
        One night; the whole of it, as its epochs are compared with each other.
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
        If it is no recording, or has no usable signal of any modality.
    ReadError
        If a file cannot be read.

    Examples
    --------
    >>> from sleep2vec_sklearn import make_sleep_cohort, stage_night
    >>> night = make_sleep_cohort(1, hours=2, modalities=["eeg"], missing=0, random_state=0)[0]
    >>> staged = stage_night(night)
    >>> staged
    StagedNight(sim-0001-n1: W 74, N1 15, N2 89, N3 53, R 9; from eeg)
    >>> staged.probabilities.iloc[100].round(1).to_dict()
    {'W': 0.0, 'N1': 0.0, 'N2': 0.5, 'N3': 0.5, 'R': 0.0}
    """
    night = _as_night(recording)
    check_cache(cache)
    head = load_stage_head()
    wanted = head.modalities if modalities is None else tuple(list_modalities(modalities))
    encoded = _encode(night, wanted, head, device, cache)
    tokens = {name: found.tokens for name, found in encoded.modalities.items()}
    valid = {name: found.valid for name, found in encoded.modalities.items()}
    probabilities = head.probabilities(tokens, valid)
    measured = np.stack(list(valid.values()), axis=1)
    told = measured.any(axis=1)
    stages = np.full(night.n_epochs, int(SleepStage.unscored), dtype=np.int8)
    stages[told] = probabilities[told].argmax(axis=1)
    epochs = pd.RangeIndex(night.n_epochs, name="epoch")
    return StagedNight(
        id=night.id,
        stages=stages,
        probabilities=pd.DataFrame(probabilities, index=epochs, columns=list(STAGES)),
        measured=pd.DataFrame(measured, index=epochs, columns=list(valid)),
        left_out=encoded.left_out,
        lights=night.lights,
        embedding=fuse(encoded.modalities, wanted, "mean")[0],
        card=head.card,
    )


@dataclass(frozen=True, eq=False)
class StagedNight:
    """What :func:`stage_night` finds.

    Attributes
    ----------
    id : str or None
        Of the recording.
    stages : int8 ndarray of shape (n_epochs,)
        The most probable stage; -1 where no sensor has a signal.
    probabilities : DataFrame of shape (n_epochs, 5)
        The hypnodensity: columns W, N1, N2, N3, R; NaN where no sensor has a signal.
    measured : bool DataFrame of shape (n_epochs, n_modalities)
        Which sensors each epoch rests on.
    left_out : tuple of str
        Sensors that are flat or without samples.
    lights : (float or None, float or None) or None
        Of the recording.
    embedding : float32 ndarray of shape (n_epochs, width)
        The encoder's rows, fused by their mean.
    card : dict
        What the head was trained on, and how good it is on people it did not see.

    Examples
    --------
    >>> from sleep2vec_sklearn import make_sleep_cohort, stage_night
    >>> night = make_sleep_cohort(1, hours=2, modalities=["eeg"], missing=0, random_state=0)[0]
    >>> staged = stage_night(night)
    >>> staged.rests_on
    'share of the night with a signal: eeg 100 %'
    >>> staged.to_frame().columns.tolist()
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
        lost = f"; without a signal: {', '.join(self.left_out)}" if self.left_out else ""
        return f"share of the night with a signal: {listed}{lost}"

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
        lost = int((self.stages < 0).sum())
        lost = f", {lost} without a signal" if lost else ""
        name = f"{self.id}: " if self.id is not None else ""
        sensors = ", ".join(self.modalities)
        return f"StagedNight({name}{', '.join(counts)}{lost}; from {sensors})"


def _as_night(recording) -> Recording:
    if isinstance(recording, str | os.PathLike):
        from ..readers import read_recording

        return read_recording(recording)
    if isinstance(recording, Sequence) and not isinstance(recording, Recording):
        raise InvalidRecordingError(
            f"stage_night takes one recording, got a {type(recording).__name__}; stage them one by "
            "one: [stage_night(night) for night in nights]."
        )
    return as_recording(recording)


def _encode(night: Recording, wanted: Sequence[str], head: StageHead, device: str, cache):
    # what needs torch is imported where it is used
    from ..encoding.engine import Engine
    from ..model.checkpoint import load_checkpoint
    from .sources import without_advice

    checkpoint = load_checkpoint(_CHECKPOINT)
    if checkpoint.sha256 != head.checkpoint_sha256:
        raise CheckpointError(
            f"the bundled stager reads the tokens of an encoder with sha256 "
            f"{head.checkpoint_sha256[:12]}, but {_CHECKPOINT} has {checkpoint.sha256[:12]}. "
            "Reinstall, or train it again: python -m benchmarks.bundled_stager.train"
        )
    engine = Engine(
        checkpoint, wanted, "last", "float32", resolve_device(device), 0, open_store(cache)
    )
    with closing(engine.encode([night], [describe_place(night)])) as nights:
        encoded = next(nights)
    if encoded.error is not None:
        raise without_advice(encoded.error)
    return encoded
