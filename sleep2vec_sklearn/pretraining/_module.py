# SPDX-License-Identifier: BSD-3-Clause
"""The module that is trained, and what a step minimises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss

from ..errors import CheckpointError
from ..model.checkpoint import as_checkpoint
from ..model.config import (
    TOKENIZER_OPTIONS,
    EncoderConfig,
    ModalityConfig,
    ProjectionConfig,
    TokenizerConfig,
)
from ..model.network import Sleep2Vec
from ..recordings import Conditioning, get_modality
from ._distributed import gather_rows
from ._sampling import PairBatch, View
from .losses import dash_info_nce_loss, info_nce_loss

__all__ = [
    "Beginning",
    "EncodedPair",
    "Objective",
    "PretrainingModule",
    "asked_sizes",
    "build_config",
]

_TARGET_CLIP = 4.0

Statistics = Mapping[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """What the network made of a batch.

    Attributes
    ----------
    projections : (Tensor, Tensor)
        Of the epochs that both views hold, CLS first where there is one; all rows, [B, L', D].
    counted : bool Tensor of shape [B, L']
        Where both views have a signal.
    own, other : Tensor of shape []
        How far the modality's own columns, and the other modality's, were foretold wrongly; sums
        over this process's rows, divided by what counts in all rows.
    """

    projections: tuple[Tensor, Tensor]
    counted: Tensor
    own: Tensor
    other: Tensor


class PretrainingModule(nn.Module):
    """The network, and readers that foretell signals from hidden states in training only.

    Parameters
    ----------
    network : Sleep2Vec
    contents : mapping of str to Content
        What the store holds of each modality.
    statistics : mapping of str to (Tensor, Tensor)
        Mean and standard deviation of each modality's columns.
    foretell : bool
        Whether there are readers.
    noise, offset : float
        Disturbance of every value, and of a window's columns as a whole, in standard deviations.
    seed : int
        Of the readers' first weights.
    """

    def __init__(
        self,
        network: Sleep2Vec,
        contents: Mapping,
        statistics: Statistics,
        *,
        foretell: bool = False,
        noise: float = 0.0,
        offset: float = 0.0,
        seed: int = 0,
    ):
        super().__init__()
        self.network = network
        self.reads_features = {n: contents[n].kind == "features" for n in statistics}
        self.noise, self.offset = noise, offset
        self.readers = nn.ModuleDict()
        for name, (mean, std) in statistics.items():
            self.register_buffer(f"mean_{name}", mean, persistent=False)
            self.register_buffer(f"std_{name}", std, persistent=False)
        if foretell:
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(seed)
                for name, (mean, _) in statistics.items():
                    self.readers[name] = nn.Linear(network.config.hidden_size, len(mean))

    def forward(self, batch: PairBatch) -> EncodedPair:
        """Encode both views of a batch."""
        seen = [view.seen for view in batch.views]
        mine = [s[batch.rows] for s in seen]
        hidden = self.encode(batch.views, batch.rows, mine)
        spans = batch.spans
        projections = tuple(
            gather_rows(self._project(h, s, batch.rows, span))
            for h, s, span in zip(hidden, seen, spans, strict=True)
        )
        counted = seen[0][:, spans[0]] & seen[1][:, spans[1]]
        if self.network.cls_token is not None:
            hidden = [h[:, 1:] for h in hidden]
            both = seen[0].any(dim=1, keepdim=True) & seen[1].any(dim=1, keepdim=True)
            counted = torch.cat([both, counted], dim=1)
        own, other = self._foretell(hidden, batch)
        return EncodedPair(projections, counted, own, other)

    def encode(self, views, rows: slice, seen: list[Tensor]) -> tuple[Tensor, ...]:
        """Hidden states [b, L, H] of each view, all of them in one call of the encoder."""
        tokens = torch.cat([self._tokens(view, rows) for view in views])
        valid = torch.cat(seen)
        if tokens.device.type == "cpu" and valid.all():
            # without a mask attention is faster; elsewhere the question costs a wait
            valid = None
        return self.network.encode(tokens, valid).chunk(len(views))

    def _tokens(self, view: View, rows: slice) -> Tensor:
        values = view.values
        if self.training and (self.noise or self.offset) and values.shape[-1] > 1:
            noise = self.noise * torch.randn_like(values)
            offset = self.offset * torch.randn_like(values[:, :1])
            values = values + getattr(self, f"std_{view.name}") * (noise + offset)
        reads = self.reads_features[view.name]
        source = self.network.embed_features if reads else self.network.tokenize
        return source(view.name, values, missing=view.replaced[rows])

    def _project(self, hidden: Tensor, seen: Tensor, rows: slice, span: slice) -> Tensor:
        """Unit vectors of the span; all seen epochs enter BatchNorm's statistics."""
        counted = self.network.with_cls(seen)
        if self.training and counted.sum() < 2:
            # of the whole batch, so alike in every process: BatchNorm refuses a single epoch,
            # which has no negative anyway
            size = self.network.config.projection.out_size
            return hidden[:, span, :1].expand(-1, -1, size) * 0.0
        counted = counted[rows]
        whole = hidden.device.type == "cpu" and bool(counted.all())
        projected = self.network.project(hidden, None if whole else counted)
        if self.network.cls_token is None:
            return projected[:, span]
        return torch.cat([projected[:, :1], projected[:, 1:][:, span]], dim=1)

    def _foretell(self, hidden: list[Tensor], batch: PairBatch) -> tuple[Tensor, Tensor]:
        """Errors of the own columns, and of the other modality's where the windows overlap.

        Lost and masked epochs count too, so that a gap is filled by what its neighbours let
        expect.
        """
        nothing = hidden[0].new_zeros((), dtype=torch.float32)
        if not self.readers:
            return nothing, nothing
        whole = slice(None)
        own = sum(
            self._error(h[:, whole], view, whole, batch.rows)
            for h, view in zip(hidden, batch.views, strict=True)
        )
        spans = batch.spans
        other = sum(
            self._error(hidden[a][:, spans[a]], batch.views[b], spans[b], batch.rows)
            for a, b in ((0, 1), (1, 0))
        )
        return own, other

    def _error(self, hidden: Tensor, view: View, span: slice, rows: slice) -> Tensor:
        """Mean Huber loss over the valid epochs of all rows, this process's part of it."""
        mean, std = (getattr(self, f"{part}_{view.name}") for part in ("mean", "std"))
        target = ((view.values[:, span] - mean) / std).clamp(-_TARGET_CLIP, _TARGET_CLIP)
        valid = view.valid[:, span]
        error = smooth_l1_loss(self.readers[view.name](hidden).float(), target, reduction="none")
        return (error.mean(dim=-1) * valid[rows]).sum() / valid.sum().clamp_min(1)


class Objective(nn.Module):
    """The loss of a step: contrast between the views, and what was foretold wrongly.

    Parameters
    ----------
    kind : {"dash", "info_nce"}
    temperature, hard_scale, pos_margin, negatives
        See :func:`dash_info_nce_loss` and :func:`info_nce_loss`.
    prediction : float
        Weight of the errors foretold.
    """

    def __init__(
        self,
        kind: str = "dash",
        temperature: float = 0.1,
        hard_scale: float = 0.1,
        pos_margin: float = 0.0,
        negatives: str = "recordings",
        prediction: float = 0.0,
    ):
        super().__init__()
        self.kind = kind
        self.temperature = temperature
        self.hard_scale = hard_scale
        self.pos_margin = pos_margin
        self.negatives = negatives
        self.prediction = prediction

    def forward(self, encoded: EncodedPair, weights) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and its parts; the loss of a process is its part of the whole batch's."""
        contrast, accuracy = self.contrast(*encoded.projections, encoded.counted, weights)
        parts = {"contrast": contrast, "accuracy": accuracy}
        if self.prediction:
            parts |= {"own": encoded.own, "other": encoded.other}
        return self.total(parts), {name: part.detach() for name, part in parts.items()}

    def total(self, parts: Mapping):
        """The loss that these parts make."""
        if not self.prediction:
            return parts["contrast"]
        return parts["contrast"] + self.prediction * (parts["own"] + parts["other"])

    def contrast(self, first, second, counted, weights) -> tuple[Tensor, Tensor]:
        """Contrastive loss and accuracy of projections [B, L, D]."""
        shared = {"temperature": self.temperature, "valid": counted, "negatives": self.negatives}
        if self.kind == "info_nce":
            return info_nce_loss(first, second, **shared)
        margins = {"hard_scale": self.hard_scale, "pos_margin": self.pos_margin}
        return dash_info_nce_loss(first, second, *weights, **margins, **shared)


_SIZES = ("hidden_size", "n_layers", "n_heads", "projection_size")
_MAX_POSITIONS = 1536


class Beginning:
    """What ``init`` stands for: nothing, an architecture, or an encoder to go on with.

    Parameters
    ----------
    init : None, EncoderConfig, Checkpoint, str or path

    Attributes
    ----------
    config : EncoderConfig or None
    checkpoint : Checkpoint or None
    """

    def __init__(self, init):
        self.config = self.checkpoint = None
        if isinstance(init, EncoderConfig):
            self.config = init
        elif init is not None:
            self.checkpoint = as_checkpoint(init)
            self.config = self.checkpoint.config

    def name(self):
        """What identifies it, ready for JSON."""
        if self.checkpoint is not None:
            return self.checkpoint.sha256
        return None if self.config is None else self.config.to_dict()

    def network(self, config: EncoderConfig, seed: int) -> Sleep2Vec:
        """A network of ``config``, with the checkpoint's weights where there is one."""
        network = Sleep2Vec.from_seed(config, seed)
        if self.checkpoint is not None:
            state = dict(network.state_dict())
            state.update(
                {key: value for key, value in self.checkpoint.state.items() if key in state}
            )
            network.load_state_dict(state)
        return network


def build_config(
    parameters,
    names: Sequence[str],
    begin: EncoderConfig | None,
    conditioning: Mapping[str, Conditioning],
) -> EncoderConfig:
    """The encoder's configuration.

    Parameters
    ----------
    parameters : Sleep2VecPretrainer
    names : sequence of str
        Modalities, in order.
    begin : EncoderConfig or None
        What ``init`` gives; its sizes, tokenizers and conditioning stand then. A checkpoint keeps
        the modalities that are not trained now, an architecture does not.
    conditioning : mapping of str to Conditioning
        Of a store; the catalogue's where a modality is not in it.

    Raises
    ------
    ValueError
        If the parameters make no encoder.
    CheckpointError
        If ``init`` does not read a modality.
    """
    if begin is not None:
        return _continue(parameters, names, begin)
    context = int(parameters.context_epochs)
    return EncoderConfig(
        modalities=tuple(
            ModalityConfig(
                name,
                conditioning.get(name, get_modality(name).conditioning),
                _tokenizer(parameters, name),
            )
            for name in names
        ),
        **asked_sizes(parameters),
        dropout=float(parameters.dropout),
        max_positions=max(_MAX_POSITIONS, context + 1),
        context_epochs=context,
    )


def asked_sizes(parameters) -> dict:
    """What the parameters say of the encoder's shape, whatever it reads.

    Parameters
    ----------
    parameters : Sleep2VecPretrainer

    Returns
    -------
    dict
        Fields of :class:`EncoderConfig`.
    """
    # a grid search may hand over numbers of numpy, which JSON does not know
    size = {name: int(getattr(parameters, name)) for name in _SIZES}
    return {
        "hidden_size": size["hidden_size"],
        "n_layers": size["n_layers"],
        "n_heads": size["n_heads"],
        "intermediate_size": int(parameters.intermediate_size or 4 * size["hidden_size"]),
        "cls": bool(parameters.cls),
        "projection": ProjectionConfig(size["hidden_size"], size["projection_size"]),
    }


def _continue(parameters, names, begin: EncoderConfig) -> EncoderConfig:
    unknown = [name for name in names if name not in begin.names]
    if unknown:
        raise CheckpointError(
            f"init reads {', '.join(begin.names)}, not {', '.join(unknown)}. Leave them out of "
            "modalities, or give the encoder a tokenizer for them first."
        )
    # what is not trained now has only been learned if it comes from a checkpoint
    fresh = begin is parameters.init
    head = begin.projection or ProjectionConfig(begin.hidden_size, int(parameters.projection_size))
    context = int(parameters.context_epochs)
    return replace(
        begin,
        modalities=tuple(m for m in begin.modalities if m.name in names or not fresh),
        projection=head,
        context_epochs=context,
        max_positions=max(begin.max_positions, context + begin.cls),
        dropout=float(parameters.dropout),
    )


def _tokenizer(parameters, name: str) -> TokenizerConfig:
    kind = parameters.tokenizer
    if isinstance(kind, Mapping):
        if name not in kind:
            raise ValueError(f"tokenizer names none for {name!r}; it has {', '.join(kind)}.")
        kind = kind[name]
    if isinstance(kind, TokenizerConfig):
        return replace(kind, out_dim=int(parameters.token_dim))
    if not isinstance(kind, str):
        raise ValueError(
            f"tokenizer must be a name, a TokenizerConfig, or a mapping of modalities to either; "
            f"got {kind!r}."
        )
    has_dropout = "dropout" in TOKENIZER_OPTIONS.get(kind, ())
    options = {"dropout": float(parameters.dropout)} if has_dropout else {}
    return TokenizerConfig(kind, int(parameters.token_dim), options)
