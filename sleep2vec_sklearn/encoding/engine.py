# SPDX-License-Identifier: BSD-3-Clause
"""From recordings to tokens: read and condition ahead in threads, encode one night at a time.

A night is read in one go; its channels are conditioned side by side, and the network takes each as
soon as it is there, so that a single night keeps two cores busy too.

The network is only ever called on the windows of one modality of one recording, so a row cannot
depend on the recordings around it, their order, or how many are read ahead.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import CheckpointError, InvalidRecordingError, ReadError, Sleep2VecError
from ..model.checkpoint import Checkpoint
from ..model.sleep2vec import Sleep2Vec
from ..signals.conditioning import ConditionedSignal, condition
from ..signals.modality import get_modality
from ..signals.recording import Recording
from .cache import EncodedModality, TokenCache, TokenStore, token_key
from .windows import cut_windows, merge_windows

__all__ = ["EncodedNight", "Engine", "network_for"]

ENCODING_REVISION = 1
_NETWORKS_KEPT = 4
_networks: OrderedDict[tuple[str, str], Sleep2Vec] = OrderedDict()
_building = threading.Lock()


def network_for(checkpoint: Checkpoint, device: str) -> Sleep2Vec:
    """The process's one network for a checkpoint on a device; built at the first call."""
    key = (checkpoint.sha256, device)
    with _building:
        if key not in _networks:
            _networks[key] = checkpoint.build().to(device)
            while len(_networks) > _NETWORKS_KEPT:
                _networks.popitem(last=False)
        _networks.move_to_end(key)
        return _networks[key]


@dataclass(frozen=True, slots=True)
class EncodedNight:
    """What became of one recording.

    Attributes
    ----------
    position : int
        Its place among the recordings given.
    modalities : dict of str to EncodedModality
        Tokens of each modality that has a signal; empty if ``error`` is set.
    left_out : tuple of str
        Sensors that count as missing because they are flat or have no samples.
    n_cached : int
        Modalities that were in the cache.
    error : Sleep2VecError or None
        Why it could not be encoded.
    rows : ndarray or None
        Its rows, made where it was encoded; the tokens are then left out.
    """

    position: int
    modalities: dict[str, EncodedModality]
    left_out: tuple[str, ...] = ()
    n_cached: int = 0
    error: Sleep2VecError | None = None
    rows: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class _PreparedNight:
    conditioned: dict[str, Future[ConditionedSignal | None]]
    cached: dict[str, EncodedModality]
    keys: dict[str, str]


class Engine:
    """Encode recordings with one checkpoint.

    Parameters
    ----------
    checkpoint : Checkpoint
        Config and weights.
    modalities : sequence of str
        Those to encode, in the order of their blocks.
    layer : "last", "projection" or int
        Which representation to give.
    precision : {"float32", "bfloat16"}
        Precision of the matrix products.
    device : str
        A torch device.
    read_ahead : int
        Recordings read and conditioned while another is encoded.
    cache : TokenStore, TokenCache or None
        Where tokens are kept between calls.
    """

    def __init__(self, checkpoint, modalities, layer, precision, device, read_ahead, cache):
        self.checkpoint: Checkpoint = checkpoint
        self.modalities: tuple[str, ...] = tuple(modalities)
        self.layer = layer
        self.precision = precision
        self.device = device
        self.read_ahead = read_ahead
        self.cache: TokenStore | TokenCache | None = cache
        self._conditioning = {m.name: m.conditioning for m in checkpoint.config.modalities}

    def encode(
        self, recordings: Sequence[Recording], places: Sequence[str]
    ) -> Iterator[EncodedNight]:
        """Yield one result per recording, in order; memory does not grow with their number.

        Parameters
        ----------
        recordings : sequence of Recording
        places : sequence of str
            How errors name each of them.
        """
        pending: deque[Future] = deque()
        with ThreadPoolExecutor(max_workers=min(self.read_ahead, _most_threads())) as pool:
            try:
                for position, recording in enumerate(recordings):
                    if len(pending) > self.read_ahead:
                        yield self._finish(position - len(pending), places, pending.popleft())
                    pending.append(pool.submit(self._prepare, recording, pool))
                for position in range(len(recordings) - len(pending), len(recordings)):
                    yield self._finish(position, places, pending.popleft())
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def holds(self, recording: Recording) -> bool:
        """Whether all tokens of a recording are in this process's memory."""
        names = [name for name in self.modalities if name in recording.modalities]
        try:
            keys = self._keys(recording, names)
        except (Sleep2VecError, OSError):
            return False
        return bool(names) and all(self.cache.peek(key) is not None for key in keys.values())

    def _prepare(self, recording: Recording, pool: ThreadPoolExecutor) -> _PreparedNight:
        names = [name for name in self.modalities if name in recording.modalities]
        if not names:
            raise InvalidRecordingError(
                f"the night has {', '.join(recording.modalities)}, none of which is among the "
                f"modalities to encode ({', '.join(self.modalities)}). Leave it out, or choose a "
                "checkpoint that supports them."
            )
        keys = self._keys(recording, names) if self.cache is not None else {}
        cached = {n: found for n, key in keys.items() if (found := self.cache.get(key)) is not None}
        signals = recording.read([name for name in names if name not in cached])
        conditioned = {
            name: pool.submit(
                condition, signal, get_modality(name), self._conditioning[name], recording.n_epochs
            )
            for name, signal in signals.items()
        }
        return _PreparedNight(conditioned, cached, keys)

    def _keys(self, recording: Recording, names: Sequence[str]) -> dict[str, str]:
        made_by = (self.checkpoint.sha256, self.layer, self.precision, ENCODING_REVISION)
        return {
            name: token_key(recording.signal_fingerprint(name), name, recording.n_epochs, *made_by)
            for name in names
        }

    def _finish(self, position: int, places: Sequence[str], future: Future) -> EncodedNight:
        try:
            night = future.result()
            encoded = self._encode_night(night)
            usable = {name: item for name, item in encoded.items() if item.valid.any()}
            left_out = tuple(name for name in encoded if name not in usable)
            if not usable:
                raise InvalidRecordingError(
                    f"no usable signal: {', '.join(left_out)} flat or mostly without samples; "
                    "accepted is at least one sensor that is on for half of an epoch. Leave the "
                    "recording out or pass on_error='nan'."
                )
        except (Sleep2VecError, OSError) as error:
            return EncodedNight(position, {}, error=_located(error, places[position]))
        return EncodedNight(position, usable, left_out, len(night.cached))

    def _encode_night(self, night: _PreparedNight) -> dict[str, EncodedModality]:
        encoded = {}
        for name in self.modalities:
            if name in night.cached:
                encoded[name] = night.cached[name]
            elif name in night.conditioned:
                encoded[name] = self._encode_once(name, night)
        return encoded

    def _encode_once(self, name: str, night: _PreparedNight) -> EncodedModality:
        # the same night may have been read ahead twice, or encoded by another thread
        found = None if self.cache is None else self.cache.peek(night.keys[name])
        if found is None:
            found = self._encode_modality(name, night.conditioned.pop(name).result())
            if self.cache is not None:
                self.cache.put(night.keys[name], found)
        return found

    def _encode_modality(self, name: str, signal: ConditionedSignal | None) -> EncodedModality:
        if signal is None:
            return EncodedModality.missing()
        network = network_for(self.checkpoint, self.device)
        context = self.checkpoint.config.context_epochs
        samples = torch.from_numpy(signal.epochs).to(self.device)
        valid = torch.from_numpy(signal.valid).to(self.device)
        n_epochs = len(valid)
        with torch.inference_mode(), self._autocast():
            tokens = network.tokenize(name, samples[None], missing=~valid[None])[0]
            tokens, mask = cut_windows(tokens, context), cut_windows(valid, context)
            hidden = network.encode(
                tokens, mask, layer="last" if self.layer == "projection" else self.layer
            )
            if self.layer == "projection":
                hidden = network.project(hidden)
            hidden = hidden.float()
            summary = None
            if self.checkpoint.config.cls:
                summary, hidden = hidden[:, 0].mean(0).cpu().numpy(), hidden[:, 1:]
            merged = merge_windows(hidden, n_epochs, context)
        if not merged.isfinite().all():
            raise CheckpointError(
                f"{name!r} gave tokens that are not finite with {self.checkpoint.name} in "
                f"{self.precision}. Try precision='float32', or get the checkpoint again."
            )
        return EncodedModality(merged.cpu().numpy(), signal.valid, summary)

    def _autocast(self):
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(torch.device(self.device).type, dtype=torch.bfloat16)


def _most_threads() -> int:
    # reading waits for files, so two are useful on one core too
    return max(2, os.cpu_count() or 1)


def _located(error: Sleep2VecError | OSError, place: str) -> Sleep2VecError:
    kind = type(error) if isinstance(error, Sleep2VecError) else ReadError
    located = kind(f"{place}: {error}")
    located.__cause__ = error
    return located
