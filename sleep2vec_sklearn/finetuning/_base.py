# SPDX-License-Identifier: BSD-3-Clause
"""The base of the fine-tuning estimators.

A subclass overrides ``_encode_targets``, ``_n_outputs``, ``_criterion`` and ``_predict``, and, if
need be, ``_read``, ``_callbacks``, ``_net_class`` and ``_finish_fit``. Its ``__init__`` names the
parameters beyond the shared ones, and those with another default.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Sequence
from dataclasses import fields, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypedDict, TypeVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.validation import check_is_fitted

from .._nested import NestedDefaultsMixin
from .._torch import own_modes
from .._untrusted import only_errors
from .._validation import (
    BELOW_ONE,
    NON_NEGATIVE,
    POSITIVE,
    PRECISION,
    StrOptions,
    count,
    validate_params,
)
from .._warnings import warn
from ..encoding._base import CheckpointMixin, RecordingInputMixin
from ..encoding._leakage import RowsBySubject, guard
from ..encoding.cache import check_cache
from ..encoding.inputs import EncoderInput, read_input
from ..errors import CheckpointError, InvalidRecordingError, ModalityWarning
from ._labels import Targets, check_sample_weight, require_labels
from .config import AGGREGATIONS, HEADS, POOLINGS, FitSettings, FullFineTuning, LoRA

# torch takes seconds to import, so what needs it is imported where it is used
if TYPE_CHECKING:
    from sklearn.utils import Tags
    from skorch.callbacks import Callback
    from torch import nn

    from ..model.checkpoint import Checkpoint
    from ..model.encoder import Encoder
    from ._net import FineTuningNet
    from ._saving import SavedEstimator

_LARGEST_SEED = 2**31 - 1
_FIX_OF_FILES = "Accepted are files that the save() of an estimator wrote; get it again."
_SAVING = "save()", "Use joblib.dump(estimator, path), a pickle, in place of it."
# made anew from the others
_NOT_SAVED = {"net_", "history_"}
_PARAMETERS_NOT_SAVED = {"checkpoint", "random_state", "cache", "verbose", "device"}
# parameters of files of format 1, which had no objects for them
_RENAMED = {
    "lora_rank": "finetune__rank", "lora_alpha": "finetune__alpha", "encoder_lr": "finetune__lr",
    "gap": "rules__gap", "min_duration": "rules__min_duration",
}  # fmt: skip


class SharedParameters(TypedDict, total=False):
    """Keyword parameters of :class:`FineTuningEstimator`, with their types."""

    modalities: Sequence[str] | None
    finetune: str | LoRA | FullFineTuning
    head: str
    head_size: int | None
    aggregation: str
    layer_mix: bool
    dropout: float
    modality_dropout: float | tuple[float, float]
    covariates: Sequence[str] | None
    max_epochs: int
    batch_size: int | None
    lr: float
    weight_decay: float
    validation_fraction: float
    patience: int | None
    precision: str
    device: str
    cache: str | PathLike | None
    random_state: int | np.random.RandomState | None
    verbose: int | None


EstimatorClass = TypeVar("EstimatorClass", bound=type)
Fitted = TypeVar("Fitted", bound="FineTuningEstimator")


def with_shared_parameters(cls: EstimatorClass) -> EstimatorClass:
    """Complete signature and documentation by the parameters that ``**shared`` stands for."""
    init: Any = vars(cls)["__init__"]
    own = inspect.signature(init).parameters
    merged = {**inspect.signature(FineTuningEstimator.__init__).parameters, **own}
    parameters = [p for p in merged.values() if p.kind is not p.VAR_KEYWORD]
    init.__signature__ = inspect.Signature(parameters)
    if cls.__doc__ and FineTuningEstimator.__doc__:
        before, section, after = _split_parameters(cls.__doc__)
        entries = _split_parameters(FineTuningEstimator.__doc__)[1] | section
        texts = [_with_default(entries[p.name], p.default) for p in parameters[1:]]
        cls.__doc__ = f"{before}{''.join(texts)}{after}"
    return cls


def _split_parameters(doc: str) -> tuple[str, dict[str, str], str]:
    """What is before, in and after the section "Parameters", which is split by parameter."""
    doc = inspect.cleandoc(doc) + "\n"
    section = re.search(
        r"(?<=\nParameters\n----------\n).*?\n(?=\n\w+( \w+)?\n--|\Z)", doc, re.DOTALL
    )
    start, stop = section.span() if section else (len(doc), len(doc))
    entries = re.findall(r"^\w+ : .*\n(?:    .*\n|\n)*", doc[start:stop], re.MULTILINE)
    by_name = {entry.split(" :")[0]: entry for entry in entries}
    return doc[:start], by_name, doc[stop:]


def _with_default(entry: str, default: Any) -> str:
    first, _, rest = entry.partition("\n")
    documented = ", optional" in first or ", default=" in first
    text = repr(default).replace("'", '"')
    return entry if documented else f"{first}, default={text}\n{rest}"


class FineTuningEstimator(CheckpointMixin, NestedDefaultsMixin, RecordingInputMixin, BaseEstimator):
    """Base of the estimators that fine-tune an encoder.

    Parameters
    ----------
    checkpoint : str, path, Checkpoint or Encoder
        Name of a bundled encoder, a file written by :func:`save_checkpoint`, one of the authors'
        ``.ckpt`` files, an address of the hub (``"hf://owner/repository"``), a loaded one, or, with
        ``finetune="head"``, any other :class:`~sleep2vec_sklearn.model.Encoder`.
    modalities : sequence of str, optional
        Modalities to use; by default all that the checkpoint supports and a labelled night has.
    finetune : {"head", "lora", "full"}, LoRA or FullFineTuning
        What is trained: a head on tokens that are computed once; low-rank adapters in the encoder
        as well; or all weights. Rank and learning rate of the encoder are parameters of
        :class:`~sleep2vec_sklearn.finetuning.LoRA` and
        :class:`~sleep2vec_sklearn.finetuning.FullFineTuning`, such as ``finetune__rank``.
    head : {"auto", "linear", "mlp", "regression", "temporal_conv", "temporal_transformer"}
        The temporal ones see neighbouring epochs, and are for epochs only. "auto" is
        "temporal_conv" for epochs and "mlp" for nights.
    head_size : int, optional
        Hidden width of the head; that of a token by default.
    pooling : {"mean", "attention", "cls"}
        How the epochs of a night are combined; does not apply to epochs.
    time_of_night : bool
        For epochs: append the columns of :class:`TimeOfNight` to the features.
    aggregation : {"mean", "concat", "gated"}
        How the modalities of an epoch are combined: their mean; one block each, a missing one
        filled with the mean of the others; or a learned weight each, shared among those present.
    layer_mix : bool
        Whether the head learns a weight for each of the encoder's layers, by modality.
    dropout : float
        In the head.
    modality_dropout : float or (float, float)
        Chance, in training, that a night loses a modality, and that an epoch does; never the last
        one.
    covariates : sequence of str, optional
        Keys of ``Recording.metadata``, such as ``("age", "sex")``, that are appended to the
        features. A missing value counts as training's mean, and is marked in a column of its own.
    max_epochs : int
        Passes over the training rows.
    batch_size : int, optional
        Rows of nights, or, for epochs, nights or stretches of one, in a step. By default 4, or 16
        for a head on nights.
    lr : float
        Peak learning rate of the head.
    weight_decay : float
        Of AdamW, on matrices.
    validation_fraction : float
        Share of the *subjects* whose loss tells when to stop. If these are fewer than two, none is
        held out. Every class stays among those trained on.
    patience : int or None
        Stop after so many epochs without a lower loss, and restore the best weights. None trains
        on all subjects for ``max_epochs``.
    precision : {"float32", "bfloat16", "auto"}
        "auto" takes bfloat16 where the hardware is fast at it.
    device : str
        A torch device; "auto" takes a GPU if there is one.
    cache : "memory", path or None
        Where tokens, or prepared signals, are stored between fits; see
        :class:`Sleep2VecTransformer`.
    random_state : int, RandomState or None
        No global seed is touched.
    verbose : int or None
        1 shows progress bars, 0 none. By default only encoding shows one, in an interactive
        session, once it has taken a few seconds.
    """

    _nested_defaults: ClassVar[dict] = {"finetune": {"lora": LoRA, "full": FullFineTuning}}
    # what a file may hold of a fitted estimator
    _fitted_kinds: ClassVar[dict[str, Any]] = {
        "unit_": str, "device_": str, "precision_": str, "checkpoint_sha256_": str,
        "modalities_": tuple, "covariates_": object, "head_config_": object,
    }  # fmt: skip
    _parameter_constraints: ClassVar[dict] = {
        "finetune": [StrOptions({"head", "lora", "full"}), LoRA, FullFineTuning],
        "head": [StrOptions({"auto", *HEADS})], "head_size": [count(), None],
        "aggregation": [StrOptions(set(AGGREGATIONS))], "layer_mix": ["boolean"],
        "pooling": [StrOptions(set(POOLINGS))], "time_of_night": ["boolean"],
        "dropout": [BELOW_ONE], "modality_dropout": [BELOW_ONE, tuple, list],
        "covariates": [tuple, list, None], "max_epochs": [count()], "batch_size": [count(), None],
        "lr": [POSITIVE], "weight_decay": [NON_NEGATIVE], "validation_fraction": [BELOW_ONE],
        "patience": [count(), None], "precision": [PRECISION], "random_state": ["random_state"],
    }  # fmt: skip

    def __init__(
        self, checkpoint: str | PathLike | Checkpoint | Encoder = "sleep2vec-mini", *,
        modalities: Sequence[str] | None = None, finetune: str | LoRA | FullFineTuning = "head",
        head: str = "auto", head_size: int | None = None, aggregation: str = "concat",
        layer_mix: bool = False, dropout: float = 0.1,
        modality_dropout: float | tuple[float, float] = 0.1,
        covariates: Sequence[str] | None = None, max_epochs: int = 40,
        batch_size: int | None = None, lr: float = 1e-3, weight_decay: float = 1e-2,
        validation_fraction: float = 0.1, patience: int | None = 10, precision: str = "float32",
        device: str = "auto", cache: str | PathLike | None = "memory",
        random_state: int | np.random.RandomState | None = None, verbose: int | None = None,
    ):  # fmt: skip
        self.checkpoint = checkpoint
        self.modalities = modalities
        self.finetune = finetune
        self.head = head
        self.head_size = head_size
        self.aggregation = aggregation
        self.layer_mix = layer_mix
        self.dropout = dropout
        self.modality_dropout = modality_dropout
        self.covariates = covariates
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.precision = precision
        self.device = device
        self.cache = cache
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on the rows of X that have a label.

        Parameters
        ----------
        X : list of Recording or dict, list of lists of them, or EpochSequence
            Nights, subjects, or epochs. A night is read wholly in any case; only the epochs in X
            are learned from.
        y : array of shape (len(X),) or (len(X), n_outputs)
            What to learn. Rows, and cells of a row, without a label are left out.
        sample_weight : array of shape (len(X),), optional
            How much each row counts; one with 0 is left out.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is not one of those accepted, y does not fit X, or has nothing to learn.
        InvalidRecordingError, ReadError
            If X is not such a list, or a recording cannot be encoded.
        CheckpointError
            If the checkpoint cannot be loaded or lacks what the parameters ask for.
        TrainingError
            If a loss is not finite.
        """
        self._check_parameters()
        return self._fit(self._read(X), y, sample_weight)

    def _check_parameters(self) -> None:
        validate_params(self)
        if not isinstance(self.finetune, str):
            validate_params(self.finetune)
        _as_pair(self.modality_dropout)
        if self.covariates is not None and not (
            self.covariates and all(isinstance(name, str) for name in self.covariates)
        ):
            raise ValueError(
                "covariates must be a list of keys of Recording.metadata, such as ('age', 'sex'), "
                f"or None; got {self.covariates!r}."
            )
        check_cache(self.cache)

    @own_modes()
    def _fit(self, inputs: EncoderInput, y: Any, sample_weight: Any) -> Self:
        from .._torch import resolve_device, resolve_precision
        from ._net import fine_tune

        weights = check_sample_weight(sample_weight, inputs.n_rows)
        checkpoint = self._load_checkpoint()
        counted = weights > 0
        # a y of another length is refused where targets are encoded
        if not counted.all() and hasattr(y, "__len__") and len(y) == inputs.n_rows:
            inputs, weights = inputs.take(counted), weights[counted]
            y = _safe_indexing(y, np.flatnonzero(counted))
        self.unit_ = inputs.unit
        self.device_ = resolve_device(self.device)
        self.precision_ = resolve_precision(self.precision, self.device_)
        self.checkpoint_sha256_ = checkpoint.sha256
        targets = self._encode_targets(inputs, y)
        targets = replace(targets, weights=targets.weights * weights)
        require_labels(targets.labelled, inputs.unit, " with a weight above 0. Give at least some.")
        self.net_, self.modalities_, self.covariates_, self.head_config_, held_out = fine_tune(
            self._settings(self.device_), inputs, targets, checkpoint, self._criterion(),
            self._n_outputs(), int(check_random_state(self.random_state).randint(_LARGEST_SEED)),
            self._net_class(), self._callbacks(),
        )  # fmt: skip
        self.history_ = self.net_.history
        self._rows_at_fit = RowsBySubject.of_input(inputs)
        self._finish_fit(inputs, targets, held_out)
        return self

    def _settings(self, device: str) -> FitSettings:
        by_night = self.unit_ == "night"
        finetune = self._expand("finetune", self.finetune)
        resolved = {
            "unit": self.unit_,
            "finetune": None if finetune == "head" else finetune,
            "modality_dropout": _as_pair(self.modality_dropout),
            "precision": self.precision_,
            "device": device,
        }
        if self.head == "auto":
            resolved["head"] = "mlp" if by_night else "temporal_conv"
        if self.batch_size is None:
            resolved["batch_size"] = 16 if by_night and finetune == "head" else 4
        parameters = self.get_params(deep=False) | resolved
        return FitSettings(
            **{f.name: parameters[f.name] for f in fields(FitSettings) if f.name in parameters}
        )

    def predict(self, X: Any) -> np.ndarray:
        """Predict for each element of X.

        Parameters
        ----------
        X : list of Recording or dict, list of lists of them, or EpochSequence
            As at fit. Nights may lack modalities; others than at fit are ignored with a warning.

        Returns
        -------
        ndarray of shape (len(X),) or (len(X), n_outputs)

        Raises
        ------
        NotFittedError
            Before :meth:`fit`.
        InvalidRecordingError, ReadError
            If a recording cannot be encoded.
        """
        return self._predict(self._outputs(X))

    @own_modes()
    def save(self, path: str | PathLike) -> None:
        """Write the fitted estimator, its encoder included, to one safetensors file.

        Parameters
        ----------
        path : path-like
            The file is replaced in one step. Nothing of it is a pickle. Parameters are saved but
            for ``device``, ``cache``, ``random_state`` and ``verbose``.

        Raises
        ------
        NotFittedError
            Before :meth:`fit`.
        CheckpointError
            If there is no such folder, or a parameter is no text, number, list or dict.

        Examples
        --------
        >>> import tempfile
        >>> from sleep2vec_sklearn import Sleep2VecClassifier, make_sleep_cohort
        >>> nights = make_sleep_cohort(2, hours=0.25, modalities=["ibi"], random_state=0)
        >>> model = Sleep2VecClassifier(max_epochs=1, random_state=0).fit(nights, ["a", "b"])
        >>> path = f"{tempfile.mkdtemp()}/model.safetensors"
        >>> model.save(path)
        >>> (Sleep2VecClassifier.load(path).predict(nights) == model.predict(nights)).all()
        np.True_
        """
        from ..model.checkpoint import require_sleep2vec
        from ._saving import SavedEstimator, write_estimator

        check_is_fitted(self, "net_")
        parameters = {k: v for k, v in self.get_params().items() if k not in _PARAMETERS_NOT_SAVED}
        for name, classes in self._nested_defaults.items():
            # an object as the word that it can be written as, its own parameters follow
            words = {cls: word for word, cls in classes.items()}
            parameters[name] = words.get(type(parameters[name]), parameters[name])
        fitted = {k: v for k, v in vars(self).items() if k.endswith("_") and k not in _NOT_SAVED}
        saved = SavedEstimator(
            f"{type(self).__module__}:{type(self).__qualname__}", parameters, fitted,
            list(self.history_), require_sleep2vec(self._load_fitted_checkpoint(), *_SAVING),
            self.net_.module_.state_dict(),
        )  # fmt: skip
        write_estimator(Path(path), saved)

    @classmethod
    def load(cls, path: str | PathLike) -> Self:
        """Read a file written by :meth:`save`.

        Parameters
        ----------
        path : path-like

        Returns
        -------
        FineTuningEstimator
            Of this class, fitted; it predicts what the saved one did.

        Raises
        ------
        CheckpointError
            If the file is damaged, foreign, of another class, or made by a newer version.
        """
        from ._saving import read_estimator

        path = Path(path)
        with only_errors(CheckpointError, path, _FIX_OF_FILES), own_modes():
            saved = read_estimator(path)
            return _find_class(saved.class_name, cls, path)._restore(saved)

    @classmethod
    def _restore(cls, saved: SavedEstimator) -> Self:
        from skorch.history import History

        from .._torch import resolve_device
        from ..model.checkpoint import BUNDLED
        from ._net import build_module, make_net
        from ._saving import check_fitted, check_module

        parameters = {_RENAMED.get(name, name): value for name, value in saved.parameters.items()}
        flat = {name: value for name, value in parameters.items() if "__" not in name}
        nested = {
            f"{name}__{key}"
            for name, classes in cls._nested_defaults.items()
            for kind in classes.values()
            for key in kind().get_params()
        }
        accepted = {*inspect.signature(cls).parameters} - _PARAMETERS_NOT_SAVED | nested
        if unknown := {*parameters} - accepted:
            raise ValueError(f"unknown parameters {', '.join(sorted(unknown))}")
        checkpoint = saved.checkpoint
        bundled = BUNDLED.get(checkpoint.name) == checkpoint.sha256
        estimator = cls(checkpoint=checkpoint.name if bundled else checkpoint, **flat)
        # a rank without adapters, as format 1 has it, is in no default
        for name, default in estimator.get_params().items():
            if "__" in name and parameters.get(name, default) != default:
                estimator.set_params(**{name: parameters[name]})
        estimator._check_parameters()
        kinds = {k: v for c in cls.__mro__ for k, v in vars(c).get("_fitted_kinds", {}).items()}
        own = cls.__module__.split(".")[0] == __name__.split(".")[0]
        for name, value in saved.fitted.items():
            # of a class of the user's, what it has beyond ours is not known
            is_known = name in kinds or (not own and name.endswith("_") and name[0] != "_")
            if not is_known or hasattr(cls, name):
                raise ValueError(f"{name!r} is no fitted attribute")
            setattr(estimator, name, value)
        estimator.checkpoint_sha256_ = checkpoint.sha256
        estimator.device_ = resolve_device("auto")
        check_fitted(estimator, kinds, checkpoint)
        settings = estimator._settings(estimator.device_)
        check_module(saved.module, estimator.head_config_, settings.finetune)
        module = build_module(settings, estimator.head_config_, checkpoint)
        module.load_state_dict(saved.module)
        net = make_net(settings, module, estimator._criterion(), cls._net_class()).initialize()
        net._set_training(False)
        net.history = History(saved.history)
        estimator.net_, estimator.history_ = net, net.history
        return estimator

    def _read(self, X: Any) -> EncoderInput:
        """X in one form."""
        if getattr(X, "ndim", 1) == 2 and getattr(X, "shape", (0, 0))[1] != 1:
            got = f"{type(X).__module__}.{type(X).__name__}"
            raise InvalidRecordingError(
                f"X is a {got} of shape {X.shape}; accepted are recordings, as this estimator "
                "has an encoder of its own. Leave Sleep2VecTransformer out of the pipeline before "
                "it, or put LogisticRegression() or the like after the transformer."
            )
        return read_input(X)

    def _encode_targets(self, inputs: EncoderInput, y: Any) -> Targets:
        """Targets, one entry per row of X; may set fitted attributes."""
        raise NotImplementedError

    def _n_outputs(self) -> int:
        """Numbers that the head predicts for a row, asked after encoding the targets."""
        raise NotImplementedError

    def _criterion(self) -> nn.Module:
        """Module of outputs [R, O], and targets and weights [R] of these rows, to a scalar."""
        raise NotImplementedError

    def _callbacks(self) -> list[Callback]:
        """Callbacks of skorch, in addition to those that schedule, clip and stop."""
        return []

    @classmethod
    def _net_class(cls) -> type[FineTuningNet]:
        from ._net import FineTuningNet

        return FineTuningNet

    def _predict(self, outputs: np.ndarray) -> np.ndarray:
        """What ``predict`` returns, from outputs [n_rows, O]."""
        raise NotImplementedError

    def _try_outputs(self, outputs: np.ndarray) -> None:
        """Do what predictions do with outputs [n_rows, O], of an estimator that was read."""
        self._predict(outputs)

    def _finish_fit(self, inputs: EncoderInput, targets: Targets, held_out: tuple) -> None:
        """Fit what follows from the outputs; ``held_out`` are positions of recordings."""

    def _outputs(self, X: Any) -> np.ndarray:
        """Outputs of X, float32 of shape (len(X), n_outputs), after the checks of a prediction."""
        check_is_fitted(self, "net_")
        inputs = self._read(X)
        self._check_unit(inputs)
        guard(getattr(self, "_rows_at_fit", None), lambda: RowsBySubject.of_input(inputs))
        return self._forward(inputs)

    @own_modes()
    def _forward(self, inputs: EncoderInput) -> np.ndarray:
        from .._torch import resolve_device
        from ._net import predict_outputs

        checkpoint = self._load_fitted_checkpoint()
        if self.modalities is None:
            _warn_of_unlearned(inputs, checkpoint, self.modalities_)
        # a pickle may come from a machine with another device
        device = resolve_device(self.device if self.device == "auto" else self.device_)
        settings = self._settings(device)
        return predict_outputs(self.net_, settings, checkpoint, self.covariates_, inputs)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


def _as_pair(modality_dropout: Any) -> tuple[float, float]:
    """Chances that a night, and that an epoch, loses a modality in training."""
    paired = isinstance(modality_dropout, tuple | list)
    pair = modality_dropout if paired else (modality_dropout, modality_dropout)
    if len(pair) != 2 or not all(BELOW_ONE.is_satisfied_by(rate) for rate in pair):
        raise ValueError(
            "modality_dropout must be at least 0 and below 1, or a pair of such numbers, for "
            f"nights and for epochs; got {modality_dropout!r}."
        )
    return float(pair[0]), float(pair[1])


def _find_class(name: str, wanted: type[Fitted], path: Path) -> type[Fitted]:
    module, _, qualname = name.partition(":")
    package = __name__.split(".")[0]
    estimator_class = None
    if module.split(".")[0] == package:
        # by its public name, as modules may move
        estimator_class = getattr(importlib.import_module(package), qualname, None)
    elif name == f"{wanted.__module__}:{wanted.__qualname__}":
        estimator_class = wanted
    if not (isinstance(estimator_class, type) and issubclass(estimator_class, wanted)):
        raise CheckpointError(
            f"{path}: holds a {qualname}, not a {wanted.__name__}. Load it with {qualname}.load()."
        )
    return estimator_class


def _warn_of_unlearned(
    inputs: EncoderInput, checkpoint: Checkpoint | Encoder, learned: tuple[str, ...]
) -> None:
    """Warn of modalities that no night had in training."""
    from ..encoding._sleep2vec import as_encoder

    groups = as_encoder(checkpoint, states_only=True).groups
    supported = [name for group in groups.values() for name in group]
    read = {name for group in learned for name in groups[group]}
    recorded = {name for r in inputs.recordings for name in r.modalities if name not in r.derived}
    unlearned = [name for name in supported if name in recorded and name not in read]
    if unlearned:
        warn(
            f"{', '.join(unlearned)}: no night had it in training, so it is ignored; this "
            f"estimator reads {', '.join(learned)}. Fit again with such nights to use it.",
            ModalityWarning,
        )
