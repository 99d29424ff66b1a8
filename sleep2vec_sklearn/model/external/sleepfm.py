# SPDX-License-Identifier: BSD-3-Clause
"""SleepFM: embeddings of all channels of a polysomnography, and stages from them.

Thapa et al. 2026, A multimodal sleep foundation model for disease prediction, Nature Medicine,
https://doi.org/10.1038/s41591-025-04133-4. Written from a description of the networks and of their
files; the weights are those of https://github.com/zou-group/sleepfm-clinical, and not included.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.special import log_softmax, softmax
from torch import Tensor

from ..._files import canonical_json, sha256, tensor_parts
from ..._torch import inference
from ..._untrusted import LONGEST_JSON, only_errors, parse_json, read_bytes, read_safetensors, shown
from ..._warnings import warn
from ...errors import (
    CheckpointError,
    CheckpointWarning,
    InvalidRecordingError,
    InvalidSignalError,
    RecordingWarning,
)
from ...recordings._resampling import band_filter
from ...recordings._usable import find_usable
from ...recordings.modality import EPOCH_SECONDS, get_modality
from ...recordings.recording import describe_recording
from ..config import LIMITS as MOST
from ..encoder import EncodedModality, Encoder, Part, SignalInput
from ..upstream._files import load_torch_file, state_in
from ._sleepfm_network import MOST_STEPS, PATCH, STAGES, SleepFMNetwork, SleepFMStagerNetwork
from ._weights import build_network

if TYPE_CHECKING:
    from ...recordings.recording import Recording

NAME = "sleepfm"
CARD = {
    "name": "SleepFM, base encoder",
    "source": "https://github.com/zou-group/sleepfm-clinical",
    "licence": "MIT in its repository; two mirrors on the Hugging Face hub say CC BY-NC 4.0",
    "training_data": "585,000 hours of polysomnography of 65,000 people, of several cohorts; SHHS "
    "was left out",
    "reference": "https://doi.org/10.1038/s41591-025-04133-4",
}
# what the hash covers besides the weights: changed with the conditioning or the chunks
_REVISION = 1

# modalities of each group of the original, and how many channels it was trained on at most
GROUPS: dict[str, tuple[str, ...]] = {
    "BAS": ("eeg", "eog"),
    "RESP": ("airflow", "effort", "spo2"),
    "EKG": ("ecg",),
    "EMG": ("emg",),
}
LIMITS = {"BAS": 10, "RESP": 7, "EKG": 2, "EMG": 4}
RATE = 128
CHUNK_EPOCHS = 10
_EPOCH = RATE * EPOCH_SECONDS
_PER_EPOCH = _EPOCH // PATCH
_CONFIG = "config.json"
_HEADS = 8
# of the configuration, and our parameters
_HEADS_OF = {"num_heads": "n_heads", "pooling_head": "n_pooling_heads"}
# as recorded, and of any size: SpO2 of a probe that is off counts as well
_SETTINGS = {
    name: replace(
        get_modality(name).conditioning, rate=RATE, band=(None, None), limits=(None, None),
        resampling="linear", clip=np.inf,
    )
    for names in GROUPS.values()
    for name in names
}  # fmt: skip
_BASE_KEYS = ("patch_embedding.tokenizer.", "temporal_pooling.transformer_layer.")
_STAGER_KEYS = ("lstm.weight_ih_l0", "fc.weight")
_POOLING = "spatial_pooling.transformer_layer."


@dataclass(frozen=True, slots=True)
class _GroupOfNight:
    """What SleepFM makes of one group of a night."""

    five_seconds: np.ndarray  # float32 (6 * n_epochs, width)
    five_minutes: np.ndarray  # float32 (n_chunks, width)
    starts: np.ndarray  # int64 (n_chunks,), the first epoch of each chunk
    measured: dict[str, np.ndarray]  # by modality, bool (n_epochs,)

    @property
    def valid(self) -> np.ndarray:
        """Which epochs have a signal, bool (n_epochs,)."""
        return np.any(list(self.measured.values()), axis=0)

    @property
    def chunks_valid(self) -> np.ndarray:
        """Which chunks have one, bool (n_chunks,)."""
        ends = np.minimum(self.starts + CHUNK_EPOCHS, len(self.valid))
        return np.array([self.valid[i:j].any() for i, j in zip(self.starts, ends, strict=True)])


class SleepFM(Encoder):
    """SleepFM: one vector for each epoch of EEG and EOG, breathing, ECG and EMG.

    Its groups are those of the original: ``"BAS"`` (all EEG and EOG), ``"RESP"`` (airflow, belts,
    SpO2), ``"EKG"`` and ``"EMG"``. Every derivation that a recording keeps
    (``read_recording(derivations="all")``) is a channel of its group, up to 10, 7, 2 and 4, and a
    group that a night lacks is left out. Chunks of 5 minutes are encoded; the vector of an epoch
    is the mean of its six embeddings of 5 s. ``pooling="cls"`` gives a night the mean of its
    embeddings of 5 minutes, and :meth:`encode_chunks` each of them.

    Signals are relative to the night, so a recording should be one night. Their unit does not
    matter where it is stated: a size that is not plausible in it is refused.

    :func:`~sleep2vec_sklearn.load_checkpoint` makes one of ``model_base/best.pt`` of the original,
    or of a safetensors file of its tensors.

    Parameters
    ----------
    state : dict of str to Tensor
        Parameters by their names in the original's files, without ``module.``.
    n_heads, n_pooling_heads : int, default=8
        Heads of attention over time, and over channels.

    Attributes
    ----------
    limits : dict of str to int
        Channels that are read of each group, at most.

    Raises
    ------
    CheckpointError
        If the tensors are those of another network, or not finite.

    References
    ----------
    Thapa R. et al., A multimodal sleep foundation model for disease prediction, Nature Medicine,
    2026.

    Examples
    --------
    >>> from sleep2vec_sklearn import load_checkpoint
    >>> from sleep2vec_sklearn.model import SleepFM
    >>> SleepFM.limits
    {'BAS': 10, 'RESP': 7, 'EKG': 2, 'EMG': 4}
    >>> sleepfm = load_checkpoint("model_base/best.pt")  # doctest: +SKIP
    >>> tokens, valid, night_vector = sleepfm.encode(night, "BAS")  # doctest: +SKIP
    """

    limits = LIMITS

    def __init__(
        self, state: Mapping[str, Tensor], n_heads: int = _HEADS, n_pooling_heads: int = _HEADS
    ):
        width, n_layers = _sizes(state)
        for heads in (n_heads, n_pooling_heads):
            if width % heads:
                raise CheckpointError(
                    f"vectors of {width} numbers cannot be shared by {heads} heads; accepted is a "
                    "divisor, which the file's config.json says."
                )
        self.network = build_network(
            partial(SleepFMNetwork, width, n_heads, n_layers, n_pooling_heads), state,
            "SleepFM's encoder for channels of one signal each",
            f"Get model_base/best.pt of {CARD['source']}.",
        )  # fmt: skip
        self.network.fold()
        settings = {"network": NAME, "revision": _REVISION, "heads": [n_heads, n_pooling_heads]}
        super().__init__(
            NAME, sha256(*tensor_parts(self.network.state_dict()), canonical_json(settings)),
            GROUPS, dict.fromkeys(GROUPS, width),
            tuple(
                SignalInput(
                    name, RATE, min_rate=_SETTINGS[name].min_rate, derivation="any, and all",
                    conditioning="below 64 Hz; mean 0 and SD 1 over the night, as float16",
                )
                for name in _SETTINGS
            ),
            context_epochs=CHUNK_EPOCHS, has_summary=True, card=dict(CARD),
        )  # fmt: skip

    def encode(self, recording: Recording, group: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Vectors (n_epochs, width), which are valid, and the mean embedding of 5 minutes."""
        night = self._read_group(recording, group)
        tokens = night.five_seconds.reshape(recording.n_epochs, _PER_EPOCH, -1).mean(axis=1)
        weights = night.chunks_valid.astype(np.float32)
        vector = weights @ night.five_minutes / max(weights.sum(), 1)
        return tokens, night.valid, vector

    def encode_chunks(
        self, recording: Recording, group: str
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Embeddings of 5 minutes, the original's for a night as a whole.

        Parameters
        ----------
        recording : Recording
            One night.
        group : str
            One of :attr:`groups`.

        Returns
        -------
        embeddings : float32 ndarray of shape (n_chunks, width)
            The last chunk ends with the night, so it may overlap the one before; a night of less
            than 5 minutes is one chunk.
        starts : int64 ndarray of shape (n_chunks,)
            The first epoch of each.
        valid : bool ndarray of shape (n_chunks,)
            Which have a signal.

        Raises
        ------
        InvalidRecordingError
            If the night has no modality of the group.
        """
        night = self._read_group(recording, group)
        return night.five_minutes, night.starts, night.chunks_valid

    def embed(
        self, chunks: np.ndarray, missing: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings of chunks, from samples as the network takes them.

        Parameters
        ----------
        chunks : array of shape (n_chunks, n_channels, n_samples)
            At 128 Hz, of mean 0 and standard deviation 1; in whole patches of 640 samples.
        missing : bool array of shape (n_chunks, n_channels), optional
            Channels that a chunk lacks; none by default.

        Returns
        -------
        five_seconds : float32 ndarray of shape (n_chunks, n_patches, width)
        five_minutes : float32 ndarray of shape (n_chunks, width)

        Raises
        ------
        InvalidSignalError
            If the samples are of another shape.
        """
        chunks = np.asarray(chunks)
        if chunks.ndim != 3 or 0 in chunks.shape or chunks.shape[2] % PATCH:
            raise InvalidSignalError(
                f"chunks have shape {chunks.shape}; accepted is (n_chunks, n_channels, n_samples), "
                f"with whole patches of {PATCH} samples."
            )
        samples = torch.as_tensor(chunks).unflatten(2, (-1, PATCH))
        n_chunks, n_channels, n_patches, _ = samples.shape
        missing = np.zeros((n_chunks, n_channels)) if missing is None else np.asarray(missing)
        if missing.shape != (n_chunks, n_channels):
            raise InvalidSignalError(
                f"missing has shape {missing.shape}; accepted is {(n_chunks, n_channels)}."
            )
        off = torch.from_numpy(missing.astype(bool))
        with inference():
            tokens = self.network.pool_channels(
                samples.transpose(0, 1).flatten(1, 2), off.T.repeat_interleave(n_patches, dim=1)
            )
            states, chunk_states = self.network.add_context(tokens.unflatten(0, (n_chunks, -1)))
        return states.numpy(), chunk_states.numpy()

    def _read_group(self, recording: Recording, group: str) -> _GroupOfNight:
        """All that the network makes of one group of a recording."""
        n_epochs, width = recording.n_epochs, self.widths[group]
        channels, measured = _read_channels(recording, group)
        length = min(CHUNK_EPOCHS, n_epochs)
        starts = chunk_starts(n_epochs, length)
        if not channels:
            zeros = np.zeros((n_epochs * _PER_EPOCH + len(starts), width), dtype=np.float32)
            return _GroupOfNight(zeros[len(starts) :], zeros[: len(starts)], starts, measured)
        patches = torch.from_numpy(np.stack([samples for samples, _ in channels]))
        missing = torch.from_numpy(~np.stack([valid for _, valid in channels]))
        epochs = torch.from_numpy(starts)[:, None] + torch.arange(length)
        with inference():
            tokens = self.network.pool_channels(
                patches.unflatten(1, (-1, PATCH)), missing.repeat_interleave(_PER_EPOCH, dim=1)
            ).view(n_epochs, _PER_EPOCH, width)
            states, five_minutes = self.network.add_context(tokens[epochs].flatten(1, 2))
        # an epoch of two chunks is that of the first, as in the original
        n_last = _PER_EPOCH * (n_epochs - length * (len(starts) - 1))
        five_seconds = torch.cat([states[:-1].flatten(0, 1), states[-1, -n_last:]])
        return _GroupOfNight(five_seconds.numpy(), five_minutes.numpy(), starts, measured)

    def fingerprint(self, recording: Recording, part: Part) -> str:
        """Hash of the signals of all channels of a group."""
        channels = _channels(recording, part[0])
        return sha256(repr([(*c, recording.signal_fingerprint(*c)) for c in channels]))

    def tasks(
        self, recording: Recording, parts: Sequence[Part]
    ) -> Iterator[tuple[Part, Callable[[], EncodedModality]]]:
        """The calls that encode the groups of a night, in several threads at a time."""
        for part in parts:
            yield part, partial(self._encode_checked, recording, part[0])


class SleepFMStager:
    """The stager of SleepFM: stages of a night from all groups that it has.

    Parameters
    ----------
    encoder : SleepFM
        The base encoder, from :func:`~sleep2vec_sklearn.load_checkpoint`.
    head : path-like or dict of str to Tensor
        ``model_sleep_staging/best.pth`` of the original, a safetensors file of its tensors, or
        these.

    Attributes
    ----------
    stages : tuple of str
        Order of the probabilities.
    encoder : SleepFM
    card : dict
        Provenance, licence and training data.

    Raises
    ------
    CheckpointError
        If a file or the tensors are those of another network, damaged, or of another width.

    Examples
    --------
    >>> from sleep2vec_sklearn import load_checkpoint, stage_night
    >>> from sleep2vec_sklearn.model import SleepFMStager
    >>> SleepFMStager.stages
    ('W', 'N1', 'N2', 'N3', 'R')
    >>> sleepfm = load_checkpoint("model_base/best.pt")  # doctest: +SKIP
    >>> stager = SleepFMStager(sleepfm, "model_sleep_staging/best.pth")  # doctest: +SKIP
    >>> stage_night(night, stager=stager)  # doctest: +SKIP
    """

    stages = STAGES
    name = NAME

    def __init__(self, encoder: SleepFM, head: str | os.PathLike | Mapping[str, Tensor]):
        if not isinstance(encoder, SleepFM):
            raise CheckpointError(
                f"encoder is a {type(encoder).__name__}; the stager reads embeddings of SleepFM. "
                "Use SleepFMStager(load_checkpoint('model_base/best.pt'), head)."
            )
        self.encoder, self.card = encoder, {**encoder.card, "name": "SleepFM, stager"}
        self._width = encoder.widths["BAS"]
        if isinstance(head, Mapping):
            where, state = "the stager", head
        else:
            where, state = str(head), _read_tensors(Path(head))
            self.card["stager"] = Path(head).name
        try:
            self.network = build_network(
                partial(SleepFMStagerNetwork, self._width), _without_prefix(state),
                f"the stager for an encoder of width {self._width}",
                f"Get model_sleep_staging/best.pth of {CARD['source']}.",
            )  # fmt: skip
        except CheckpointError as error:
            raise CheckpointError(f"{where}: {error}") from error

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.encoder!r})"

    def predict_proba(self, recording: Recording) -> np.ndarray:
        """Probabilities of the stages.

        Parameters
        ----------
        recording : Recording
            One night.

        Returns
        -------
        float64 ndarray of shape (n_epochs, 5)
            W, N1, N2, N3, R; NaN where no group has a signal.

        Raises
        ------
        InvalidRecordingError
            If there is none of its modalities.
        """
        return self.read_and_stage(recording)[0]

    def read_and_stage(self, recording: Recording) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """:meth:`predict_proba`, and by modality which epochs have a signal."""
        parts = self.encoder.parts(recording, [*GROUPS])
        if not parts:
            raise InvalidRecordingError(
                f"the night has {', '.join(recording.modalities)}; {self.name} reads "
                f"{', '.join(_SETTINGS)}. Choose another stager for it."
            )
        n_epochs = recording.n_epochs
        shape = (1, len(GROUPS), n_epochs * _PER_EPOCH)
        embeddings = np.zeros((*shape, self._width), dtype=np.float32)
        missing = np.ones(shape, dtype=bool)
        measured: dict[str, np.ndarray] = {}
        for group, _ in parts:
            night, place = self.encoder._read_group(recording, group), list(GROUPS).index(group)
            embeddings[0, place] = night.five_seconds
            missing[0, place] = ~np.repeat(night.valid, _PER_EPOCH)
            measured |= night.measured
        logits = np.empty((n_epochs * _PER_EPOCH, len(self.stages)))
        length = min(MOST_STEPS // _PER_EPOCH, n_epochs)
        for start in chunk_starts(n_epochs, length)[::-1] * _PER_EPOCH:
            window = slice(start, start + length * _PER_EPOCH)
            logits[window] = self.logits(embeddings[:, :, window], missing[:, :, window])[0]
        scores = log_softmax(logits, axis=1).reshape(n_epochs, _PER_EPOCH, -1)
        probabilities = softmax(scores.mean(axis=1), axis=1)
        on = np.any(list(measured.values()), axis=0)
        return np.where(on[:, None], probabilities, np.nan), measured

    def logits(self, embeddings: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """Logits for each 5 s, from embeddings of the groups.

        Parameters
        ----------
        embeddings : array of shape (n_nights, n_groups, n_patches, width)
            Of 5 s; at most 8196 patches.
        missing : bool array of shape (n_nights, n_groups, n_patches)
            Where a group has no signal.

        Returns
        -------
        float32 ndarray of shape (n_nights, n_patches, 5)
        """
        vectors = torch.as_tensor(np.asarray(embeddings, dtype=np.float32))
        with inference():
            return self.network(vectors, torch.as_tensor(np.asarray(missing, dtype=bool))).numpy()


def chunk_starts(n_epochs: int, length: int) -> np.ndarray:
    """First epoch of each chunk; one follows the other, and the last ends with the night."""
    return np.array([*range(0, n_epochs - length, length), n_epochs - length])


def _channels(recording: Recording, group: str) -> list[tuple[str, int]]:
    """Modalities and derivations of a group; the first of each modality come first."""
    kept = recording.derivations if recording.derivation_mode != "one" else {}
    names = [name for name in GROUPS[group] if name in recording.modalities]
    if not names:
        raise InvalidRecordingError(
            f"the night has {', '.join(recording.modalities)}; SleepFM's {group} is made of "
            f"{', '.join(GROUPS[group])}. Choose another group."
        )
    channels = [(name, i) for name in names for i in range(len(kept.get(name, ())) or 1)]
    return sorted(channels, key=lambda channel: channel[1])


def _read_channels(
    recording: Recording, group: str
) -> tuple[list[tuple[np.ndarray, np.ndarray]], dict[str, np.ndarray]]:
    """Samples and valid epochs of each channel that is on, and the valid epochs by modality."""
    found, problem = [], None
    measured: dict[str, np.ndarray] = {}
    for name, index in _channels(recording, group):
        off = np.zeros(recording.n_epochs, dtype=bool)
        try:
            samples, valid = condition_channel(recording, name, index)
        except InvalidSignalError as error:
            problem, valid = problem or error, off
        if valid.any():
            found.append((samples, valid))
        measured[name] = measured.get(name, off) | valid
        if len(found) == LIMITS[group]:
            break
    if problem is not None and not found:
        raise problem
    if problem is not None:
        warn(
            f"{describe_recording(recording)}: a channel of {group} is left out, others of it are "
            f"used: {problem}",
            RecordingWarning,
        )
    return found, measured


def condition_channel(
    recording: Recording, name: str, index: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Samples as the network takes them, float16 (n_epochs * 3840,), and the valid epochs."""
    signal, n_epochs = recording.signal(name, index), recording.n_epochs
    values, rate, valid = find_usable(signal, get_modality(name), _SETTINGS[name], n_epochs)
    if not valid.any():
        return np.zeros(0, dtype=np.float16), valid
    gap = ~np.isfinite(signal.values[: len(values)])
    values = np.array(values, dtype=np.float32)
    if rate > RATE:
        band_filter(values, (None, RATE / 2), rate, order=4)
    at, own = np.arange(n_epochs * _EPOCH) * (rate / RATE), np.arange(len(values))
    there = (np.interp(at, own, gap) == 0) & (at < len(values))
    values = np.interp(at, own, values)
    values -= values[there].mean()
    values /= values[there].std() or 1
    values[~there] = 0
    return values.astype(np.float16), valid


def is_sleepfm(state: Mapping[str, Any]) -> bool:
    """Whether the names of tensors are those of SleepFM's networks."""
    names = [name.removeprefix("module.") for name in state]
    return any(name.startswith((*_BASE_KEYS, _POOLING)) for name in names)


def read_state(path: Path, state: Mapping[str, Tensor]) -> SleepFM:
    """The encoder of a file's tensors, with the sizes in ``config.json`` beside the file."""
    state = _without_prefix(state)
    if not any(name.startswith(_BASE_KEYS) for name in state) and {*_STAGER_KEYS} <= {*state}:
        raise CheckpointError(
            f"{path}: SleepFM's stager, which needs its encoder: SleepFMStager(load_checkpoint("
            f"'model_base/best.pt'), {str(path)!r})."
        )
    try:
        heads = _read_heads(path, *_sizes(state))
        encoder = SleepFM(state, **heads)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    if len(heads) < len(_HEADS_OF):
        warn(
            f"{path}: no {_CONFIG} beside it says how many heads of attention it has "
            f"({', '.join(key for key, name in _HEADS_OF.items() if name not in heads)}), and its "
            f"tensors do not; {_HEADS} are used, as in SleepFM's published encoder. Said once.",
            CheckpointWarning,
        )
    encoder.card["file"] = path.name
    return encoder


def configuration_files(path: Path) -> list[Path]:
    """The file that says the sizes, if it is there."""
    return [file for file in [path.with_name(_CONFIG)] if file.is_file()]


def _read_heads(path: Path, width: int, n_layers: int) -> dict[str, int]:
    for file in configuration_files(path):
        try:
            values = parse_json(read_bytes(file, LONGEST_JSON), finite=False)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{_CONFIG} beside it is no JSON ({error}).") from error
        if not isinstance(values, Mapping):
            raise CheckpointError(f"{_CONFIG} beside it is no JSON object.")
        sizes = {"in_channels": 1, "patch_size": PATCH, "embed_dim": width, "num_layers": n_layers}
        wrong = [
            f"{key} {shown(values[key])}, the tensors say {size}"
            for key, size in sizes.items()
            if key in values and (isinstance(values[key], bool) or values[key] != size)
        ]
        heads = {name: values[key] for key, name in _HEADS_OF.items() if key in values}
        wrong += [
            f"{key} {shown(heads[name])}, accepted is a divisor of {width}"
            for key, name in _HEADS_OF.items()
            if name in heads and not _divides(heads[name], width)
        ]
        if wrong:
            raise CheckpointError(
                f"{_CONFIG} beside it is not of this file: {'; '.join(wrong)}. Get the one of the "
                "same folder, or take it away if it is of something else."
            )
        return heads
    return {}


def _divides(value: Any, width: int) -> bool:
    return type(value) is int and value > 0 and width % value == 0


def _sizes(state: Mapping[str, Tensor]) -> tuple[int, int]:
    """Width and number of layers, by the shapes of tensors."""
    norm = state.get("layer_norm.weight")
    prefix, suffix = "transformer_encoder.layers.", ".norm1.weight"
    layers = [name for name in state if name.startswith(prefix) and name.endswith(suffix)]
    if len(layers) > MOST["n_layers"]:
        raise CheckpointError(f"{len(layers)} layers; accepted are up to {MOST['n_layers']}.")
    return (len(norm) if norm is not None and norm.ndim == 1 else 128), len(layers)


def _without_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def _read_tensors(path: Path) -> dict[str, Tensor]:
    with only_errors(CheckpointError, path, "Get it again."):
        if path.suffix == ".safetensors":
            return read_safetensors(path)[0]
        return state_in(path, load_torch_file(path))
