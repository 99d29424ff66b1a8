# SPDX-License-Identifier: BSD-3-Clause
"""The module that is trained: where its encoder comes from, its parts, and its loss."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss

from .._torch import RunningStatistics, building
from .._validation import NON_NEGATIVE
from ..errors import CheckpointError
from ..model.checkpoint import Checkpoint
from ..model.config import (
    TOKENIZER_OPTIONS,
    EncoderConfig,
    ModalityConfig,
    ProjectionConfig,
    TokenizerConfig,
    conditioning_for,
)
from ..model.network import Sleep2Vec
from ..model.tokenizers import FrontEndTokenizer
from ..nightstore.content import Content
from ..recordings.modality import Conditioning, get_modality
from ._distributed import gather_rows
from ._sampling import PairBatch, View
from .config import EncoderSpec, Objective

if TYPE_CHECKING:
    from ..nightstore.store import NightStore

_MAX_POSITIONS = 1536
_TARGET_CLIP = 4.0
_SMALLEST_STD = 1e-4
# statistics are of so many nights, evenly spread, and of every fourth epoch
_MAX_NIGHTS = 256
_EPOCH_STRIDE = 4

Statistics = Mapping[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class EncoderSource:
    """Sizes of an encoder to be built, an architecture, or an encoder to go on with."""

    encoder: EncoderSpec | EncoderConfig | Checkpoint
    dropout: float
    projection_size: int
    context_epochs: int
    continued: EncoderConfig | None = None  # of the net that a warm start goes on with

    @property
    def base(self) -> EncoderConfig | None:
        """The configuration to go on with; None where the encoder is built from its sizes."""
        if self.continued is not None:
            return self.continued
        if isinstance(self.encoder, EncoderSpec):
            return None
        return self.encoder.config if isinstance(self.encoder, Checkpoint) else self.encoder

    def build_config(
        self, names: Sequence[str], conditioning: Mapping[str, Conditioning]
    ) -> EncoderConfig:
        """The configuration of an encoder of some modalities, with a store's ``conditioning``."""
        if self.base is not None:
            return self._continue(self.base, names)
        spec = cast("EncoderSpec", self.encoder)
        modalities = []
        for name in names:
            chosen = conditioning.get(name, get_modality(name).conditioning)
            tokenizer = _tokenizer(spec, name, self.dropout)
            chosen = conditioning_for(name, tokenizer, chosen)
            modalities.append(ModalityConfig(name, chosen, tokenizer))
        return EncoderConfig(
            modalities=tuple(modalities),
            **self._sizes(spec),
            dropout=self.dropout,
            max_positions=max(_MAX_POSITIONS, self.context_epochs + 1),
            context_epochs=self.context_epochs,
        )

    def _sizes(self, spec: EncoderSpec) -> dict[str, Any]:
        hidden_size = int(spec.hidden_size)
        return {
            "hidden_size": hidden_size,
            "n_layers": int(spec.n_layers),
            "n_heads": int(spec.n_heads),
            "intermediate_size": int(spec.intermediate_size or 4 * hidden_size),
            "cls": bool(spec.cls),
            "projection": ProjectionConfig(hidden_size, self.projection_size),
        }

    def _continue(self, base: EncoderConfig, names: Sequence[str]) -> EncoderConfig:
        unknown = [name for name in names if name not in base.names]
        if unknown:
            raise CheckpointError(
                f"encoder reads {', '.join(base.names)}, not {', '.join(unknown)}. Leave them out "
                "of modalities, or give the encoder a tokenizer for them first, by add_modality."
            )
        # what an architecture reads besides has not been learned
        is_new = base is self.encoder
        config = replace(
            base,
            modalities=tuple(m for m in base.modalities if m.name in names or not is_new),
            projection=base.projection or ProjectionConfig(base.hidden_size, self.projection_size),
            context_epochs=self.context_epochs,
            max_positions=max(base.max_positions, self.context_epochs + base.cls),
            dropout=self.dropout,
        )
        # of a net to go on with the parameters must say the same
        spec = self.encoder
        return replace(config, **self._sizes(spec)) if isinstance(spec, EncoderSpec) else config

    def build_network(self, config: EncoderConfig, seed: int) -> Sleep2Vec:
        """A network of ``config``, with the checkpoint's weights where there is one."""
        network = Sleep2Vec.from_seed(config, seed)
        if isinstance(self.encoder, Checkpoint):
            state = dict(network.state_dict())
            state |= {key: value for key, value in self.encoder.state.items() if key in state}
            network.load_state_dict(state)
        return network

    def identify(self) -> str | dict | None:
        """What tells it from another encoder to go on with, ready for JSON."""
        if isinstance(self.encoder, Checkpoint):
            return self.encoder.sha256
        return None if isinstance(self.encoder, EncoderSpec) else self.encoder.to_dict()


def _tokenizer(spec: EncoderSpec, name: str, dropout: float) -> TokenizerConfig:
    tokenizer, width = spec.tokenizer, int(spec.token_dim)
    if isinstance(tokenizer, Mapping):
        if name not in tokenizer:
            raise ValueError(f"tokenizer names none for {name!r}; it has {', '.join(tokenizer)}.")
        tokenizer = tokenizer[name]
    if isinstance(tokenizer, TokenizerConfig):
        return replace(tokenizer, out_dim=width)
    has_dropout = "dropout" in TOKENIZER_OPTIONS.get(tokenizer, ())
    return TokenizerConfig(tokenizer, width, {"dropout": dropout} if has_dropout else {})


SHARED = ("input_projection", "cls_token", "encoder", "projection")
_BY_MODALITY = ("tokenizers", "masks")


def parts_of(config: EncoderConfig) -> tuple[str, ...]:
    """The parts that have a learning rate of their own: modalities, then what they share."""
    return (*config.names, *SHARED)


def check_scales(scales: Mapping[str, float] | None, config: EncoderConfig) -> dict[str, float]:
    """Scales of the learning rate by part, refused if a part is unknown or none would learn."""
    if scales is None:
        return {}
    known = parts_of(config)
    if unknown := ", ".join(str(part) for part in scales if part not in known):
        raise ValueError(
            f"lr_scales: the encoder has no part {unknown}; accepted: {', '.join(known)}."
        )
    for part, scale in scales.items():
        if not NON_NEGATIVE.is_satisfied_by(scale):
            raise ValueError(f"lr_scales: {part!r} must be a finite number from 0, got {scale!r}.")
    # most encoders have no CLS token
    if not any(scales.get(part, 1) for part in known if part != "cls_token"):
        raise ValueError("lr_scales: every part is 0, so nothing would be trained.")
    return {str(part): float(scale) for part, scale in scales.items()}


def check_pairs(pairs: Sequence[tuple[str, str]], scales: Mapping[str, float]) -> None:
    """Refuse pairs of which every part is frozen."""
    shared = [part for part in SHARED if part != "cls_token"]
    idle = [p for p in pairs if not any(scales.get(part, 1.0) for part in (*shared, *p))]
    if idle:
        raise ValueError(
            f"lr_scales leaves nothing to train with {', '.join(map('-'.join, idle))}. Leave these "
            "pairs out of pair_weights, or give one of their parts a scale above 0."
        )


def scale_of(name: str, scales: Mapping[str, float]) -> float:
    """Scale of a parameter by its name; what serves training alone, such as readers, has 1."""
    root, *path = name.split(".")
    if root != "network":
        return 1.0
    part = path[1] if path[0] in _BY_MODALITY else path[0]
    return scales.get(part, 1.0)


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """What the network made of a batch; the errors are sums of this process's rows."""

    # of the epochs that both views hold, CLS first where there is one, in all rows, [B, L', D]
    projections: tuple[Tensor, Tensor]
    counted: Tensor  # where both have a signal, [B, L']
    # errors of the reconstruction, divided by what counts in all rows
    own: Tensor
    other: Tensor
    teacher: Tensor  # cross-entropy of the targets, divided likewise


class PretrainingModule(nn.Module):
    """The network, and layers that read hidden states in training only.

    Readers reconstruct signals, and the student predicts targets.
    """

    def __init__(
        self, network: Sleep2Vec, contents: Mapping[str, Content], statistics: Statistics,
        reconstruct: bool = False, *, noise: float = 0.0, offset: float = 0.0, seed: int = 0,
        n_targets: int = 0,
    ):  # fmt: skip
        super().__init__()
        self.network = network
        self.reads_features = {n: contents[n].kind == "features" for n in statistics}
        self.noise, self.offset = noise, offset
        self.readers = nn.ModuleDict()
        for name, (mean, std) in statistics.items():
            self.register_buffer(f"mean_{name}", mean, persistent=False)
            self.register_buffer(f"std_{name}", std, persistent=False)
        self.student: nn.Module | None = None
        with building(seed):
            if reconstruct:
                for name, (mean, _) in statistics.items():
                    self.readers[name] = nn.Linear(network.config.hidden_size, len(mean))
            if n_targets:
                self.student = nn.Linear(network.config.hidden_size, n_targets)

    def forward(self, batch: PairBatch) -> EncodedPair:
        seen = [view.seen for view in batch.views]
        hidden = self._encode(batch.views, batch.rows, [s[batch.rows] for s in seen])
        spans = batch.spans
        first, second = (
            gather_rows(self._project(h, s, batch.rows, span))
            for h, s, span in zip(hidden, seen, spans, strict=True)
        )
        counted = seen[0][:, spans[0]] & seen[1][:, spans[1]]
        if batch.is_of_one:
            counted = torch.zeros_like(counted)
        if self.network.cls_token is not None:
            hidden = tuple(h[:, 1:] for h in hidden)
            both = seen[0].any(dim=1, keepdim=True) & seen[1].any(dim=1, keepdim=True)
            both &= not batch.is_of_one
            counted = torch.cat([both, counted], dim=1)
        own, other = self._reconstruct(hidden, batch)
        return EncodedPair((first, second), counted, own, other, self._distil(hidden, batch))

    def _encode(self, views: Sequence[View], rows: slice, seen: list[Tensor]) -> tuple[Tensor, ...]:
        """Hidden states [b, L, H] of each view, all of them in one call of the encoder."""
        tokens = torch.cat([self._tokens(view, rows) for view in views])
        valid = torch.cat(seen)
        # without a mask attention is faster; elsewhere the question costs a wait
        whole = tokens.device.type == "cpu" and bool(valid.all())
        return self.network.encode(tokens, None if whole else valid).chunk(len(views))

    def _tokens(self, view: View, rows: slice) -> Tensor:
        values = view.values
        if self.training and (self.noise or self.offset) and values.shape[-1] > 1:
            noise = self.noise * torch.randn_like(values)
            offset = self.offset * torch.randn_like(values[:, :1])
            values = values + getattr(self, f"std_{view.name}") * (noise + offset)
        reads_features = self.reads_features[view.name]
        embed = self.network.embed_features if reads_features else self.network.tokenize
        return embed(view.name, values, missing=view.replaced[rows])

    def _project(self, hidden: Tensor, seen: Tensor, rows: slice, span: slice) -> Tensor:
        """Unit vectors of the span; all seen epochs enter BatchNorm's statistics."""
        counted = self.network.with_cls(seen)
        if self.training and counted.sum() < 2:
            # of the whole batch, so alike in every process: BatchNorm refuses a single epoch,
            # which has no negative anyway
            size = cast("ProjectionConfig", self.network.config.projection).out_size
            return hidden[:, span, :1].expand(-1, -1, size) * 0.0
        counted = counted[rows]
        whole = hidden.device.type == "cpu" and bool(counted.all())
        projected = self.network.project(hidden, None if whole else counted)
        if self.network.cls_token is None:
            return projected[:, span]
        return torch.cat([projected[:, :1], projected[:, 1:][:, span]], dim=1)

    def _reconstruct(self, hidden: Sequence[Tensor], batch: PairBatch) -> tuple[Tensor, Tensor]:
        """Errors of the own columns, and of the other modality's where the windows overlap."""
        # lost and masked epochs count too, so a gap is filled by what its neighbours let expect
        nothing = hidden[0].new_zeros((), dtype=torch.float32)
        if not self.readers:
            return nothing, nothing
        views, spans, rows = batch.views, batch.spans, batch.rows
        own = [self._error(hidden[i], views[i], slice(None), rows) for i in (0, 1)]
        other = [
            self._error(hidden[a][:, spans[a]], views[b], spans[b], rows)
            for a, b in ((0, 1), (1, 0))
        ]
        return own[0] + own[1], other[0] + other[1]

    def _error(self, hidden: Tensor, view: View, span: slice, rows: slice) -> Tensor:
        """Mean Huber loss over the valid epochs of all rows, this process's part of it."""
        mean, std = (getattr(self, f"{part}_{view.name}") for part in ("mean", "std"))
        target = ((view.values[:, span] - mean) / std).clamp(-_TARGET_CLIP, _TARGET_CLIP)
        valid = view.valid[:, span]
        error = smooth_l1_loss(self.readers[view.name](hidden).float(), target, reduction="none")
        return (error.mean(dim=-1) * valid[rows]).sum() / valid.sum().clamp_min(1)

    def _distil(self, hidden: Sequence[Tensor], batch: PairBatch) -> Tensor:
        """Cross-entropy of the targets by both views, in lost and masked epochs too."""
        loss = hidden[0].new_zeros((), dtype=torch.float32)
        for states, view in zip(hidden, batch.views, strict=True):
            if self.student is None or view.target is None:
                continue
            known = view.valid & view.target.isfinite().all(dim=-1)
            target = view.target.masked_fill(~known[..., None], 0.0)[batch.rows]
            error = -(target * self.student(states).float().log_softmax(dim=-1)).sum()
            loss = loss + error / known.sum().clamp_min(1)
        return loss


class PretrainingLoss(nn.Module):
    """The criterion: the objective's contrast, and errors of the reconstruction by their weight."""

    def __init__(self, objective: Objective):
        super().__init__()
        self.objective = objective

    def forward(self, encoded: EncodedPair, weights: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and its parts; the loss of a process is its part of the whole batch's."""
        contrast, accuracy = self.objective.contrast(*encoded.projections, encoded.counted, weights)
        parts = {"contrast": contrast, "accuracy": accuracy}
        if self.objective.reconstruction_weight:
            parts |= {"own": encoded.own, "other": encoded.other}
        if self.objective.distillation_weight:
            parts["teacher"] = encoded.teacher
        return self.total(parts), {name: part.detach() for name, part in parts.items()}

    def total(self, parts: Mapping[str, Any]) -> Any:
        """The loss that these parts make, tensors or numbers."""
        total = parts["contrast"]
        if weight := self.objective.reconstruction_weight:
            total = total + weight * (parts["own"] + parts["other"])
        if weight := self.objective.distillation_weight:
            total = total + weight * parts["teacher"]
        return total


def column_statistics(
    store: NightStore, names: Iterable[str], kind: str | None = None
) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and deviation of columns, of what the store holds or of a ``kind`` made of it."""
    statistics = {}
    n_epochs = store.table["n_epochs"].to_numpy()
    for name in names:
        content = store.contents[name]
        wanted = content if kind is None else Content.features(content.conditioning)
        nights = np.flatnonzero(store.table[f"coverage_{name}"].to_numpy() > 0)
        chosen = np.unique(np.linspace(0, len(nights) - 1, _MAX_NIGHTS).astype(int))
        running = RunningStatistics()
        for night in nights[chosen]:
            rows = store.window(night, name, 0, int(n_epochs[night]))
            rows = rows[store.valid(night, name)][::_EPOCH_STRIDE]
            running.update(wanted.compute(rows) if wanted.kind != content.kind else rows)
        mean, std = running.mean_and_std(_SMALLEST_STD)
        statistics[name] = torch.from_numpy(mean).float(), torch.from_numpy(std).float()
    return statistics


def standardise_tokenizers(
    network: Sleep2Vec, store: NightStore, scales: Mapping[str, float] | None = None,
    known: Statistics | None = None,
) -> None:  # fmt: skip
    """Give the tokenizers with a front end that learn the statistics of its features, if none."""
    # so that features of the store are not read again
    known = {n: s for n, s in (known or {}).items() if store.contents[n].kind == "features"}
    learning = {
        name: tokenizer
        for name, tokenizer in network.tokenizers.items()
        if isinstance(tokenizer, FrontEndTokenizer)
        and name in store.contents
        and (scales or {}).get(name, 1)
        and _lacks_statistics(tokenizer)
        and store.table[f"coverage_{name}"].to_numpy().any()
    }
    unknown = [name for name in learning if name not in known]
    statistics = known | column_statistics(store, unknown, kind="features")
    for name, tokenizer in learning.items():
        tokenizer.set_statistics(*statistics[name])


def _lacks_statistics(tokenizer: FrontEndTokenizer) -> bool:
    buffers = dict(tokenizer.named_buffers())
    return not buffers["feature_mean"].any() and bool((buffers["feature_std"] == 1).all())
