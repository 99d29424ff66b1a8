# SPDX-License-Identifier: BSD-3-Clause
"""A new sensor for a trained encoder, in two stages."""

from __future__ import annotations

import numbers
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sklearn.base import BaseEstimator, clone

from ..errors import CheckpointError, TrainingError
from ..model.checkpoint import (
    Checkpoint,
    as_checkpoint,
    load_checkpoint,
    require_sleep2vec,
    save_checkpoint,
)
from ..model.config import EncoderConfig, ModalityConfig, TokenizerConfig, conditioning_for
from ..model.network import Sleep2Vec
from ..recordings.modality import Conditioning, get_modality, list_modalities
from ._data import list_candidates
from ._module import check_scales, parts_of
from ._sampling import Pair
from .pretrainer import Sleep2VecPretrainer

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AUTHORS_SCHEDULE", "Adaptation", "PairSchedule", "adapt_modality", "add_modality"]

AUTHORS_SCHEDULE = ((0.25, 1.0), (0.5, 0.7), (0.75, 0.5), (1.0, 0.0))
_ENCODER_SCALE, _SHARED_SCALE = 0.1, 0.5


@dataclass(frozen=True)
class PairSchedule:
    """Shares of the pairs that touch a new modality, over a run; all of them where none else are.

    Attributes
    ----------
    new : tuple of str
        The new modalities.
    stages : tuple of (float, float)
        The share of the run at which a stage ends, and the share of its batches that are of a pair
        with a new modality. The authors' by default.

    Examples
    --------
    >>> from sleep2vec_sklearn.pretraining import PairSchedule
    >>> pairs = [("ibi", "actigraphy"), ("ibi", "spo2"), ("spo2", "actigraphy")]
    >>> PairSchedule(("actigraphy",), ((0.5, 1.0), (1.0, 0.4)))(pairs)[1]
    (1.0, {('ibi', 'actigraphy'): 0.2, ('spo2', 'actigraphy'): 0.2, ('ibi', 'spo2'): 0.6})
    """

    new: tuple[str, ...]
    stages: Sequence[tuple[float, float]] = AUTHORS_SCHEDULE

    def __post_init__(self) -> None:
        object.__setattr__(self, "new", tuple(self.new))
        object.__setattr__(self, "stages", tuple((float(u), float(s)) for u, s in self.stages))
        ends = [until for until, _ in self.stages]
        if not ends or ends != sorted(set(ends)) or not ends[0] > 0 or ends[-1] > 1:
            raise ValueError(
                f"the stages of a schedule must end at rising shares of it; got {ends}."
            )
        wrong = [share for _, share in self.stages if not 0 <= share <= 1]
        if wrong:
            raise ValueError(f"shares of pairs must be from 0 to 1, got {wrong[0]}.")

    def __call__(self, pairs: Sequence[Pair]) -> list[tuple[float, dict[Pair, float]]]:
        """Weights by pair, as ``pair_weights`` takes them; TrainingError if none is new."""
        # a pair of one sensor with itself aligns it with nothing
        known = [pair for pair in pairs if len(set(pair)) == 2]
        single = [name for name in self.new if not any(name in pair for pair in known)]
        if single:
            raise TrainingError(
                f"no two recordings to train on have {', '.join(single)} together with another "
                f"modality of the encoder; they have {', '.join('-'.join(p) for p in pairs)}. "
                "Add nights that have it and a sensor that the encoder knows."
            )
        touched = [pair for pair in pairs if set(pair) & set(self.new)]
        rest = [pair for pair in pairs if pair not in touched]
        stages = []
        for until, share in self.stages:
            share = share if rest else 1.0
            shares = {pair: share / len(touched) for pair in touched}
            shares |= {pair: (1 - share) / len(rest) for pair in rest}
            stages.append((until, shares))
        return stages


@dataclass(frozen=True, eq=False)
class Adaptation:
    """What :func:`adapt_modality` did.

    Attributes
    ----------
    new_modalities : tuple of str
    start : Checkpoint
        The encoder with its new tokenizers, none of them trained.
    stage1 : Sleep2VecPretrainer
        Fitted; the new tokenizers alone.
    stage2 : Sleep2VecPretrainer or None
        Fitted; everything.

    Examples
    --------
    >>> from sleep2vec_sklearn import make_sleep_cohort
    >>> from sleep2vec_sklearn.pretraining import adapt_modality
    >>> names = ["ibi", "spo2", "resp"]
    >>> nights = make_sleep_cohort(4, hours=1, modalities=names, missing=0, random_state=0)
    >>> quick = {"n_stages": 1, "batch_size": 2, "max_epochs": 1, "validation": 0}
    >>> adapted = adapt_modality("sleep2vec-mini", nights, "resp", **quick)
    >>> adapted.start.name, adapted.stage2
    ('sleep2vec-mini', None)
    """

    new_modalities: tuple[str, ...]
    start: Checkpoint
    stage1: Sleep2VecPretrainer
    stage2: Sleep2VecPretrainer | None

    def checkpoint(self) -> Checkpoint:
        """The adapted encoder, as :class:`Sleep2VecTransformer` takes it."""
        return (self.stage2 or self.stage1).checkpoint()

    def save(self, path: str | os.PathLike, card: Mapping | None = None) -> str:
        """Write the adapted encoder to a file with a model card that holds the one before."""
        history = {
            "new_modalities": list(self.new_modalities),
            "from": {"name": self.start.name, "sha256": self.start.sha256},
            "stage1": self.stage1.checkpoint().card["parameters"],
            "card_before": self.start.card,
        }
        fitted = self.stage2 or self.stage1
        return fitted.save(path, card={"adaptation": history, **(card or {})})


def adapt_modality(
    checkpoint: Checkpoint | str | os.PathLike, X: Any, new_modalities: str | Sequence[str], *,
    metadata: pd.DataFrame | None = None,
    schedule: Sequence[tuple[float, float]] = AUTHORS_SCHEDULE, stage1: Mapping | None = None,
    stage2: Mapping | None = None, n_stages: int = 2, state_dir: str | os.PathLike | None = None,
    **parameters: Any,
) -> Adaptation:  # fmt: skip
    """Teach a trained encoder to read new sensors.

    Stage 1 trains the new tokenizers and mask embeddings on pairs that touch them: the rows of the
    other modalities stay the same to the bit. Stage 2 trains everything, the encoder at 0.1 and the
    rest at 0.5 of the new tokenizers' learning rate.

    Parameters
    ----------
    checkpoint : Checkpoint, str or path
        The encoder.
    X : list of Recording or dict, NightStore, or path of a store's folder
        Nights, of which two at least have a new modality together with one of the encoder's. A
        store is prepared with ``encoder=`` what :func:`add_modality` gives.
    new_modalities : str or sequence of str
        Those the encoder does not read get a tokenizer by :func:`add_modality` with its defaults.
        One that it does read is trained in the same way, for another device.
    metadata : DataFrame, optional
        As for :meth:`Sleep2VecPretrainer.fit`.
    schedule : sequence of (float, float)
        Stages of stage 2's :class:`PairSchedule`.
    stage1, stage2 : mapping, optional
        Parameters of :class:`Sleep2VecPretrainer` for one stage; scales of parts are added:
        ``stage1={"optimizer__lr_scales": {"projection": 1.0}}`` trains the head too.
    n_stages : {1, 2}, default=2
        1 leaves the encoder as it was.
    state_dir : path, optional
        Folder in which both stages keep their state, to be resumed.
    **parameters
        Of :class:`Sleep2VecPretrainer`, for both stages; ``context_epochs`` and ``dropout`` are the
        encoder's by default. Both hold out the same subjects.

    Returns
    -------
    Adaptation

    Raises
    ------
    ValueError, UnknownModalityError, TrainingError
        If a parameter is not accepted, or no two recordings have a new modality with another one.

    Examples
    --------
    >>> from sleep2vec_sklearn import Sleep2VecPretrainer, make_sleep_cohort
    >>> from sleep2vec_sklearn.pretraining import EncoderSpec, adapt_modality
    >>> names = ["ibi", "spo2", "resp"]
    >>> nights = make_sleep_cohort(4, hours=1, modalities=names, missing=0, random_state=0)
    >>> small = {"encoder": EncoderSpec(hidden_size=16, n_layers=1), "context_epochs": 20}
    >>> quick = {"batch_size": 2, "max_epochs": 1, "validation": 0}
    >>> encoder = Sleep2VecPretrainer(["ibi", "spo2"], **small, **quick).fit(nights).checkpoint()
    >>> adapt_modality(encoder, nights, "resp", **quick).checkpoint().config.names
    ('spo2', 'ibi', 'resp')
    """
    if n_stages not in (1, 2):
        raise ValueError(f"n_stages must be 1 or 2, got {n_stages!r}.")
    new = tuple(list_modalities(new_modalities))
    source = require_sleep2vec(as_checkpoint(checkpoint), "adaptation")
    start = _add_missing(source, new, parameters.get("random_state"))
    first = _make_pretrainer(start.config, PairSchedule(new, ((1.0, 1.0),)), parameters, stage1)
    frozen = {part: 0.0 for part in parts_of(start.config) if part not in new}
    if start.config.projection is None:
        # as new as the tokenizers
        del frozen["projection"]
    _set_scales(first, start.config, frozen, parameters, stage1)
    second = _make_pretrainer(start.config, PairSchedule(new, schedule), parameters, stage2)
    slowed = {**dict.fromkeys(parts_of(start.config), _SHARED_SCALE), "encoder": _ENCODER_SCALE}
    _set_scales(second, start.config, slowed | dict.fromkeys(new, 1.0), parameters, stage2)
    for stage in (first, second):
        stage.check_params()
        if stage._nested("objective").distillation_weight:
            raise ValueError("adapt_modality has no targets; set the distillation_weight to 0.")
    if state_dir is not None:
        first.set_params(state_dir=Path(state_dir) / "stage1")
        second.set_params(state_dir=Path(state_dir) / "stage2")
    names = list_candidates(X, first.modalities, start.config)
    missing = [name for name in new if name not in names]
    if missing:
        raise TrainingError(
            f"no recording has {', '.join(missing)}; found {', '.join(names) or 'none'}."
        )
    store = first.set_params(encoder=start).prepare(X, metadata)
    first.fit(store, metadata)
    if n_stages == 1:
        return Adaptation(new, start, first, None)
    if "random_state" not in (stage2 or {}):
        second.set_params(random_state=first.seed_)
    second.set_params(encoder=first.checkpoint()).fit(store, metadata)
    return Adaptation(new, start, first, second)


def _add_missing(start: Checkpoint, new: Sequence[str], random_state: Any) -> Checkpoint:
    if set(start.config.names) <= set(new):
        raise CheckpointError(
            f"{start.name} reads nothing but what is to be adapted ({', '.join(new)}); a new "
            "modality learns from one that the encoder knows. Pretrain it with encoder= instead."
        )
    seed = int(random_state) if isinstance(random_state, numbers.Integral) else 0
    for name in new:
        if name not in start.config.names:
            start = add_modality(start, name, seed=seed)
    return start


def _make_pretrainer(
    config: EncoderConfig, schedule: PairSchedule, *parameters: Mapping | None
) -> Sleep2VecPretrainer:
    settings: dict[str, Any] = {
        "context_epochs": config.context_epochs,
        "dropout": config.dropout,
        "pair_weights": schedule,
    }
    for chosen in parameters:
        # an object of the caller's would be changed, and shared by the stages
        for name, value in (chosen or {}).items():
            settings[name] = clone(value) if isinstance(value, BaseEstimator) else value
    if "encoder" in settings:
        raise TypeError("encoder is not accepted: the encoder to go on with is the checkpoint.")
    nested = {name: settings.pop(name) for name in list(settings) if "__" in name}
    return Sleep2VecPretrainer(**settings).set_params(**nested)


def _set_scales(
    pretrainer: Sleep2VecPretrainer, config: EncoderConfig, scales: Mapping[str, float],
    *parameters: Mapping | None,
) -> None:  # fmt: skip
    """Scales of a stage, with those of the user's in place of its own."""
    for chosen in filter(None, parameters):
        own = getattr(chosen.get("optimizer"), "lr_scales", None)
        scales = {**scales, **(chosen.get("optimizer__lr_scales", own) or {})}
    check_scales(scales, config)
    pretrainer.set_params(optimizer__lr_scales=scales)


def add_modality(
    checkpoint: Checkpoint | str | os.PathLike, name: str, *,
    tokenizer: str | TokenizerConfig | None = None, conditioning: Conditioning | None = None,
    seed: int = 0,
) -> Checkpoint:  # fmt: skip
    """Give an encoder an untrained tokenizer and mask embedding for one modality more.

    All other tensors are the same to the bit; :func:`adapt_modality` trains what is new.

    Parameters
    ----------
    checkpoint : Checkpoint, str or path
        The encoder, or what :func:`load_checkpoint` takes.
    name : str
        The modality; its columns come last.
    tokenizer : {"linear", "sundial", "sundial2", "spectral", "expert"} or TokenizerConfig, optional
        By default the encoder's first, or "sundial" below 1 Hz; ``out_dim`` is the encoder's.
    conditioning : Conditioning, optional
        Rate and scale at which the signal is read; the catalogue's by default.
    seed : int, default=0
        Of the first weights.

    Returns
    -------
    Checkpoint

    Raises
    ------
    UnknownModalityError, CheckpointError, ValueError
        If the modality is not in the catalogue or read already, or the tokenizer cannot read it.

    Examples
    --------
    >>> from sleep2vec_sklearn import Sleep2VecPretrainer, make_sleep_cohort
    >>> from sleep2vec_sklearn.pretraining import EncoderSpec, add_modality
    >>> nights = make_sleep_cohort(4, hours=1, modalities=["ibi", "spo2"], random_state=0)
    >>> small = {"encoder": EncoderSpec(hidden_size=16, n_layers=1), "context_epochs": 20}
    >>> encoder = Sleep2VecPretrainer(**small, batch_size=2, max_epochs=1).fit(nights).checkpoint()
    >>> add_modality(encoder, "actigraphy").config.names
    ('spo2', 'ibi', 'actigraphy')
    """
    source = require_sleep2vec(as_checkpoint(checkpoint), "adaptation")
    modality = get_modality(name)
    if name in source.config.names:
        raise CheckpointError(
            f"{source.name} reads {name!r} already ({', '.join(source.config.names)}). To train it "
            f"on another device's signals, pass {name!r} to adapt_modality."
        )
    conditioning = conditioning or modality.conditioning
    tokenizer = _tokenizer(tokenizer, conditioning, source.config)
    added = ModalityConfig(name, conditioning_for(name, tokenizer, conditioning), tokenizer)
    config = replace(source.config, modalities=(*source.config.modalities, added))
    state = {**Sleep2Vec.from_seed(config, seed).state_dict(), **source.state}
    history = [*source.card.get("added_modalities", []), {"name": name, "seed": seed}]
    card = {**source.card, "added_modalities": history}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "widened.safetensors"
        save_checkpoint(path, state, config, card=card)
        return replace(load_checkpoint(path), name=f"{source.name}+{name}")


def _tokenizer(
    tokenizer: str | TokenizerConfig | None, conditioning: Conditioning, config: EncoderConfig
) -> TokenizerConfig:
    if isinstance(tokenizer, TokenizerConfig):
        return replace(tokenizer, out_dim=config.token_dim)
    if tokenizer is not None:
        return TokenizerConfig(tokenizer, config.token_dim)
    first = config.modalities[0].tokenizer
    if first.name == "spectral" and conditioning.rate < 1:
        return TokenizerConfig("sundial", config.token_dim)
    return first
