# SPDX-License-Identifier: BSD-3-Clause
"""One fit: the nights with labels, who is held out, the network, and its training."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from .._warnings import warn
from ..encoding._base import choose_modalities
from ..encoding.inputs import EncoderInput
from ..errors import ModalityWarning
from ..recordings.recording import name_subjects
from ._data import Covariates, Standardised, TokenStatistics, TrainingSet, rows_of_nights
from ._labels import Targets
from ._net import FineTuningModule, FineTuningNet, FineTuningPlan, FitProgress
from ._network import FineTuned, Head
from ._parameters import dropout_rates, head_config, lora_config, resolve_batch_size, resolve_head
from ._sources import NightsInMemory, TokenSource, prepared_nights
from .config import TEMPORAL_HEADS

if TYPE_CHECKING:
    from ._base import FineTuningEstimator

__all__ = [
    "FittedParts",
    "Run",
    "build_module",
    "hold_out",
    "layers_of",
    "make_net",
]

_HOLD_OUT_STREAM = 13
_PIECE_OF_TOKENS = 120
_NIGHTS_FOR_STATISTICS = 64


@dataclass(frozen=True, slots=True)
class FittedParts:
    """What a run leaves behind; ``held_out`` are places of recordings in X."""

    net: FineTuningNet
    modalities: tuple[str, ...]
    covariates: Covariates | None
    head_config: object
    held_out: tuple[int, ...]


def layers_of(estimator, config) -> tuple:
    """Layers of the encoder that the head reads, the last one as the transformer asks for it."""
    if not estimator.layer_mix:
        return ("last",)
    return (*range(1, config.n_layers), "last")


def build_module(estimator, head, checkpoint) -> FineTuningModule:
    """The module that is trained, with weights from torch's generator."""
    rates = dropout_rates(estimator.modality_dropout)
    if estimator.finetune == "head":
        return FineTuningModule(Standardised(Head(head)), True, rates)
    network = FineTuned(checkpoint.build(), head, lora_config(estimator))
    network.head = Standardised(network.head)
    return FineTuningModule(network, False, rates)


def make_net(estimator, module: FineTuningModule) -> FineTuningNet:
    """The net around it, not initialised."""
    return estimator._net_class()(
        module,
        lr=float(estimator.lr),
        encoder_lr=float(estimator.encoder_lr),
        weight_decay=float(estimator.weight_decay),
        precision=estimator.precision_,
        device=estimator.device_,
        max_epochs=int(estimator.max_epochs),
        batch_size=resolve_batch_size(estimator),
    )


class Run:
    """Train what an estimator's parameters ask for.

    Parameters
    ----------
    estimator : FineTuningEstimator
        With ``unit_``, ``device_`` and ``precision_``.
    given : EncoderInput
    targets : Targets
    checkpoint : Checkpoint
    seed : int
    """

    def __init__(
        self,
        estimator: FineTuningEstimator,
        given: EncoderInput,
        targets: Targets,
        checkpoint,
        seed,
    ):
        self.estimator = estimator
        self.given = given
        self.targets = targets
        self.checkpoint = checkpoint
        self.seed = seed
        labelled = targets.labelled
        parts = rows_of_nights(given)
        self.used = [i for i, (rows, _) in enumerate(parts) if labelled[rows].any()]
        self.rows = [parts[i][0][labelled[parts[i][0]]] for i in self.used]
        self.epochs = None
        if given.epochs is not None:
            self.epochs = [parts[i][1][labelled[parts[i][0]]] for i in self.used]
        self.recordings = [given.recordings[i] for i in self.used]
        self.places = [given.locations[i] for i in self.used]

    def train(self) -> FittedParts:
        """Read the nights, and train on them."""
        candidates = self._candidates()
        held = self._held_out()
        with contextlib.ExitStack() as until_the_end:
            reader = self._open(candidates, until_the_end)
            modalities = self._found(candidates, reader.modalities)
            covariates = self._covariates(held)
            n_covariates = 0 if covariates is None else covariates.n_columns
            e = self.estimator
            e.modalities_ = modalities
            head = head_config(e, self.checkpoint.config, e._n_outputs(), n_covariates)
            columns = None if covariates is None else covariates.of(self.recordings)
            sets = [self._part(reader, modalities, columns, mask) for mask in (~held, held)]
            module = self._module(head, reader, np.flatnonzero(~held))
            net = make_net(e, module)
            plan = FineTuningPlan(
                sets[0],
                sets[1] if held.any() else None,
                e._loss,
                int(e.max_epochs),
                resolve_batch_size(e),
                e.patience if held.any() else None,
                self.seed,
            )
            progress = FitProgress(plan.max_epochs) if e.verbose else None
            try:
                net.set_params(callbacks=[progress] if progress else [])
                net.initialize()
                # not partial_fit, which takes Ctrl-C for the end of training
                net.notify("on_train_begin", X=None, y=None)
                net.fit_loop(plan)
                net.notify("on_train_end", X=None, y=None)
            finally:
                if progress:
                    progress.close()
        held_out = tuple(self.used[i] for i in np.flatnonzero(held))
        return FittedParts(net, modalities, covariates, head, held_out)

    def _candidates(self) -> tuple[str, ...]:
        supported = self.checkpoint.config.names
        return choose_modalities(self.estimator.modalities, supported, self.given.recordings)

    def _found(self, candidates, there: set[str]) -> tuple[str, ...]:
        absent = [name for name in candidates if name not in there]
        if absent and self.estimator.modalities is not None:
            warn(
                f"{', '.join(absent)}: no recording with a label has it, so that nothing is "
                "learned of it, and it is ignored.",
                ModalityWarning,
            )
        return tuple(name for name in candidates if name in there)

    def _held_out(self) -> np.ndarray:
        e = self.estimator
        if e.patience is None or not e.validation_fraction:
            return np.zeros(len(self.used), dtype=bool)
        names = name_subjects(self.given.recordings)
        # the nights of one row are of one subject, whether they say so or not
        first: dict[int, str] = {}
        subjects = []
        for i, rows in zip(self.used, self.rows, strict=True):
            name = str(names[i])
            subjects.append(first.setdefault(int(rows[0]), name) if self.epochs is None else name)
        strata = self.targets.strata
        examples = None
        if strata is not None:
            examples = np.array([strata[rows].any(axis=0) for rows in self.rows])
        rng = np.random.default_rng([self.seed, _HOLD_OUT_STREAM])
        return hold_out(subjects, examples, e.validation_fraction, rng)

    def _open(self, modalities, until_the_end: contextlib.ExitStack):
        e = self.estimator
        if e.finetune == "head":
            source = e._token_source(self.checkpoint, modalities)
            return NightsInMemory(list(source.nights(self.recordings, self.places)))
        return until_the_end.enter_context(
            prepared_nights(
                self.checkpoint, modalities, self.recordings, self.places, e.cache, int(e.verbose)
            )
        )

    def _covariates(self, held: np.ndarray) -> Covariates | None:
        fields, timed = self.estimator.covariates, self.estimator.time_of_night
        if fields is None and not timed:
            return None
        known = [self.recordings[i] for i in np.flatnonzero(~held)]
        return Covariates.fit(fields, timed, known)

    def _part(self, reader, modalities, columns, mask: np.ndarray) -> TrainingSet:
        nothing = np.empty(0, dtype=np.int64)
        widths = None
        if self.estimator.finetune != "head":
            widths = {name: reader.contents[name].width for name in modalities}
        rows = tuple(r if used else nothing for r, used in zip(self.rows, mask, strict=True))
        return TrainingSet(
            reader,
            modalities,
            widths,
            self.targets,
            rows,
            None if self.epochs is None else tuple(self.epochs),
            tuple(recording.n_epochs for recording in self.recordings),
            columns,
            self._longest(),
        )

    def _longest(self) -> int | None:
        """Most epochs of a piece, None for whole nights."""
        head = resolve_head(self.estimator)
        of_tokens = self.estimator.finetune == "head"
        # positions are learned, and those beyond a piece would never be
        if head == "temporal_transformer" or (head in TEMPORAL_HEADS and of_tokens):
            return None
        return _PIECE_OF_TOKENS if of_tokens else self.checkpoint.config.context_epochs

    def _module(self, head, reader, training: np.ndarray) -> FineTuningModule:
        e = self.estimator
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)
            module = build_module(e, head, self.checkpoint)
        if e.finetune == "head":
            nights = (reader.nights[i] for i in training)
            standardised = module.network
        else:
            some = training[:_NIGHTS_FOR_STATISTICS]
            source: TokenSource = e._token_source(self.checkpoint, head.modalities)
            nights = source.nights(
                [self.recordings[i] for i in some], [self.places[i] for i in some]
            )
            standardised = module.network.head
        by_summary = head.unit == "night" and head.pooling == "cls"
        standardised.set_statistics(TokenStatistics(nights, head.modalities, by_summary))
        return module


_FEWEST = 2


def hold_out(
    subjects: Sequence, examples: np.ndarray | None, share: float, rng: np.random.Generator
) -> np.ndarray:
    """Nights that are held out with all nights of their subject.

    Parameters
    ----------
    subjects : sequence of shape (n_nights,)
        Names of them.
    examples : bool ndarray of shape (n_nights, n_strata) or None
        What each night has a labelled example of. Of everything that any night has, one stays
        among those to train on.
    share : float
        Of the subjects, rounded down. Less than two are none: what one person's loss says of
        another's is little.
    rng : Generator

    Returns
    -------
    bool ndarray of shape (n_nights,)

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn.finetuning._run import hold_out
    >>> hold_out(list("aabbccddee"), None, 0.4, np.random.default_rng(0)).sum()
    np.int64(4)
    """
    names, place = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
    wanted = math.floor(share * len(names))
    if examples is None:
        examples = np.ones((len(place), 1), dtype=bool)
    counts = np.zeros((len(names), examples.shape[1]), dtype=int)
    np.add.at(counts, place, examples)
    left = counts.sum(axis=0)
    needed = left > 0
    held = np.zeros(len(names), dtype=bool)
    for subject in rng.permutation(len(names)):
        if held.sum() == wanted:
            break
        if (left - counts[subject])[needed].all():
            left = left - counts[subject]
            held[subject] = True
    return held[place] if held.sum() >= _FEWEST else np.zeros(len(place), dtype=bool)
