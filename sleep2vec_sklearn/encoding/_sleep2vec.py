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
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from .._files import free_at_fork
from .._torch import inference
from ..errors import CheckpointError
from ..model.checkpoint import BUNDLED, Checkpoint
from ..model.config import EncoderConfig
from ..model.encoder import EncodedModality, Encoder, Part, SignalInput, check_encoder
from ..model.network import Sleep2Vec
from ..recordings._conditioning import ConditionedSignal, fingerprint
from ..recordings.modality import Conditioning, get_modality
from ..recordings.recording import Recording
from ._expert_blocks import (
    TIME,
    TIME_COLUMNS,
    list_parts,
    list_tasks,
    neutral_values,
    summarise,
    summary_names,
    time_fingerprint,
)

_NETWORKS_KEPT = 4
_networks: OrderedDict[tuple[str, str], Sleep2Vec] = OrderedDict()
_building = threading.Lock()
free_at_fork(_building)


def as_encoder(
    checkpoint: Checkpoint | Encoder, layer: str | int = "last", precision: str = "float32",
    device: str = "cpu", states_only: bool = False,
) -> Encoder:  # fmt: skip
    """The encoder of a checkpoint with these settings, of which others have only the defaults.

    With ``states_only`` no expert columns follow the network's states, for heads.
    """
    if isinstance(checkpoint, Checkpoint):
        return Sleep2VecEncoder.of(checkpoint, layer, precision, device, states_only)
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
    own: dict[str, tuple[str, ...]]  # expert columns that follow the state, by group

    @classmethod
    def of(
        cls, checkpoint: Checkpoint, layer: str | int, precision: str, device: str,
        states_only: bool = False,
    ) -> Sleep2VecEncoder:  # fmt: skip
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
        groups: dict[str, tuple[str, ...]] = {name: (name,) for name in config.names}
        widths = dict.fromkeys(config.names, width)
        own = {}
        has_columns = any(m.conditioning.columns for m in config.modalities)
        if layer == "last" and has_columns and not states_only:
            own = {m.name: _followers(m.conditioning.columns) for m in config.modalities}
            groups[TIME], own[TIME] = config.names, TIME_COLUMNS
            widths = {name: width + len(own[name]) for name in config.names}
            widths[TIME] = len(TIME_COLUMNS)
        return cls(
            checkpoint.name, checkpoint.sha256, groups, widths, tuple(inputs),
            config.context_epochs, prefix="sleep2vec",
            has_summary=config.cls and layer != "projection",
            centered=bool(checkpoint.card.get("centered", False)), card=checkpoint.card,
            background=(TIME,) if own else (), shared_width=width if own else None,
            checkpoint=checkpoint, layer=layer, precision=precision, device=device, own=own,
        )  # fmt: skip

    @property
    def key(self) -> tuple:
        """What tokens depend on besides the signal."""
        return self.sha256, self.layer, self.precision, *self.own

    def encode(self, recording: Recording, group: str) -> tuple[np.ndarray, np.ndarray]:
        """Tokens of one modality, and its valid epochs; :meth:`tasks` reads several together."""
        ((_, task),) = self.tasks(recording, [(group, 0)])
        encoded = task()
        return encoded.tokens, encoded.valid

    def feature_names(self, group: str) -> list[str]:
        """Numbers of the state, then the names of the expert columns."""
        width = self.n_shared(group)
        digits = max(3, len(str(width - 1)))
        states = [f"{group}_{i:0{digits}d}" for i in range(width)]
        return states + [f"{group}_{column}" for column in self.own.get(group, ())]

    def neutral(self, group: str) -> np.ndarray:
        """Typical values; 0 for what is relative to the night."""
        return neutral_values(group, self.own.get(group, ()))

    def night_names(self, group: str) -> list[str]:
        """Names of :meth:`night_block`."""
        return summary_names(group, self.own.get(group, ()))

    def night_block(self, group: str) -> Callable[[EncodedModality | None], np.ndarray]:
        """Levels, spreads and counts."""
        return partial(summarise, group, self.own.get(group, ()), self.n_shared(group))

    def parts(self, recording: Recording, groups: Sequence[str]) -> list[Part]:
        """Each modality, or each of its derivations, and the time."""
        return list_parts(recording, groups)

    def fingerprint(self, recording: Recording, part: Part) -> str:
        """Hash of the samples that a part depends on."""
        if part[0] == TIME:
            return time_fingerprint(recording)
        return fingerprint(recording, *part, self._settings[part[0]])

    @property
    def _settings(self) -> dict[str, Conditioning]:
        return {m.name: m.conditioning for m in self.checkpoint.config.modalities}

    def tasks(
        self, recording: Recording, parts: Sequence[Part]
    ) -> Iterator[tuple[Part, Callable[[], EncodedModality]]]:
        """The calls that encode parts of a night, whose signals are read together."""
        return list_tasks(recording, parts, self._settings, self._encode_next)

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
        autocast = torch.autocast(samples.device.type, torch.bfloat16, enabled=lower)
        with inference(), autocast:
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
        states = merged.cpu().numpy()
        if name in self.own:
            columns = config.modalities[config.names.index(name)].conditioning.columns
            followers = [columns.index(column) for column in self.own[name]]
            states = np.hstack([states, signal.epochs[:, followers]])
        return EncodedModality(states, signal.valid, summary)


def _followers(columns: Sequence[str]) -> tuple[str, ...]:
    """Expert columns that follow the state in rows: centring makes "hr_rel" of "hr"."""
    return tuple(c for c in columns if not (c.endswith("_rel") and c[:-4] in columns))


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
