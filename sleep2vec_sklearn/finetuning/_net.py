# SPDX-License-Identifier: BSD-3-Clause
"""One fit: held-out subjects, the network, and the skorch net that trains it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import (
    Callback,
    EarlyStopping,
    EpochTimer,
    GradientNormClipping,
    LRScheduler,
    PassthroughScoring,
)
from skorch.helper import predefined_split
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Dataset

from .._skorch import ProgressBar, StopTraining
from .._torch import building, decay_groups, rate_factor, step_randomness
from .._warnings import warn
from ..encoding._base import choose_groups
from ..encoding._sleep2vec import as_encoder
from ..encoding.inputs import EncoderInput
from ..errors import ModalityWarning, TrainingError
from ..model.checkpoint import Checkpoint, require_sleep2vec
from ..nightstore.store import contents_of
from ..recordings.recording import Recording, name_subjects
from ._data import (
    Batch,
    CohortSet,
    Covariates,
    LabelledBatch,
    NightArrays,
    NightsInMemory,
    NightsOnDisk,
    Piece,
    TokenSource,
    TrainingSet,
    collate,
    inputs_of,
    prepared_nights,
    token_statistics,
)
from ._losses import terms_of_rows
from ._network import FineTuned, FineTuningModule, Head, Standardised
from .config import TEMPORAL_HEADS, FitSettings, HeadConfig, LoRA

if TYPE_CHECKING:
    from ..model.encoder import Encoder
    from ._labels import Targets

_WARMUP, _LR_FLOOR, _MAX_NORM = 0.05, 0.05, 1.0
_BATCH_STREAM, _STEP_STREAM, _HOLD_OUT_STREAM = 11, 12, 13
_TOKENS_PER_PIECE = 120
_TUNING = "finetune='lora' or 'full'", "Use finetune='head', which takes any."
_NIGHTS_FOR_STATISTICS = 64
_FEWEST_HELD_OUT = 2


def fine_tune(
    settings: FitSettings, inputs: EncoderInput, targets: Targets, checkpoint: Checkpoint | Encoder,
    criterion: nn.Module, n_outputs: int, seed: int, net_class: type[FineTuningNet],
    callbacks: Sequence[Callback] = (),
) -> tuple[
    FineTuningNet, tuple[str, ...], Covariates | None, HeadConfig, tuple[int, ...]
]:  # fmt: skip
    """Train on the labelled nights of X; the last of the results are positions held out of X."""
    encoder = as_encoder(checkpoint, states_only=True)
    candidates = choose_groups(settings.modalities, encoder, inputs.recordings)
    subjects = [str(name) for name in name_subjects(inputs.recordings)]
    labelled = targets.labelled
    positions = [i for i, rows in enumerate(inputs.rows) if labelled[rows].any()]
    nights, targets = inputs.take(labelled), targets.take(labelled)
    held_out = _choose_held_out(settings, nights, [subjects[i] for i in positions], targets, seed)
    with _open_nights(settings, checkpoint, candidates, nights) as reader:
        modalities = _available(candidates, reader.modalities, settings.modalities is not None)
        covariates = _fit_covariates(settings, nights.recordings, ~held_out)
        n_covariates = 0 if covariates is None else covariates.n_columns
        head = settings.head_config(checkpoint, encoder, modalities, n_outputs, n_covariates)
        widths: Mapping[str, int] | int = head.hidden_size
        if isinstance(reader, NightsOnDisk):
            widths = {name: reader.store.contents[name].width for name in modalities}
        training, validation = (
            net_class.training_set(
                reader,
                modalities,
                widths,
                targets,
                tuple(r if used else r[:0] for r, used in zip(nights.rows, mask, strict=True)),
                nights.epochs,
                tuple(recording.n_epochs for recording in nights.recordings),
                None if covariates is None else covariates.of(nights.recordings),
                _longest_piece(settings, encoder),
            )
            for mask in (~held_out, held_out)
        )
        module = build_module(settings, head, checkpoint, seed)
        _standardise(module, settings, checkpoint, reader, nights, ~held_out)
        net = make_net(settings, module, criterion, net_class, seed)
        batches = Batches(training, settings.batch_size, settings.max_epochs, seed)
        validated = HeldOutRows(validation, training) if held_out.any() else None
        _train(net, settings, batches, validated, callbacks)
    return net, modalities, covariates, head, tuple(np.array(positions)[held_out].tolist())


def token_source(
    settings: FitSettings, checkpoint: Checkpoint | Encoder, modalities: Sequence[str]
) -> TokenSource:
    """Tokens of the layers that the head reads."""
    layers: tuple[str | int, ...] = ("last",)
    if settings.layer_mix:
        n_layers = require_sleep2vec(checkpoint, "layer_mix=True").config.n_layers
        layers = (*range(1, n_layers), "last")
    return TokenSource(
        checkpoint, tuple(modalities), layers, settings.precision,
        settings.device, settings.cache, settings.unit == "night" and settings.pooling == "cls",
        settings.verbose, settings.unit == "epoch" and as_encoder(checkpoint).centered,
    )  # fmt: skip


def build_module(
    settings: FitSettings, head: HeadConfig, checkpoint: Checkpoint | Encoder, seed: int = 0
) -> FineTuningModule:
    """The module that is trained."""
    tuning = settings.finetune
    with building(seed):
        if tuning is None:
            return FineTuningModule(Standardised(Head(head)), True, settings.modality_dropout)
        lora = tuning if isinstance(tuning, LoRA) else None
        encoder = require_sleep2vec(checkpoint, *_TUNING).build()
        network = FineTuned(encoder, head, lora)
        network.head = Standardised(network.head)
        return FineTuningModule(network, False, settings.modality_dropout)


def make_net(
    settings: FitSettings, module: FineTuningModule, criterion: nn.Module,
    net_class: type[FineTuningNet], seed: int = 0,
) -> FineTuningNet:  # fmt: skip
    """The net around a module, not initialised."""
    return net_class(
        module, criterion, lr=settings.lr,
        encoder_lr=settings.lr if settings.finetune is None else float(settings.finetune.lr),
        weight_decay=settings.weight_decay, precision=settings.precision, device=settings.device,
        max_epochs=settings.max_epochs, batch_size=settings.batch_size, seed=seed,
    )  # fmt: skip


def _available(candidates: Sequence[str], stored: set[str], chosen: bool) -> tuple[str, ...]:
    absent = [name for name in candidates if name not in stored]
    if absent and chosen:
        warn(
            f"{', '.join(absent)}: no recording with a label has it, so that nothing is learned "
            "of it, and it is ignored.",
            ModalityWarning,
        )
    return tuple(name for name in candidates if name in stored)


def _choose_held_out(
    settings: FitSettings, nights: EncoderInput, subjects: list[str], targets: Targets, seed: int
) -> np.ndarray:
    if settings.patience is None or not settings.validation_fraction:
        return np.zeros(len(subjects), dtype=bool)
    if nights.epochs is None:
        # the nights of one row are of one subject, whether they say so or not
        first: dict[int, str] = {}
        pairs = zip(nights.rows, subjects, strict=True)
        subjects = [first.setdefault(int(row), name) for (row,), name in pairs]
    strata = np.ones((nights.n_rows, 1), bool) if targets.strata is None else targets.strata
    examples = np.array([strata[rows].any(axis=0) for rows in nights.rows])
    rng = np.random.default_rng([seed, _HOLD_OUT_STREAM])
    return hold_out(subjects, examples, settings.validation_fraction, rng)


def hold_out(
    subjects: Sequence[str], examples: np.ndarray, share: float, rng: np.random.Generator
) -> np.ndarray:
    """Hold out whole subjects, but not the last ``examples`` (n_nights, n_strata) of a stratum."""
    names, subject = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
    n_wanted = math.floor(share * len(names))
    counts = np.zeros((len(names), examples.shape[1]), dtype=int)
    np.add.at(counts, subject, examples)
    left = counts.sum(axis=0)
    needed = left > 0
    held_out = np.zeros(len(names), dtype=bool)
    for candidate in rng.permutation(len(names)):
        if held_out.sum() == n_wanted:
            break
        if (left - counts[candidate])[needed].all():
            left = left - counts[candidate]
            held_out[candidate] = True
    # the loss of a single subject says little about others
    return held_out[subject] & (held_out.sum() >= _FEWEST_HELD_OUT)


@contextmanager
def _open_nights(
    settings: FitSettings,
    checkpoint: Checkpoint | Encoder,
    modalities: Sequence[str],
    nights: EncoderInput,
) -> Iterator[NightsInMemory | NightsOnDisk]:
    if settings.finetune is None:
        source = token_source(settings, checkpoint, modalities)
        yield NightsInMemory(list(source.nights(nights.recordings, nights.locations)))
        return
    recordings, locations = nights.recordings, nights.locations
    options = settings.cache, settings.verbose
    tuned = require_sleep2vec(checkpoint, *_TUNING)
    with prepared_nights(tuned, modalities, recordings, locations, *options) as reader:
        yield reader


def _fit_covariates(
    settings: FitSettings, recordings: Sequence[Recording], training: np.ndarray
) -> Covariates | None:
    if settings.covariates is None and not settings.time_of_night:
        return None
    used = [recordings[i] for i in np.flatnonzero(training).tolist()]
    return Covariates.fit(settings.covariates, settings.time_of_night, used)


def _longest_piece(settings: FitSettings, encoder: Encoder) -> int | None:
    """Most epochs of a piece, None for whole nights."""
    of_tokens = settings.finetune is None
    # positions beyond a piece would never be learned
    whole = TEMPORAL_HEADS if of_tokens else ("temporal_transformer",)
    if settings.head in whole:
        return None
    return _TOKENS_PER_PIECE if of_tokens else encoder.context_epochs


def _standardise(
    module: FineTuningModule, settings: FitSettings, checkpoint: Checkpoint | Encoder,
    reader: NightsInMemory | NightsOnDisk, nights: EncoderInput, training: np.ndarray,
) -> None:  # fmt: skip
    """Set the mean and standard deviation of the tokens of training."""
    head, used = module.head.config, np.flatnonzero(training).tolist()
    tokens: Iterable[NightArrays]
    if isinstance(reader, NightsInMemory):
        tokens = (reader.nights[i] for i in used)
    else:
        used = used[:_NIGHTS_FOR_STATISTICS]
        source = token_source(settings, checkpoint, head.modalities)
        locations = [nights.locations[i] for i in used]
        tokens = source.nights([nights.recordings[i] for i in used], locations)
    summaries = head.unit == "night" and head.pooling == "cls"
    module.head.set_statistics(*token_statistics(tokens, head.modalities, summaries))


def _train(
    net: FineTuningNet, settings: FitSettings, batches: Batches, held_out: HeldOutRows | None,
    callbacks: Sequence[Callback],
) -> None:  # fmt: skip
    schedule = LRScheduler(LambdaLR, lr_lambda=batches.rate, step_every="batch")
    progress = FitProgress(settings.max_epochs)
    used = [FiniteClipping(_MAX_NORM), schedule, *callbacks]
    if settings.verbose:
        used.append(progress)
    if held_out is not None:
        net.set_params(train_split=predefined_split(held_out))
        # the last, as it breaks off what comes after it in the last epoch
        stopping = EarlyStopping(
            patience=settings.patience, threshold=0, threshold_mode="abs", load_best=True
        )
        used.append(stopping)
    try:
        net.set_params(callbacks=used)
        net.initialize().partial_fit(batches)
    finally:
        progress.close()
    # they hold the nights, which no pickle of the net should
    net.set_params(callbacks="disable", train_split=None)
    net._set_training(False)
    # moments are useless after the end, and twice the size of the network
    net.optimizer_.state.clear()


def predict_outputs(
    net: FineTuningNet, settings: FitSettings, checkpoint: Checkpoint | Encoder,
    covariates: Covariates | None, inputs: EncoderInput,
) -> np.ndarray:  # fmt: skip
    """Outputs of each row of X, float32 of shape (n_rows, n_outputs), night by night."""
    head = net.module_.head.config
    modalities = head.modalities
    widths: Mapping[str, int] | int = head.hidden_size
    if settings.finetune is None:
        source = token_source(settings, checkpoint, modalities)
        nights = source.nights(inputs.recordings, inputs.locations)
    else:
        contents = contents_of(checkpoint, "features", list(modalities))
        widths = {name: content.width for name, content in contents.items()}
        pairs = zip(inputs.recordings, inputs.locations, strict=True)
        nights = (inputs_of(recording, contents, location) for recording, location in pairs)
    columns = None if covariates is None else covariates.of(inputs.recordings)
    sums = np.zeros((inputs.n_rows, head.n_outputs), dtype=np.float32)
    counts = np.zeros((inputs.n_rows, 1), dtype=np.float32)
    for i, (night, rows) in enumerate(zip(nights, inputs.rows, strict=True)):
        index = np.zeros(1, dtype=np.int64) if inputs.epochs is None else inputs.epochs[i]
        stated = None if columns is None else columns[i : i + 1]
        batch = collate([night], modalities, widths, stated, index, len(rows))
        sums[rows] += net.outputs(batch).cpu().numpy()
        counts[rows] += 1
    return sums / counts


class Batches(Dataset):
    """Batches of a training set, drawn anew in every epoch, and the learning rate over them."""

    def __init__(self, training: TrainingSet, batch_size: int, max_epochs: int, seed: int):
        self.training = training
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.seed = seed
        self.epoch, self.first_step = 0, 0
        self._drawn: dict[int, list[list[Piece]]] = {}

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        pieces = self._draw(self.epoch)
        for part in pieces:
            yield self.training.load(part)
        del self._drawn[self.epoch]
        self.first_step += len(pieces)
        self.epoch += 1

    def rate(self, step: int) -> float:
        """Share of the peak learning rate at a step."""
        ended = step >= self.first_step + len(self._draw(self.epoch))
        # nights are cut anew in each epoch, which can change the number of batches
        epoch = min(self.epoch + ended, self.max_epochs - 1)
        return rate_factor(step, self.max_epochs * len(self._draw(epoch)), _WARMUP, _LR_FLOOR)

    def _draw(self, epoch: int) -> list[list[Piece]]:
        if epoch not in self._drawn:
            rng = np.random.default_rng([self.seed, _BATCH_STREAM, epoch])
            self._drawn[epoch] = self.training.draw(rng, self.batch_size)
        return self._drawn[epoch]


@dataclass(frozen=True, slots=True, eq=False)
class HeldOutRows:
    """All held-out rows, as one batch, as their loss is taken together."""

    rows: TrainingSet
    training: TrainingSet

    def __len__(self) -> int:
        return 1


class FineTuningNet(NeuralNet):
    """A skorch net over :class:`Batches`, with a learning rate of its own for the encoder."""

    training_set: type[TrainingSet] = TrainingSet

    def __init__(
        self, module: Any, criterion: Any, *, encoder_lr: float, weight_decay: float,
        precision: str, seed: int, **kwargs: Any,
    ) -> None:  # fmt: skip
        options = {"train_split": None, "optimizer": torch.optim.AdamW, "verbose": 0, **kwargs}
        super().__init__(module, criterion, **options)
        self.encoder_lr = encoder_lr
        self.weight_decay = weight_decay
        self.precision = precision
        self.seed = seed

    @property
    def _default_callbacks(self) -> list[tuple[str, Callback]]:
        return [
            ("epoch_timer", EpochTimer()),
            ("train_loss", PassthroughScoring("train_loss", lower_is_better=None, on_train=True)),
            ("valid_loss", PassthroughScoring("valid_loss", lower_is_better=None)),
        ]

    def initialize_optimizer(self, triggered_directly: Any = None) -> Self:
        groups = []
        for rate, of_encoder in ((self.lr, False), (self.encoder_lr, True)):
            named = [
                (name, parameter)
                for name, parameter in self.module_.named_parameters()
                if parameter.requires_grad and name.startswith("network.encoder.") == of_encoder
            ]
            groups += [{**group, "lr": rate} for group in decay_groups(named, self.weight_decay)]
        self.optimizer_ = self.optimizer(groups)
        return self

    def get_all_learnable_params(self) -> Iterator[tuple[str, nn.Parameter]]:
        """In the order of the optimizer, in which the norm of the gradients is summed up."""
        for group in self.optimizer_.param_groups:
            yield from (("", parameter) for parameter in group["params"])

    def get_iterator(self, dataset: Any, training: bool = False) -> Iterable:
        return dataset if training else [(dataset, None)]

    def partial_fit(self, X: Any, y: Any = None, classes: Any = None, **fit_params: Any) -> Self:
        """As skorch's, which takes Ctrl-C for the end of training; here only callbacks end it."""
        if not self.initialized_:
            self.initialize()
        self.notify("on_train_begin", X=X, y=y)
        with suppress(StopTraining):
            self.fit_loop(X, y, **fit_params)
        self.notify("on_train_end", X=X, y=y)
        return self

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        try:
            super().notify(method_name, **cb_kwargs)
        except KeyboardInterrupt as stop:
            if method_name != "on_epoch_end":
                raise
            raise StopTraining from stop

    def on_train_begin(self, net: NeuralNet, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        super().on_train_begin(net, X=X, y=y, **kwargs)
        self.step_ = 0

    def on_batch_end(
        self, net: NeuralNet, batch: Any = None, training: bool = False, **kwargs: Any
    ) -> None:
        super().on_batch_end(net, batch=batch, training=training, **kwargs)
        self.step_ += training

    def train_step_single(self, batch: tuple, **fit_params: Any) -> dict[str, Tensor]:
        with step_randomness([self.seed, _STEP_STREAM, self.step_], self.device):
            return super().train_step_single(batch, **fit_params)

    def validation_step(self, batch: tuple, **fit_params: Any) -> dict[str, Tensor]:
        held_out, _ = batch
        outputs, targets, weights = self.outputs_of(map(held_out.rows.batch, held_out.rows.whole()))
        with torch.inference_mode():
            return {"loss": self.criterion_(outputs, targets, weights), "y_pred": outputs}

    def infer(self, x: Batch, **fit_params: Any) -> Tensor:
        device_type = torch.device(self.device).type
        with torch.autocast(device_type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            return self.module_(x.to(self.device))

    def get_loss(
        self, y_pred: Tensor, y_true: Iterable[Tensor], X: Any = None, training: bool = False
    ) -> Tensor:
        return self.criterion_(y_pred, *(part.to(y_pred.device) for part in y_true))

    def outputs(self, batch: Batch) -> Tensor:
        """Outputs of a batch in evaluation, without gradients."""
        self._set_training(False)
        with torch.inference_mode():
            return self.infer(batch)

    def outputs_of(self, batches: Iterable[LabelledBatch]) -> tuple[Tensor, Tensor, Tensor]:
        """Outputs, targets and weights of all rows of batches."""
        parts = [(self.outputs(batch), *y) for batch, y in batches]
        outputs, targets, weights = (torch.cat(column) for column in zip(*parts, strict=True))
        return outputs, targets.to(outputs.device), weights.to(outputs.device)


class CoxNet(FineTuningNet):
    """A net whose steps see whole cohorts, in the memory of one chunk of it."""

    training_set = CohortSet

    def train_step_single(self, batch: tuple, **fit_params: Any) -> dict[str, Tensor]:
        self._set_training(True)
        cohort, _ = batch
        alone = len(cohort.chunks) == 1
        parts, labels = [], []
        for number, (chunk, y) in enumerate(cohort.batches()):
            with torch.set_grad_enabled(alone):
                parts.append(self._training_outputs(chunk, number))
            labels.append(y)
        outputs: Any = torch.cat(parts)
        if not alone:
            outputs.requires_grad_()
        y_true = tuple(torch.cat(column) for column in zip(*labels, strict=True))
        loss = self.get_loss(outputs, y_true, X=cohort, training=True)
        loss.backward()
        if not alone:
            # through the chunks once more, with the gradient of the whole
            gradients = outputs.grad.split([len(part) for part in parts])
            for number, (chunk, _) in enumerate(cohort.batches()):
                self._training_outputs(chunk, number).backward(gradients[number])
        return {"loss": loss, "y_pred": outputs}

    def validation_step(
        self, batch: tuple[HeldOutRows, None], **fit_params: Any
    ) -> dict[str, Tensor]:
        """Cross-validated partial likelihood (Verweij & van Houwelingen, Stat. Med. 12, 1993)."""
        held_out, _ = batch
        sets: Any = held_out.training, held_out.rows
        ours, theirs = (self.outputs_of(rows.whole_cohort().batches()) for rows in sets)
        together = [torch.cat(pair) for pair in zip(ours, theirs, strict=True)]
        with torch.inference_mode():
            sums, n_events = terms_of_rows(*together)
            trained, _ = terms_of_rows(*ours)
            has_events = n_events > 0
            losses = ((sums - trained) / n_events.clamp_min(1e-12))[has_events]
            loss = losses.mean() * len(together[0]) / len(theirs[0])
            return {"loss": loss, "y_pred": theirs[0]}

    def _training_outputs(self, chunk: Batch, number: int) -> Tensor:
        """Outputs in training; the same call has the same dropout."""
        with step_randomness([self.seed, _STEP_STREAM, self.step_, number], self.device):
            return self.infer(chunk)


class FiniteClipping(GradientNormClipping):
    """Clips gradients, and ends the fit where they or the loss are not finite."""

    def on_grad_computed(
        self, net: FineTuningNet, named_parameters: Iterable[tuple[str, Tensor]], **kwargs: Any
    ) -> None:
        norm = nn.utils.clip_grad_norm_([p for _, p in named_parameters], self.gradient_clip_value)
        self._require_finite(norm, net, net.step_ + 1)

    def on_batch_end(
        self, net: FineTuningNet, batch: Any = None, training: bool = False, **kwargs: Any
    ) -> None:
        if training:
            self._require_finite(kwargs["loss"], net, net.step_)

    def _require_finite(self, value: Tensor, net: FineTuningNet, step: int) -> None:
        if not value.isfinite():
            raise TrainingError(
                f"the loss is not finite at step {step}, in epoch {len(net.history)}. "
                "Look at the targets for values that are far off, or lower the learning rates."
            )


class FitProgress(ProgressBar):
    """One bar over the epochs of training."""

    def __init__(self, total: int):
        self.total = total

    def on_train_begin(self, net: NeuralNet, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        self.open_bar(total=self.total, desc="fine-tuning", unit="epoch")

    def on_epoch_end(
        self, net: NeuralNet, dataset_train: Any = None, dataset_valid: Any = None, **kwargs: Any
    ) -> None:
        row = net.history[-1]
        losses = {k: f"{row[k]:.4f}" for k in ("train_loss", "valid_loss") if k in row}
        self.bar_.set_postfix(losses, refresh=False)
        self.bar_.update()
