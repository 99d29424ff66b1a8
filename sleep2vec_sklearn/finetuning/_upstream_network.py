# SPDX-License-Identifier: BSD-3-Clause
"""A fine-tuned network of the authors at work: on recordings, and on the tokens of its authors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import expit, softmax
from sklearn.utils.metaestimators import available_if
from torch import Tensor, nn

from .._torch import inference
from ..encoding._sleep2vec import merge_windows, window_starts
from ..encoding.inputs import EncoderInput, read_input
from ..errors import InvalidRecordingError
from ..model.network import Sleep2Vec
from ..model.upstream.layout import modality_of
from ..nightstore.content import Content
from ..recordings._demographics import read_age, read_sex
from ..recordings.epochs import EpochSequence
from ..recordings.modality import MODALITIES
from ..recordings.recording import Recording, describe_recording
from ..recordings.stages import SleepStage
from ._data import NightArrays, inputs_of
from ._network import FineTuned, encode_windows
from .config import HeadConfig

_WINDOWS_AT_ONCE = 8
# of the authors' classes of epochs, the stage that stands for each, as in staging_report()
_W, _N1, _N2, _N3, _R = SleepStage.W, SleepStage.N1, SleepStage.N2, SleepStage.N3, SleepStage.R
STAGE_CODES = {5: (_W, _N1, _N2, _N3, _R), 4: (_W, _N2, _N3, _R), 3: (_W, _N2, _R)}
_WITHOUT_PROBABILITIES = ("numbers", "risks")


@dataclass(frozen=True)
class Task:
    """What the outputs of a network are."""

    # "classes", of which one is true; "outcomes" or "seconds", each of which may be; "numbers"; or
    # "risks", logarithms of them
    kind: str
    # probability above which a second is of an event; of each kind of event in turn
    thresholds: tuple[float, ...] = (0.5,)


class Demographics(nn.Module):
    """Columns of age and sex, each of as many numbers as it was trained with; none for neither."""

    def __init__(self, age_size: int, sex_size: int):
        super().__init__()
        self.age = nn.Linear(1, age_size) if age_size else None
        self.sex = nn.Embedding(2, sex_size) if sex_size else None

    @property
    def fields(self) -> tuple[str, ...]:
        """Which of the two are asked for."""
        return tuple(n for n in ("age", "sex") if getattr(self, n) is not None)

    def forward(self, age: Tensor, sex: Tensor) -> Tensor:
        """Ages in years [B] and sexes [B], 0 for female and 1 for male, to [B, C]."""
        columns = []
        if self.age is not None:
            columns.append(self.age(age[:, None] / 100))
        if self.sex is not None:
            columns.append(self.sex(sex))
        return torch.cat(columns, dim=-1)


class UpstreamNetwork(FineTuned):
    """A fine-tuned network of the authors, from :func:`load_finetuned`.

    It predicts as the estimators do, without ``fit``: one row for each element of X, which are
    epochs for a head on epochs (an ``EpochSequence``, or one recording for all of its epochs) and
    nights or subjects for a head on nights. A night that is longer than the window of training is
    read in overlapping windows, each by encoder and head; their outputs are averaged.

    It is a torch module in eval mode too: ``network(inputs, present, valid)`` takes conditioned
    samples of each modality, [n_nights, n_epochs, n_samples], and bool masks: which modalities an
    epoch has, [n_nights, n_epochs, n_modalities] in the order of ``modalities_``, and which epochs
    are no padding. ``network.to("cuda")`` moves it, and predictions with it.

    Attributes
    ----------
    name : str
        The file's stem.
    modalities_ : tuple of str
        Those it reads, in its order.
    unit_ : {"epoch", "night"}
        What a row of its outputs stands for.
    classes_ : ndarray of shape (n_classes,)
        Of epochs, the codes of :class:`SleepStage`: all of five stages; 0, 2, 3, 4 of four, N2
        being N1 and N2; 0, 2, 4 of three, N2 being all NREM sleep. Of nights, 0, 1, ...: sex is 0
        for female and 1 for male. Of several outcomes, their numbers. Not there for numbers, risks
        and events.
    card : dict
        What the file says.

    See Also
    --------
    Sleep2VecClassifier : Heads of your own.

    Examples
    --------
    >>> from sleep2vec_sklearn import EpochSequence, stage_night
    >>> from sleep2vec_sklearn.finetuning import load_finetuned
    >>> network = load_finetuned("s2v-medium-stage5-eeg/best.ckpt")  # doctest: +SKIP
    >>> network.modalities_, network.classes_  # doctest: +SKIP
    (('eeg',), array([0, 1, 2, 3, 4], dtype=int8))
    >>> network.predict_proba(EpochSequence(nights)).shape  # doctest: +SKIP
    (1920, 5)
    >>> stage_night(nights[0], stager=network).statistics()  # doctest: +SKIP
    """

    def __init__(
        self, encoder: Sleep2Vec, head_config: HeadConfig, task: Task, *, layers: Sequence[int],
        adapted: Mapping[str, Sleep2Vec] | None = None, demographics: tuple[int, int] = (0, 0),
        missing: str = "raise", card: Mapping | None = None,
    ):  # fmt: skip
        super().__init__(encoder, head_config, layers=layers, adapted=adapted)
        self.demographics = Demographics(*demographics)
        self.task = task
        self.missing = missing
        self.card = dict(card or {})
        self.name = self.card.get("name", "")

    def __getattr__(self, name: str) -> Any:
        if name in ("classes_", "predict_proba"):
            raise AttributeError(
                f"this network ({self.name}) predicts {self.task.kind}, which have no "
                f"{'classes' if name == 'classes_' else 'probabilities'}; use predict()."
            )
        return super().__getattr__(name)

    @property
    def modalities_(self) -> tuple[str, ...]:
        return self.head.config.modalities

    @property
    def unit_(self) -> str:
        return self.head.config.unit

    @property
    def classes_(self) -> np.ndarray:
        n_outputs = self.head.config.n_outputs
        if self.task.kind == "outcomes":
            return np.arange(n_outputs)
        if self.task.kind != "classes":
            raise AttributeError("classes_")  # __getattr__ says why
        if self.unit_ == "epoch" and n_outputs in STAGE_CODES:
            return np.array(STAGE_CODES[n_outputs], dtype=np.int8)
        return np.arange(max(n_outputs, 2))

    def predict(self, X: Any) -> np.ndarray:
        """Predict for each element of X.

        Parameters
        ----------
        X : EpochSequence, Recording or dict; for a head on nights, list of Recording or dict
            A list in place of a night is several nights of one subject, whose outputs are averaged.

        Returns
        -------
        ndarray of shape (len(X),) or (len(X), n_outputs)
            Classes; 0 and 1 for outcomes, and for the seconds of epochs, by the thresholds of the
            file; numbers, such as the age in years; or risks, logarithms that say who is at a
            higher one.

        Raises
        ------
        InvalidRecordingError
            If a recording has not all that the network reads, or X holds rows of another kind.
        """
        outputs = self._outputs(X)
        if self.task.kind == "classes":
            classes = outputs.argmax(axis=1) if outputs.shape[1] > 1 else outputs[:, 0] > 0
            return self.classes_[classes.astype(int)]
        if self.task.kind in ("outcomes", "seconds"):
            n_seconds = outputs.shape[1] // len(self.task.thresholds)
            return (expit(outputs) > np.tile(self.task.thresholds, n_seconds)).astype(int)
        outputs = outputs.astype(np.float64)
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    @available_if(lambda network: network.task.kind not in _WITHOUT_PROBABILITIES)
    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict the probability of each class or outcome, or of an event in each second.

        Parameters
        ----------
        X : EpochSequence, Recording or dict; for a head on nights, list of Recording or dict
            As of :meth:`predict`.

        Returns
        -------
        float32 ndarray of shape (len(X), n_classes)
            Rows add up to one, but for outcomes and for seconds.

        Raises
        ------
        InvalidRecordingError
            As of :meth:`predict`.
        """
        return self._as_probabilities(self._outputs(X))

    def logits(
        self, tokens: Any, length: Any = None, *, age: Any = None, sex: Any = None
    ) -> np.ndarray:
        """What the authors' code gives for a padded batch of sequences, each one window.

        Padding is as theirs: no attention sees it, and the filters of "temporal_conv" do.

        Parameters
        ----------
        tokens : dict of str to array of shape (n_sequences, n_epochs, n_samples)
            Network input of every modality, by its name or that of the authors' channel; or one
            array where there is one. Without the first axis it is one sequence. What the network
            does not read is left aside.
        length : int array of shape (n_sequences,), or bool (n_sequences, n_epochs), optional
            Epochs of each sequence before its padding, or which they are; all by default.
        age, sex : array of shape (n_sequences,), optional
            Years, and 0 for female or 1 for male; needed where the network reads them.

        Returns
        -------
        float32 ndarray of shape (n_sequences, n_epochs, n_outputs) or (n_sequences, n_outputs)
            Of one sequence without its first axis.

        Raises
        ------
        ValueError
            If a modality, age or sex is missing or too much, or of another shape.
        """
        inputs, alone = self._read_tokens(tokens)
        shape = next(iter(inputs.values())).shape[:2]
        device = self._device
        valid = _read_length(length, *shape).to(device)
        stated = self._stated({"age": age, "sex": sex}, shape[0])
        self.eval()
        with inference():
            parts, summaries = [], []
            for name, samples in inputs.items():
                encoder: Any = self.adapted[name] if self.adapted else self.encoder
                embedded = self.encoder.tokenize(name, samples.to(device))
                part, summary = encode_windows(encoder, embedded, valid, self.layers)
                parts.append(part)
                summaries += [] if summary is None else [summary]
            states = torch.stack(parts, dim=2)
            cls = torch.stack(summaries, dim=1) if summaries else None
            if self.head.config.n_layers == 1:
                states, cls = states[:, :, :, 0], None if cls is None else cls[:, :, 0]
            present = torch.ones(states.shape[:3], dtype=torch.bool, device=device)
            if self.unit_ == "night":
                outputs = self.head(states, present, valid, stated, cls)
            else:
                # padding has features too, and of the heads one alone is told where it is
                told = self.head.config.head == "temporal_transformer"
                features = self.head.features(states, present, stated)
                outputs = self.head.predictor(features, valid if told else torch.ones_like(valid))
            outputs = outputs.float().cpu().numpy()
        return outputs[0] if alone else outputs

    def stage(self, recording: Recording) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Probabilities of the classes, and in which epochs each modality has a signal.

        Parameters
        ----------
        recording : Recording

        Returns
        -------
        probabilities : float64 ndarray of shape (n_epochs, n_classes)
            NaN where no modality has a signal.
        measured : dict of str to bool ndarray of shape (n_epochs,)

        Raises
        ------
        InvalidRecordingError
            If it has not all that the network reads.
        """
        location = describe_recording(recording)
        night = self._read_night(recording, location)
        measured = {n: night.valid[n] for n in self.modalities_ if n in night.valid}
        outputs = self._outputs_of_night(night, self._ask_subject(recording, location))
        probabilities = self._as_probabilities(outputs).astype(np.float64)
        probabilities[~np.any([*measured.values()], axis=0)] = np.nan
        return probabilities, measured

    def _as_probabilities(self, outputs: np.ndarray) -> np.ndarray:
        if self.task.kind != "classes":
            return expit(outputs)
        if outputs.shape[1] == 1:
            return expit(np.concatenate([-outputs, outputs], axis=1))
        return softmax(outputs, axis=1)

    def _outputs(self, X: Any) -> np.ndarray:
        """Outputs of each row of X, float32 of shape (n_rows, n_outputs), night by night."""
        inputs = self._read(X)
        sums = np.zeros((inputs.n_rows, self.head.config.n_outputs), dtype=np.float32)
        counts = np.zeros((inputs.n_rows, 1), dtype=np.float32)
        for i, (recording, rows) in enumerate(zip(inputs.recordings, inputs.rows, strict=True)):
            night = self._read_night(recording, inputs.locations[i])
            stated = self._ask_subject(recording, inputs.locations[i])
            outputs = self._outputs_of_night(night, stated)
            sums[rows] += outputs if inputs.epochs is None else outputs[inputs.epochs[i]]
            counts[rows] += 1
        return sums / counts

    def _read(self, X: Any) -> EncoderInput:
        by_epoch = self.unit_ == "epoch"
        if by_epoch and isinstance(X, Mapping):
            X = EpochSequence([X])
        inputs = read_input(X)
        if inputs.unit != self.unit_:
            fix = "Wrap them: EpochSequence(X)." if by_epoch else "Pass EpochSequence.recordings."
            raise InvalidRecordingError(
                f"X holds {inputs.unit}s, but this network ({self.name}) has outputs of "
                f"{self.unit_}s. {fix}"
            )
        return inputs

    def _read_night(self, recording: Recording, location: str) -> NightArrays:
        needed = self.modalities_
        absent = [name for name in needed if name not in recording.modalities]
        if absent and (self.missing == "raise" or len(absent) == len(needed)):
            raise InvalidRecordingError(
                f"{location}: the night has {', '.join(recording.modalities)}, and no "
                f"{_as_channels(absent)}, which this network ({self.name}) reads. {self._fix}"
            )
        contents = {
            modality.name: Content.samples(modality.conditioning)
            for modality in self.encoder.config.modalities
            if modality.name in needed
        }
        night = inputs_of(recording, contents, location)
        flat = [name for name in needed if name not in night.valid and name not in absent]
        if flat and self.missing == "raise":
            raise InvalidRecordingError(
                f"{location}: no usable signal of {_as_channels(flat)}, flat or mostly without "
                f"samples, which this network ({self.name}) reads. {self._fix}"
            )
        return night

    @property
    def _fix(self) -> str:
        if len(self.modalities_) == 1:
            return "Leave the recording out."
        return (
            "Leave the recording out, or take what there is, which its authors' code never does: "
            "load_finetuned(..., missing='ignore')."
        )

    def _ask_subject(self, recording: Recording, location: str) -> Tensor | None:
        """Columns of age and sex [1, C], if the network reads them."""
        values: dict[str, list[float]] = {}
        for name in self.demographics.fields:
            read = read_age if name == "age" else read_sex
            values[name] = [read(recording.metadata.get(name), location)]
            if np.isnan(values[name][0]):
                raise InvalidRecordingError(
                    f"{location}: {name!r} is not known, and this network ({self.name}) reads it. "
                    f"Add it: Recording(..., metadata={{{name!r}: ...}})."
                )
        return self._stated(values, 1)

    def _stated(self, values: Mapping[str, Any], n: int) -> Tensor | None:
        """Columns of age and sex [n, C] from values by name."""
        fields = self.demographics.fields
        given = [name for name in ("age", "sex") if values.get(name) is not None]
        if tuple(given) != fields:
            raise ValueError(
                f"this network ({self.name}) reads {' and '.join(fields) or 'no age and no sex'}, "
                f"got {' and '.join(given) or 'none'}."
            )
        if not fields:
            return None
        age, sex = (
            _read_column(name, values.get(name) if name in fields else 0, n)
            for name in ("age", "sex")
        )
        if not ((sex == 0) | (sex == 1)).all():
            raise ValueError(f"sex must be 0 (female) or 1 (male), got {sex.tolist()}.")
        with inference():
            return self.demographics(age.float().to(self._device), sex.long().to(self._device))

    def _outputs_of_night(self, night: NightArrays, stated: Tensor | None) -> np.ndarray:
        """Outputs [n_epochs, O], or [1, O] of the night."""
        n_epochs, context = night.n_epochs, self.encoder.config.context_epochs
        length = min(n_epochs, context)
        windows = window_starts(n_epochs, context)[:, None] + np.arange(length)
        measured = np.zeros((n_epochs, len(self.modalities_)), dtype=bool)
        for i, name in enumerate(self.modalities_):
            measured[:, i] = night.valid.get(name, False)
        if self.unit_ == "night":
            # a window without any signal says nothing of the night
            windows = windows[measured[windows].any(axis=(1, 2))]
        self.eval()
        outputs = []
        with inference():
            for some in np.split(windows, range(_WINDOWS_AT_ONCE, len(windows), _WINDOWS_AT_ONCE)):
                inputs = {
                    name: torch.from_numpy(values[some]).to(self._device)
                    for name, (values,) in night.values.items()
                }
                present = torch.from_numpy(measured[some]).to(self._device)
                valid = torch.ones(some.shape, dtype=torch.bool, device=self._device)
                repeated = None if stated is None else stated.expand(len(some), -1)
                outputs.append(self(inputs, present, valid, repeated))
            rows = torch.cat(outputs).float()
            by_night = self.unit_ == "night"
            rows = rows.mean(dim=0)[None] if by_night else merge_windows(rows, n_epochs, context)
        return rows.cpu().numpy()

    @property
    def _device(self) -> torch.device:
        return self.encoder.input_projection.weight.device

    def _read_tokens(self, tokens: Any) -> tuple[dict[str, Tensor], bool]:
        """Samples [B, L, n] of each modality in order, and whether they were of one sequence."""
        if not isinstance(tokens, Mapping):
            tokens = dict.fromkeys(self.modalities_, tokens) if len(self.modalities_) == 1 else {}
        named: dict[Any, Any] = {}
        for key, values in tokens.items():
            name = modality_of(key) or key
            if name in named:
                raise ValueError(f"tokens of {name} are there twice, once as {key}; pass one.")
            named[name] = values
        if not set(named) >= set(self.modalities_):
            got = ", ".join(map(str, tokens)) or "none of them by name"
            raise ValueError(
                f"this network ({self.name}) reads {_as_channels(self.modalities_)}; tokens are of "
                f"{got}."
            )
        arrays = {name: _read_samples(name, named[name]) for name in self.modalities_}
        widths = {m.name: m.conditioning.width for m in self.encoder.config.modalities}
        first = next(iter(arrays.values())).shape[:-1]
        for name, array in arrays.items():
            if array.ndim not in (2, 3) or array.shape != (*first, widths[name]):
                raise ValueError(
                    f"tokens of {name} have shape {tuple(array.shape)}; accepted is (n_sequences, "
                    f"n_epochs, {widths[name]}), or one sequence, the same for all modalities."
                )
            if not array.isfinite().all():
                raise ValueError(f"tokens of {name} have NaN or infinite values.")
        longest = self.encoder.config.max_positions - self.encoder.config.cls
        if not 1 <= first[-1] <= longest:
            raise ValueError(
                f"tokens have {first[-1]} epochs; this network was made for 1 to {longest}."
            )
        alone = len(first) == 1
        return {n: a[None] if alone else a for n, a in arrays.items()}, alone


def _as_channels(names: Sequence[str]) -> str:
    """Modalities, each with the name that the authors have for it."""
    return ", ".join(f"{name} ({MODALITIES[name].upstream_key})" for name in names)


def _read_samples(name: str, values: Any) -> Tensor:
    """Tokens of a modality as float32, copied."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        # numpy has no bfloat16
        values = values.float() if values.is_floating_point() else values
    array = np.asarray(values)
    if array.dtype.kind not in "iuf":
        raise ValueError(f"tokens of {name} are of dtype {array.dtype}; accepted are real numbers.")
    return torch.from_numpy(np.array(array, dtype=np.float32))


def _read_length(length: Any, n: int, n_epochs: int) -> Tensor:
    """Which epochs [n, n_epochs] come before the padding."""
    epochs, mask = torch.arange(n_epochs), np.asarray(n_epochs if length is None else length)
    is_mask = mask.dtype == bool and mask.shape in ((n, n_epochs), (n_epochs,))
    counts = mask.reshape(n, n_epochs).sum(axis=1) if is_mask else mask
    lengths = _read_column("length", counts, n, "iu")
    valid = epochs < lengths[:, None]
    if not ((lengths >= 1) & (lengths <= n_epochs)).all() or (
        is_mask and not np.array_equal(valid.numpy(), mask.reshape(n, n_epochs))
    ):
        raise ValueError(
            f"length must be 1 to {n_epochs}, the epochs of tokens, or a mask of the first ones; "
            f"got {length!r}."
        )
    return valid


def _read_column(name: str, values: Any, n: int, kinds: str = "iuf") -> Tensor:
    """A number, or one for each of n sequences, as a tensor [n]."""
    column = np.asarray(values)
    if column.shape not in ((), (1,), (n,)) or column.dtype.kind not in kinds:
        what = "an integer" if kinds == "iu" else "a number"
        raise ValueError(f"{name} must be {what} for each of {n} sequences, got {values!r}.")
    if not np.isfinite(column).all():
        raise ValueError(f"{name} must be finite, got {values!r}.")
    return torch.from_numpy(np.broadcast_to(column, (n,)).copy())
