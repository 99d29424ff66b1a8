# SPDX-License-Identifier: BSD-3-Clause
"""The estimator that pretrains an encoder."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted
from skorch.history import History

from .._files import list_differences
from .._nested import NestedDefaultsMixin
from .._torch import own_modes, resolve_device, resolve_precision
from .._validation import BELOW_ONE, PRECISION, Number, StrOptions, count, validate_params
from .._warnings import warn
from ..errors import TrainingError, TrainingWarning
from ..model.checkpoint import (
    Checkpoint,
    as_checkpoint,
    load_checkpoint,
    require_sleep2vec,
    save_checkpoint,
)
from ..model.config import EncoderConfig
from ..nightstore.store import NightStore
from ._data import TrainingData, collect_data, list_candidates, open_folder, open_for, open_store
from ._distributed import (
    broadcast_module,
    broadcast_value,
    convert_batchnorm,
    from_rank_zero,
    rank,
    world_size,
)
from ._module import (
    EncoderSource,
    PretrainingLoss,
    PretrainingModule,
    check_pairs,
    check_scales,
    column_statistics,
    standardise_tokenizers,
)
from ._net import PretrainingNet, StateSaver, StepProgress, TrainingSteps
from ._sampling import PairSampler, resolve_pair_weights
from ._state import RunFolder
from ._validation import HeldOutBatches, HeldOutWindows, Retrieval, measure_retrieval
from .config import AdamW, Augmentation, DashObjective, EncoderSpec, InfoNCEObjective

_LARGEST_SEED = 2**63 - 1
_SEED = Number(Integral, 0, _LARGEST_SEED, closed="both")
_PAIRS_NAMED = 3
# a run may be resumed with other values of these
_NO_PART_OF_A_RUN = {
    "device", "n_workers", "verbose", "callbacks", "state_dir", "save_every", "warm_start",
}  # fmt: skip
# described elsewhere, or by their parameters
_DESCRIBED_APART = {"encoder", "random_state", "augmentation", "optimizer"}


class Sleep2VecPretrainer(NestedDefaultsMixin, BaseEstimator):
    """Pretrain an encoder on nights without labels, whatever sensors each of them has.

    The objective of sleep2vec (arXiv 2602.13857): an epoch seen by one modality should be closest
    to itself among epochs seen by another. A batch holds windows of the nights that have both
    modalities of one pair, and follows from ``random_state`` and its number alone.

    Parameters
    ----------
    modalities : sequence of str, optional
        What the encoder reads; by default all that two nights have together with another modality.
    encoder : EncoderSpec, EncoderConfig, Checkpoint, str or path, optional
        Sizes of an encoder to be built, :class:`EncoderSpec` with its defaults if None; a whole
        architecture; or an encoder to go on with.
    dropout : float, default=0.0
        In the encoder, and in tokenizers to be built.
    projection_size : int, default=64
        Width of the space of the objective, if the encoder has no projection head yet.
    context_epochs : int, default=120
        Length of a window, in epochs of 30 s.
    objective : {"dash", "info_nce"}, DashObjective or InfoNCEObjective, optional
        :class:`DashObjective` with its defaults if None.
    augmentation : Augmentation, optional
    pair_weights : mapping of (str, str) to float, list of (float, mapping), or callable, optional
        How often pairs come, those not named never; all alike by default. Nights of one
        modality, which take part if the objective reconstructs, are the pair of it with itself:
        ``("ibi", "ibi")``. A list gives stages,
        each with the share of the run at which it ends. A callable, such as
        :class:`PairSchedule`, makes either from the list of pairs there are.
    optimizer : AdamW, optional
    max_epochs : int, default=20
        Epochs of the run and of its schedule.
    steps_per_epoch : int, optional
        By default as many as it takes to draw as many windows as the nights hold.
    batch_size : int, default=48
        Windows that are each other's negatives, over all processes.
    accumulate : int, default=1
        Batches whose gradients make one step.
    precision : {"float32", "bfloat16", "auto"}, default="auto"
        "auto" takes bfloat16 where the hardware is fast at it.
    validation : float, int, sequence of str or None, default=0.1
        Subjects held out: a share, a number, or their names.
    patience : int, optional
        Stop after so many epochs without a lower validation loss, and keep the best average.
    device : str, default="auto"
        A torch device; "auto" takes a GPU if there is one.
    n_workers : int, default=0
        Threads that draw batches ahead of the network; never changes a result.
    random_state : int, RandomState or None, default=None
        No global seed is touched.
    warm_start : bool, default=False
        Whether ``fit`` goes on with the network of the last fit, with a new schedule.
    state_dir : path, optional
        Folder of the run's state: killed at any moment, the same ``fit`` resumes from there, on a
        CPU to the same bits. A finished run is loaded.
    save_every : int, default=100
        Steps between states; one follows every epoch too.
    callbacks : list of skorch callbacks, optional
        Such as EarlyStopping, Checkpoint or an LRScheduler, which takes the place of the schedule
        of ``optimizer``. Their batch is one step, with ``pair`` and ``parts``; their own state is
        not kept over an interruption.
    verbose : int, default=0
        From 1 on, progress bars: over the nights that are conditioned, and over the steps.

    Attributes
    ----------
    net_ : PretrainingNet
        The skorch net.
    history_ : skorch.history.History
        Of every step its losses, pair, learning rate, norm of the gradient, and seconds; of every
        epoch their means, and loss and retrieval of held-out subjects, as ``"valid_recall"``.
    encoder_config_ : EncoderConfig
    modalities_, pairs_ : tuple
        That were trained.
    seed_ : int
    device_, precision_ : str
        As resolved at fit.

    Notes
    -----
    Parameters of nested objects can be set while they are None: a grid search may go over
    ``objective__temperature``. Under :func:`torch.distributed`, all processes call ``fit`` with
    the same nights and share each batch.

    Examples
    --------
    >>> from sleep2vec_sklearn import Sleep2VecPretrainer, Sleep2VecTransformer, make_sleep_cohort
    >>> from sleep2vec_sklearn.pretraining import EncoderSpec
    >>> nights = make_sleep_cohort(4, hours=1, modalities=["ibi", "spo2"], random_state=0)
    >>> small = {"encoder": EncoderSpec(hidden_size=16, n_layers=1), "context_epochs": 20}
    >>> pretrainer = Sleep2VecPretrainer(**small, batch_size=2, max_epochs=2)
    >>> checkpoint = pretrainer.fit(nights).checkpoint()
    >>> Sleep2VecTransformer(checkpoint).fit_transform(nights).shape
    (4, 16)
    """

    _nested_defaults: ClassVar[Mapping] = {
        "encoder": {None: EncoderSpec},
        "objective": {None: DashObjective, "dash": DashObjective, "info_nce": InfoNCEObjective},
        "augmentation": {None: Augmentation},
        "optimizer": {None: AdamW},
    }
    _parameter_constraints: ClassVar[dict] = {
        "modalities": [str, "array-like", None],
        "encoder": [EncoderSpec, EncoderConfig, Checkpoint, str, os.PathLike, None],
        "dropout": [BELOW_ONE], "projection_size": [count()], "context_epochs": [count(2)],
        "objective": [StrOptions({"dash", "info_nce"}), DashObjective, InfoNCEObjective, None],
        "augmentation": [Augmentation, None], "optimizer": [AdamW, None], "max_epochs": [count()],
        "steps_per_epoch": [count(), None], "batch_size": [count(2)], "accumulate": [count()],
        "precision": [PRECISION], "validation": [BELOW_ONE, count(), "array-like", None],
        "patience": [count(), None], "n_workers": [count(0)],
        "random_state": [_SEED, np.random.RandomState, None], "warm_start": ["boolean"],
        "state_dir": [str, os.PathLike, None], "save_every": [count()],
        "callbacks": [list, tuple, None], "verbose": ["verbose"],
    }  # fmt: skip

    def __init__(
        self, modalities: Sequence[str] | str | None = None, *,
        encoder: EncoderSpec | EncoderConfig | Checkpoint | str | os.PathLike | None = None,
        dropout: float = 0.0, projection_size: int = 64, context_epochs: int = 120,
        objective: DashObjective | InfoNCEObjective | str | None = None,
        augmentation: Augmentation | None = None, pair_weights: Any = None,
        optimizer: AdamW | None = None, max_epochs: int = 20, steps_per_epoch: int | None = None,
        batch_size: int = 48, accumulate: int = 1, precision: str = "auto",
        validation: float | int | Sequence[str] | None = 0.1, patience: int | None = None,
        device: str = "auto", n_workers: int = 0,
        random_state: int | np.random.RandomState | None = None, warm_start: bool = False,
        state_dir: str | os.PathLike | None = None, save_every: int = 100,
        callbacks: list | None = None, verbose: int = 0,
    ):  # fmt: skip
        self.modalities = modalities
        self.encoder = encoder
        self.dropout = dropout
        self.projection_size = projection_size
        self.context_epochs = context_epochs
        self.objective = objective
        self.augmentation = augmentation
        self.pair_weights = pair_weights
        self.optimizer = optimizer
        self.max_epochs = max_epochs
        self.steps_per_epoch = steps_per_epoch
        self.batch_size = batch_size
        self.accumulate = accumulate
        self.precision = precision
        self.validation = validation
        self.patience = patience
        self.device = device
        self.n_workers = n_workers
        self.random_state = random_state
        self.warm_start = warm_start
        self.state_dir = state_dir
        self.save_every = save_every
        self.callbacks = callbacks
        self.verbose = verbose

    def fit(
        self, X: Any, metadata: pd.DataFrame | None = None, sample_weight: Any = None,
        targets: Sequence[np.ndarray] | None = None,
    ) -> Self:  # fmt: skip
        """Train an encoder.

        Parameters
        ----------
        X : list of Recording or dict, NightStore, or path of a store's folder
            Nights.
        metadata : DataFrame, optional
            Columns age, sex, site and subject, with the recordings' ids as index. What it has no
            column for is taken from the recordings, or from the store.
        sample_weight : array of shape [len(X)], optional
            Relative chances of nights to be drawn for a pair they have; 0 leaves one out.
        targets : list of array of shape [n_epochs, n_classes], optional
            Of each night, probabilities to be distilled into the encoder, such as those that
            another model gives the stages of its epochs; NaN where there are none. They count by
            the objective's ``distillation_weight``.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is not one of those accepted.
        InvalidRecordingError
            If X is something else, has less than two modalities in all, or metadata do not match.
        TrainingError
            If no pair of modalities is in two recordings, ``state_dir`` cannot be written or holds
            another run, or a loss is not finite; the network is that before the step then.
        """
        self.check_params()
        net = getattr(self, "net_", None) if self.warm_start else None
        return self._fit(X, metadata, sample_weight, targets, net, None)

    def partial_fit(
        self, X: Any, metadata: pd.DataFrame | None = None, sample_weight: Any = None,
        targets: Sequence[np.ndarray] | None = None,
    ) -> Self:  # fmt: skip
        """Train for one more epoch of the schedule that ``max_epochs`` gives.

        As many calls as ``max_epochs`` do what ``fit`` does; further ones go on at the lowest
        rate. Nights may change from call to call. No state is kept in ``state_dir``.
        """
        self.check_params()
        return self._fit(X, metadata, sample_weight, targets, getattr(self, "net_", None), 1)

    def prepare(self, X: Any, metadata: pd.DataFrame | None = None) -> NightStore:
        """Condition nights as the encoder will read them, once for several fits.

        X and metadata are as for :meth:`fit`; a store is returned as it is. To disk they are
        written by :func:`prepare_cohort`.
        """
        self.check_params()
        source = self._encoder_source()
        X = open_folder(X)
        names = list_candidates(X, self.modalities, source.base)
        return open_store(X, metadata, names, source, self._verbose())[0]

    def check_params(self) -> None:
        """Raise ValueError if a parameter, also of a nested object, is not accepted."""
        validate_params(self)
        for name in self._nested_defaults:
            nested = self._nested(name)
            if isinstance(nested, BaseEstimator):
                validate_params(nested)
        max_shift = self._nested("augmentation").max_shift
        if max_shift >= self.context_epochs:
            raise ValueError(
                f"max_shift={max_shift} leaves two windows of {self.context_epochs} epochs nothing "
                "in common; accepted is less than context_epochs."
            )
        for callback in self.callbacks or ():
            named = isinstance(callback, tuple) and len(callback) == 2
            instance = callback[1] if named else callback
            if not hasattr(instance, "on_train_begin"):
                raise ValueError(f"callbacks must be skorch callbacks, got {callback!r}.")
        if self.state_dir is not None and not os.fspath(self.state_dir):
            raise ValueError("state_dir is empty; set it to a folder, '.' for this one.")
        n_held_out = self.validation if np.isscalar(self.validation) else self._count_named()
        if self.patience is not None and not n_held_out:
            raise ValueError("patience needs held-out subjects; pass validation=0.1, for example.")

    def _count_named(self) -> int:
        """Held-out subjects that are given by their names."""
        named: Any = self.validation
        return 0 if named is None or np.isscalar(named) else len(named)

    def _nested(self, name: str) -> Any:
        return self._expand(name, getattr(self, name))

    def _verbose(self) -> int:
        return int(self.verbose) if rank() == 0 else 0

    def _encoder_source(self, net: PretrainingNet | None = None) -> EncoderSource:
        encoder = self._nested("encoder")
        if not isinstance(encoder, EncoderSpec | EncoderConfig):
            encoder = require_sleep2vec(as_checkpoint(encoder), "pretraining")
        # a grid search may set numbers of numpy, which JSON does not know
        return EncoderSource(
            encoder, float(self.dropout), int(self.projection_size), int(self.context_epochs),
            continued=None if net is None else net.module_.network.config,
        )  # fmt: skip

    @own_modes()
    def _fit(
        self, X: Any, metadata: pd.DataFrame | None, sample_weight: Any, targets: Any,
        earlier: PretrainingNet | None, n_epochs: int | None,
    ) -> Self:  # fmt: skip
        """Train to the end of the schedule, or for some epochs of it."""
        objective = self._nested("objective")
        if (targets is None) == bool(objective.distillation_weight):
            raise ValueError(
                f"distillation_weight={objective.distillation_weight:g} of the objective "
                f"{'without' if targets is None else 'with'} targets; set both or none."
            )
        with contextlib.ExitStack() as run:
            folder = state = None
            if self.state_dir is not None and n_epochs is None:
                folder = RunFolder(self.state_dir)
                # another machine may see the folder as it was, or not at all
                state = from_rank_zero(partial(folder.acquire, self.max_epochs, run))
            seed = self._choose_seed(earlier, state)
            source = self._encoder_source(earlier)
            data = collect_data(
                X, metadata, sample_weight, source=source, modalities=self.modalities,
                pair_weights=self.pair_weights, validation=self.validation, seed=seed,
                verbose=self._verbose(), targets=targets,
                alone=objective.reconstruction_weight > 0,
            )  # fmt: skip
            steps = self._make_steps(data, seed)
            callbacks = [*(self.callbacks or []), *([StepProgress()] if self._verbose() else [])]
            if folder is not None:
                begins_at = 0 if earlier is None else earlier.step_
                identity = self._identify_run(data, source, seed, begins_at)
                # the last, so that a step counts as saved only if all callbacks had it
                save = partial(folder.keep, identity=identity)
                callbacks.append(StateSaver(save, self.save_every))
            net = self._make_net(data, source, seed, earlier, callbacks)
            if earlier is not None and n_epochs is None:
                net.begin_schedule()
            if folder is not None and state is not None:
                folder.restore(net, state, identity)
            self.seed_ = seed
            self.net_ = net
            self.encoder_config_ = data.config
            self.modalities_ = data.modalities
            self.pairs_ = tuple(data.pools)
            self.device_, self.precision_ = net.device, net.precision
            self._data_summary = data.summarise()
            _train(net, steps, n_epochs)
        return self

    def _choose_seed(self, earlier: PretrainingNet | None, state: Mapping | None) -> int:
        if isinstance(self.random_state, Integral):
            return int(self.random_state)
        if earlier is not None:
            return self.seed_
        if state is not None and "seed" in state:
            return int(state["seed"])
        if self.random_state is None:
            drawn = int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
        else:
            random = check_random_state(self.random_state)
            drawn = int(random.randint(_LARGEST_SEED, dtype=np.int64))
        return int(broadcast_value(drawn % _LARGEST_SEED))

    def _make_steps(self, data: TrainingData, seed: int) -> TrainingSteps:
        objective = self._nested("objective")
        sampler = PairSampler(
            data.store, data.pools, self.context_epochs, self.batch_size, seed,
            augmentation=self._nested("augmentation"),
            probabilities=resolve_pair_weights(list(data.pools), self.pair_weights),
            night_weights=data.night_weights, targets=data.targets,
            weigh=lambda nights: objective.weigh(data.demography.take(nights)), rank=rank(),
            world=world_size(),
        )  # fmt: skip
        _check_sizes(sampler, self.batch_size)
        n_windows = np.ceil(sampler.n_epochs / self.context_epochs).sum()
        per_epoch = int(n_windows // (self.batch_size * self.accumulate))
        held_out = None
        if len(data.held_out):
            windows = HeldOutWindows.spread(data.held_out, self.context_epochs)
            held_out = HeldOutBatches(
                windows, data.modalities, data.held_out_demography, self.batch_size
            )
        n_steps = self.steps_per_epoch or max(per_epoch, 1)
        return TrainingSteps(sampler.draw, n_steps, self.max_epochs, held_out)

    def _make_net(
        self, data: TrainingData, source: EncoderSource, seed: int, earlier: PretrainingNet | None,
        callbacks: list,
    ) -> PretrainingNet:  # fmt: skip
        objective, augmentation = clone(self._nested("objective")), self._nested("augmentation")
        optimizer = self._nested("optimizer").get_params()
        optimizer["lr_scales"] = check_scales(optimizer["lr_scales"], data.config)
        check_pairs(list(data.pools), optimizer["lr_scales"])
        statistics = column_statistics(data.store, data.modalities)
        if earlier is None:
            network = source.build_network(data.config, seed)
            standardise_tokenizers(network, data.store, optimizer["lr_scales"], statistics)
        else:
            network = earlier.module_.network
            _check_same(network.config, data.config)
        disturbances = {"noise": augmentation.noise, "offset": augmentation.offset}
        reconstruct = objective.reconstruction_weight > 0
        n_targets = 0 if data.targets is None else data.targets[0].shape[1]
        module: Any = PretrainingModule(
            network, data.store.contents, statistics, reconstruct, seed=seed, n_targets=n_targets,
            **disturbances,
        )  # fmt: skip
        device = resolve_device(self.device)
        module = convert_batchnorm(module).to(device)
        broadcast_module(module)
        net = PretrainingNet(
            module,
            PretrainingLoss(objective),
            **optimizer,
            seed=seed,
            accumulate=self.accumulate,
            precision=resolve_precision(self.precision, device),
            n_workers=self.n_workers,
            patience=self.patience,
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            device=device,
            callbacks=callbacks,
        ).initialize()
        if earlier is not None:
            net.continue_from(earlier)
        return net

    def _identify_run(
        self, data: TrainingData, source: EncoderSource, seed: int, begins_at_step: int
    ) -> dict[str, Any]:
        """What must be the same for a run to be resumed, as JSON gives it back."""
        identity = {
            "parameters": self._describe_parameters(), "seed": seed, "init": source.identify(),
            "encoder": data.config.to_dict(), "data": data.identify(),
            "begins_at_step": begins_at_step,
        }  # fmt: skip
        return json.loads(json.dumps(identity))

    def _describe_parameters(self) -> dict[str, str]:
        """The parameters that a run depends on, as text."""
        values = self.get_params(deep=True)
        values["objective"] = type(self._nested("objective")).__name__
        names = sorted(set(values) - _NO_PART_OF_A_RUN - _DESCRIBED_APART)
        return {name: _describe_value(values[name]) for name in names}

    @property
    def history_(self) -> History:
        """What skorch recorded, epoch by epoch."""
        check_is_fitted(self, "net_")
        return self.net_.history

    def score(self, X: Any, y: Any = None) -> float:
        """Mean recall of :meth:`retrieval` over pairs of modalities; higher is better."""
        return float(np.mean([result.recall for result in self.retrieval(X).values()]))

    @own_modes()
    def retrieval(self, X: Any) -> dict[tuple[str, str], Retrieval]:
        """Cross-modal retrieval on nights that did not train.

        Parameters
        ----------
        X
            As for :meth:`fit`; InvalidRecordingError if no night has two of the modalities.

        Returns
        -------
        dict of (str, str) to Retrieval
            Of each pair of modalities: recall, median rank, and what chance gives.
        """
        check_is_fitted(self, "net_")
        store = open_for(self.encoder_config_, X)
        return measure_retrieval(self.net_.averaged(), store, self.batch_size)

    def checkpoint(self) -> Checkpoint:
        """The averaged encoder, as :class:`Sleep2VecTransformer` and ``encoder`` take it."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pretrained.safetensors"
            self.save(path)
            return load_checkpoint(path)

    @own_modes()
    def save(
        self, path: str | os.PathLike, card: Mapping | None = None, dtype: str = "float32"
    ) -> str:
        """Write the averaged encoder to a file or folder, with a card of what it learned from.

        Parameters and result are those of :func:`save_checkpoint`; ``card`` adds to the model card.
        """
        check_is_fitted(self, "net_")
        whole_card = {**self._make_card(), **(card or {})}
        network = self.net_.averaged()
        return save_checkpoint(path, network, self.encoder_config_, card=whole_card, dtype=dtype)

    def _make_card(self) -> dict[str, Any]:
        net = self.net_
        parameters = self._describe_parameters()
        if self._count_named():
            # names of subjects are not for everybody who gets the file
            parameters["validation"] = f"{self._count_named()} subjects by name"
        last = {k: v for k, v in (net.history or [{}])[-1].items() if not isinstance(v, bool)}
        return {
            "made_by": "sleep2vec_sklearn.Sleep2VecPretrainer", "paper": "arXiv 2602.13857",
            "training_data": self._data_summary, "parameters": parameters, "seed": self.seed_,
            "steps": net.step_, "precision": self.precision_,
            "n_parameters": sum(p.numel() for p in net.module_.network.parameters()),
            "last_epoch": {k: v for k, v in last.items() if isinstance(v, int | float) and v == v},
        }  # fmt: skip

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.dict = True
        tags.input_tags.allow_nan = True
        return tags


def _train(net: PretrainingNet, steps: TrainingSteps, n_epochs: int | None) -> None:
    if n_epochs is None:
        n_epochs = 0 if net.finished_ else steps.n_epochs - net.epoch_
    else:
        net.finished_ = False
    if n_epochs <= 0:
        return
    try:
        net.partial_fit(steps, epochs=n_epochs)
    finally:
        # an error would leave progress bars open
        for _, callback in net.callbacks_:
            if isinstance(callback, StepProgress):
                callback.close()


def _check_same(before: EncoderConfig, now: EncoderConfig) -> None:
    differences = list_differences(before.to_dict(), now.to_dict())
    if differences:
        raise TrainingError(
            "the net was fitted as another encoder; what differs:\n  "
            + "\n  ".join(differences)
            + "\nRestore these, or pass warm_start=False."
        )


def _check_sizes(sampler: PairSampler, batch_size: int) -> None:
    """Refuse batches smaller than the number of processes, and warn of small pools."""
    smallest = min(sampler.sizes, key=lambda pair: sampler.sizes[pair])
    if sampler.sizes[smallest] < world_size():
        raise TrainingError(
            f"a batch of {'-'.join(smallest)} has {sampler.sizes[smallest]} windows, which leaves "
            f"some of {world_size()} processes without any. Start fewer, or raise batch_size="
            f"{batch_size}."
        )
    # a sensor alone needs no negatives
    contrasted = {pair: pool for pair, pool in sampler.pools.items() if len(set(pair)) == 2}
    small = {pair: len(pool) for pair, pool in contrasted.items() if len(pool) < batch_size}
    if small:
        # eleven modalities have 55 pairs
        shown = [
            f"{'-'.join(pair)} ({small[pair]} recordings, batches of {sampler.sizes[pair]})"
            for pair in sorted(small, key=lambda pair: small[pair])[:_PAIRS_NAMED]
        ]
        more = f" and {len(small) - len(shown)} more pairs" if len(small) > len(shown) else ""
        warn(
            f"batch_size={batch_size} is more than the recordings that have a pair: several "
            f"windows of a recording come in one batch, none of them twice: {', '.join(shown)}"
            f"{more}.",
            TrainingWarning,
        )


def _describe_value(value: Any) -> str:
    """The same text for a number of numpy and of Python, for a tuple, an array and a list."""
    # its address would be another in the process that resumes a run
    if inspect.isroutine(value):
        value = f"{value.__module__}.{value.__qualname__}"
    elif isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    return repr(list(value) if isinstance(value, tuple) else value)
