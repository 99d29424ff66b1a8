# SPDX-License-Identifier: BSD-3-Clause
"""Checkpoints of sleep2vec as encoders: windows of a night through the network.

The network is only ever called on the windows of one modality of one recording, so a row cannot
depend on the recordings around it, their order, how many are read ahead, or the number of threads.

A night of n epochs and a context of c epochs gives windows that start every c // 2 epochs, the
last one ending with the night; a shorter night is one window. An epoch's token is the mean over
the windows that hold it, weighted by a triangle that peaks in each window's middle, where the
network sees most on either side. The layout depends on n and c alone.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from ..errors import CheckpointError
from ..model.checkpoint import BUNDLED, Checkpoint
from ..model.config import EncoderConfig
from ..model.encoder import EncodedModality, Encoder, Part, SignalInput, check_encoder
from ..model.network import Sleep2Vec
from ..recordings._conditioning import ConditionedSignal, condition_derivation, read_conditioned
from ..recordings.modality import get_modality
from ..recordings.recording import Recording

_NETWORKS_KEPT = 4
_networks: OrderedDict[tuple[str, str], Sleep2Vec] = OrderedDict()
_building = threading.Lock()


def as_encoder(
    checkpoint: Checkpoint | Encoder, layer: str | int = "last", precision: str = "float32",
    device: str = "cpu",
) -> Encoder:  # fmt: skip
    """The encoder of a checkpoint with these settings, of which others have only the defaults."""
    if isinstance(checkpoint, Checkpoint):
        return Sleep2VecEncoder.of(checkpoint, layer, precision, device)
    check_encoder(checkpoint)
    if checkpoint.name in BUNDLED:
        raise CheckpointError(
            f"an encoder with sha256 {checkpoint.sha256[:12]} is called {checkpoint.name!r} like a "
            "bundled one, and tables would not tell them apart. Give it another name."
        )
    if layer != "last" or precision != "float32":
        raise CheckpointError(
            f"{checkpoint.name} is no sleep2vec encoder and has no layer={layer!r} in "
            f"precision={precision!r}; accepted are layer='last' and precision='float32'."
        )
    return checkpoint


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Sleep2VecEncoder(Encoder):
    """A checkpoint read at one layer, in one precision, on one device."""

    checkpoint: Checkpoint
    layer: str | int
    precision: str
    device: str

    @classmethod
    def of(
        cls, checkpoint: Checkpoint, layer: str | int, precision: str, device: str
    ) -> Sleep2VecEncoder:
        """Check the layer, and say what the configuration says in the words of the protocol."""
        config = checkpoint.config
        check_layer(config, layer)
        width = config.hidden_size
        if layer == "projection" and config.projection is not None:
            width = config.projection.out_size
        inputs = [
            SignalInput(
                m.name, m.conditioning.rate, get_modality(m.name).unit, m.conditioning.min_rate,
                conditioning=m.conditioning,
            )
            for m in config.modalities
        ]  # fmt: skip
        return cls(
            checkpoint.name, checkpoint.sha256, {name: (name,) for name in config.names},
            dict.fromkeys(config.names, width), tuple(inputs), config.context_epochs,
            prefix="sleep2vec", has_summary=config.cls and layer != "projection",
            centered=bool(checkpoint.card.get("centered", False)), card=checkpoint.card,
            checkpoint=checkpoint, layer=layer, precision=precision, device=device,
        )  # fmt: skip

    @property
    def key(self) -> tuple:
        """What tokens depend on besides the signal."""
        return self.sha256, self.layer, self.precision

    def encode(self, recording: Recording, group: str) -> tuple[np.ndarray, np.ndarray]:
        """Tokens of one modality, and its valid epochs; :meth:`tasks` reads several together."""
        ((_, task),) = self.tasks(recording, [(group, 0)])
        encoded = task()
        return encoded.tokens, encoded.valid

    def parts(self, recording: Recording, groups: Sequence[str]) -> list[Part]:
        """Each modality, or each of its derivations."""
        kept = recording.derivations if recording.derivation_mode == "all" else {}
        names = [name for name in groups if name in recording.modalities]
        return [(name, index) for name in names for index in range(len(kept.get(name, ())) or 1)]

    def fingerprint(self, recording: Recording, part: Part) -> str:
        """Hash of one derivation's samples."""
        return recording.signal_fingerprint(*part)

    def tasks(
        self, recording: Recording, parts: Sequence[Part]
    ) -> Iterator[tuple[Part, Callable[[], EncodedModality]]]:
        """First derivations are read together, others one by one, when their turn comes."""
        settings = {m.name: m.conditioning for m in self.checkpoint.config.modalities}
        first = {name: settings[name] for name, index in parts if index == 0}
        for name, conditioned in read_conditioned(recording, first):
            yield (name, 0), partial(self._encode_next, name, conditioned)
        for name, index in parts:
            if index:
                # so that memory does not grow with the derivations
                conditioned = partial(condition_derivation, recording, name, index, settings[name])
                yield (name, index), partial(self._encode_next, name, conditioned)

    def _encode_next(
        self, name: str, condition: Callable[[], ConditionedSignal | None]
    ) -> EncodedModality:
        return self.encode_signal(name, condition())

    def encode_signal(self, name: str, signal: ConditionedSignal | None) -> EncodedModality:
        """Tokens of a conditioned signal; None is a sensor that is off all night."""
        if signal is None:
            return EncodedModality.missing()
        config = self.checkpoint.config
        network = network_for(self.checkpoint, self.device)
        samples = torch.from_numpy(signal.epochs).to(self.device)
        valid = torch.from_numpy(signal.valid).to(self.device)
        lower = self.precision != "float32"
        autocast: Any = torch.autocast(samples.device.type, torch.bfloat16)
        with torch.inference_mode(), autocast if lower else nullcontext():
            missing = None if valid.all() else ~valid[None]
            tokens = network.tokenize(name, samples[None], missing)[0]
            tokens, mask = (cut_windows(part, config.context_epochs) for part in (tokens, valid))
            layer = "last" if self.layer == "projection" else self.layer
            hidden = network.encode(tokens, mask, layer=layer)
            if self.layer == "projection":
                hidden = network.project(hidden)
            hidden = hidden.float()
            summary = None
            if config.cls:
                summary, hidden = hidden[:, 0].mean(0).cpu().numpy(), hidden[:, 1:]
            merged = merge_windows(hidden, len(valid), config.context_epochs)
        if not merged.isfinite().all():
            raise CheckpointError(
                f"{name!r} gave tokens that are not finite with {self.name} in "
                f"{self.precision}. Try precision='float32', or get the checkpoint again."
            )
        return EncodedModality(merged.cpu().numpy(), signal.valid, summary)


def check_layer(config: EncoderConfig, layer: str | int) -> None:
    """Refuse a layer that a checkpoint does not have."""
    if layer == "projection" and config.projection is None:
        raise CheckpointError("layer='projection': this checkpoint has no projection head.")
    accepted = ("last", "projection", *range(config.n_layers + 1))
    if isinstance(layer, bool) or layer not in accepted:
        listed = ", ".join(map(repr, accepted))
        raise ValueError(f"layer must be one of {listed}; got {layer!r}.")


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


def window_starts(n_epochs: int, context: int) -> np.ndarray:
    """First epoch of each window, shape (n_windows,)."""
    if n_epochs <= context:
        return np.zeros(1, dtype=np.int64)
    last = n_epochs - context
    return np.append(np.arange(0, last, max(context // 2, 1)), last)


def cut_windows(sequence: torch.Tensor, context: int) -> torch.Tensor:
    """Cut (n_epochs, ...) into (n_windows, min(context, n_epochs), ...)."""
    n_epochs = sequence.shape[0]
    starts = torch.from_numpy(window_starts(n_epochs, context)).to(sequence.device)
    index = starts[:, None] + torch.arange(min(context, n_epochs), device=sequence.device)
    return sequence[index]


def merge_windows(windows: torch.Tensor, n_epochs: int, context: int) -> torch.Tensor:
    """Average (n_windows, length, width) back to (n_epochs, width)."""
    if len(windows) == 1:
        return windows[0]
    length = windows.shape[1]
    ramp = torch.arange(1, length + 1, dtype=windows.dtype, device=windows.device)
    weights = torch.minimum(ramp, ramp.flip(0))
    merged = windows.new_zeros(n_epochs, windows.shape[2])
    total = windows.new_zeros(n_epochs)
    for start, window in zip(window_starts(n_epochs, context), windows, strict=True):
        merged[start : start + length] += window * weights[:, None]
        total[start : start + length] += weights
    return merged / total[:, None]
