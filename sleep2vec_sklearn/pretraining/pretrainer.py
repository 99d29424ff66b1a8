# SPDX-License-Identifier: BSD-3-Clause
"""What a fitted pretrainer gives: its history, its retrieval, its encoder."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ._parameters import check_parameters

if TYPE_CHECKING:
    from ..model.checkpoint import Checkpoint

__all__ = [
    "PretrainedMixin",
    "Sleep2VecPretrainer",
]


class PretrainedMixin:
    """For estimators with ``net_`` and ``encoder_config_``; stands left of ``BaseEstimator``."""

    @property
    def history_(self):
        """What skorch recorded, epoch by epoch."""
        check_is_fitted(self, "net_")
        return self.net_.history

    def score(self, X, y=None) -> float:
        """Mean share, over pairs of modalities, of epochs that find themselves; higher is better.

        Parameters
        ----------
        X : list of Recording or dict, NightStore, or path of a store's folder
            Nights that did not train.
        y : ignored
        """
        return float(np.mean([result.recall for result in self.retrieval(X).values()]))

    def retrieval(self, X) -> dict:
        """Cross-modal retrieval on nights that did not train.

        Parameters
        ----------
        X : list of Recording or dict, NightStore, or path of a store's folder

        Returns
        -------
        dict of (str, str) to Retrieval
            Of each pair of modalities: recall, median rank, and what chance gives.

        Raises
        ------
        InvalidRecordingError
            If no night has two modalities of the encoder.
        """
        from ._data import open_for
        from ._validation import measure_retrieval

        check_is_fitted(self, "net_")
        store = open_for(self.encoder_config_, X)
        return measure_retrieval(self.net_.averaged(), store, self.batch_size)

    def checkpoint(self) -> Checkpoint:
        """The averaged encoder, as :class:`Sleep2VecTransformer` and ``init`` take it."""
        from ..model.checkpoint import load_checkpoint

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pretrained.safetensors"
            self.save(path)
            return load_checkpoint(path)

    def save(self, path: str | os.PathLike, card=None, dtype: str = "float32") -> str:
        """Write the averaged encoder to a file, with a card of what it learned from.

        Parameters
        ----------
        path : path-like
        card : mapping, optional
            JSON values that are added to the card.
        dtype : {"float32", "float16"}
            Of the matrices in the file; half precision halves it.

        Returns
        -------
        str
            The checkpoint's sha256.
        """
        from ..model.checkpoint import save_checkpoint
        from ._parameters import make_card

        check_is_fitted(self, "net_")
        described = {**make_card(self), **(card or {})}
        network, config = self.net_.averaged(), self.encoder_config_
        return save_checkpoint(path, network, config, card=described, dtype=dtype)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.dict = True
        tags.input_tags.allow_nan = True
        return tags


_LARGEST_SEED = 2**63 - 1


class Sleep2VecPretrainer(PretrainedMixin, BaseEstimator):
    """Pretrain an encoder on nights without labels, whatever sensors each of them has.

    The objective of sleep2vec (arXiv 2602.13857): an epoch seen by one modality should find itself
    among epochs seen by another. A batch holds windows of the nights that have both modalities of
    one pair; which pair, which nights and where follows from ``random_state`` and the batch's
    number alone.

    Parameters
    ----------
    modalities : sequence of str, optional
        What the encoder reads; by default all that two nights have beside another modality.
    tokenizer : str, TokenizerConfig or mapping of modality to either, default="spectral"
        "linear", "sundial" and "sundial2" learn from samples, "spectral" from fixed features.
    token_dim, hidden_size, n_layers, n_heads : int, default=128, 128, 4, 4
        Sizes of the encoder.
    intermediate_size : int, optional
        Of its feed-forward layers; four times ``hidden_size`` by default.
    dropout : float, default=0.0
        In encoder and tokenizers.
    cls : bool, default=False
        Whether a token for the whole window is trained too.
    projection_size : int, default=64
        Width of the space of the objective.
    context_epochs : int, default=120
        Length of a window, in epochs of 30 s.
    init : str, path, Checkpoint or EncoderConfig, optional
        An encoder to go on with, or an architecture, in place of the parameters above but
        ``dropout`` and ``context_epochs``.
    objective : {"dash", "info_nce"}, default="dash"
        DASH weighs negatives by how alike the sleepers are; see :func:`dash_info_nce_loss`.
    temperature, hard_scale, pos_margin : float, default=0.1, 0.1, 0.0
        Of the objective.
    age_bandwidth, sex_factor, site_same, site_different : float, default=20.0, 0.8, 1.3, 0.8
        Of the weights; see :func:`dash_weights`.
    negatives : {"recordings", "night", "both"}, default="recordings"
        Other nights at the same position of the window, other times of the same night, or both.
    mask_share : float, default=0.15
        Share of either modality's epochs whose token is hidden.
    sensor_loss : float, default=0.0
        Share of the windows in which a sensor is off for a stretch, in either view.
    max_shift : int, default=0
        Most epochs by which one view starts after the other, so that an epoch cannot be told by
        its place in the window.
    prediction : float, default=0.0
        Weight of a second objective: to foretell the columns of both modalities from the hidden
        states of one.
    noise, offset : float, default=0.0, 0.0
        Disturbance of every column, epoch by epoch and for a window as a whole, in standard
        deviations.
    pair_shares : mapping of (str, str) to float, list of (float, mapping), or callable, optional
        How often pairs come, those not named never; all alike by default. A list gives stages,
        each with the share of the run at which it ends. A callable, such as
        :class:`PairSchedule`, makes either from the list of pairs there are. A modality of no pair
        is left out.
    max_epochs : int, default=20
        Epochs of the run and of its schedule.
    steps_per_epoch : int, optional
        By default as many as it takes to draw as many windows as the nights hold.
    batch_size : int, default=48
        Windows that are each other's negatives, over all processes.
    accumulate : int, default=1
        Batches whose gradients make one step.
    lr, weight_decay : float, default=1e-3, 1e-2
        Of AdamW with betas 0.9 and 0.95; biases, norms, masks and CLS do not decay.
    lr_scales : mapping of str to float, optional
        Factors of ``lr`` for parts of the encoder: a modality (its tokenizer and mask embedding),
        "input_projection", "encoder", "cls_token", "projection"; 1 for those not named. A part
        with 0 is frozen to the bit and in evaluation: no dropout, no new BatchNorm statistics.
    warmup, lr_floor : float, default=0.03, 0.1
        Share of the steps in which the rate rises, and what is left of it at the end of a cosine.
    clip : float or None, default=1.0
        Largest norm of the gradient.
    ema_decay : float, default=0.996
        Of the moving average of the network, which is what is evaluated and saved; 0 for none.
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
        Folder in which the run keeps its state: killed at any moment, the same ``fit`` goes on
        from there, on a CPU to the same bits. A finished run is loaded.
    save_every : int, default=100
        Steps between states; one follows every epoch too.
    callbacks : list of skorch callbacks, optional
        Their own state is not kept over an interruption.
    verbose : int, default=0
        From 1 on, progress bars: over the nights that are conditioned, and over the steps.

    Attributes
    ----------
    net_ : PretrainingNet
        The skorch net.
    history_ : skorch.history.History
        ``history_[:, "valid_recall"]``, for example. Of every step its losses, pair, learning
        rate, norm of the gradient, seconds, and seconds waited for data; of every epoch their
        means, and loss and retrieval of held-out subjects, over all pairs and of each.
    encoder_config_ : EncoderConfig
    modalities_, pairs_ : tuple
        That were trained.
    seed_ : int
    device_, precision_ : str
        As resolved at fit.

    Notes
    -----
    Under :func:`torch.distributed`, all processes call ``fit`` with the same nights and share
    each batch; see :mod:`~sleep2vec_sklearn.pretraining._distributed`.

    Examples
    --------
    >>> from sleep2vec_sklearn import Sleep2VecPretrainer, Sleep2VecTransformer, make_sleep_cohort
    >>> nights = make_sleep_cohort(4, hours=1, modalities=["ibi", "spo2"], random_state=0)
    >>> pretrainer = Sleep2VecPretrainer(
    ...     hidden_size=16, n_layers=1, context_epochs=20, batch_size=2, max_epochs=2
    ... )
    >>> checkpoint = pretrainer.fit(nights).checkpoint()
    >>> Sleep2VecTransformer(checkpoint).fit_transform(nights).shape
    (4, 16)
    """

    def __init__(
        self,
        modalities=None,
        *,
        tokenizer="spectral",
        token_dim=128,
        hidden_size=128,
        n_layers=4,
        n_heads=4,
        intermediate_size=None,
        dropout=0.0,
        cls=False,
        projection_size=64,
        context_epochs=120,
        init=None,
        objective="dash",
        temperature=0.1,
        hard_scale=0.1,
        pos_margin=0.0,
        age_bandwidth=20.0,
        sex_factor=0.8,
        site_same=1.3,
        site_different=0.8,
        negatives="recordings",
        mask_share=0.15,
        sensor_loss=0.0,
        max_shift=0,
        prediction=0.0,
        noise=0.0,
        offset=0.0,
        pair_shares=None,
        max_epochs=20,
        steps_per_epoch=None,
        batch_size=48,
        accumulate=1,
        lr=1e-3,
        weight_decay=1e-2,
        lr_scales=None,
        warmup=0.03,
        lr_floor=0.1,
        clip=1.0,
        ema_decay=0.996,
        precision="auto",
        validation=0.1,
        patience=None,
        device="auto",
        n_workers=0,
        random_state=None,
        warm_start=False,
        state_dir=None,
        save_every=100,
        callbacks=None,
        verbose=0,
    ):
        self.modalities = modalities
        self.tokenizer = tokenizer
        self.token_dim = token_dim
        self.hidden_size = hidden_size
        self.n_layers = n_layers
        self.n_heads = n_heads
        self.intermediate_size = intermediate_size
        self.dropout = dropout
        self.cls = cls
        self.projection_size = projection_size
        self.context_epochs = context_epochs
        self.init = init
        self.objective = objective
        self.temperature = temperature
        self.hard_scale = hard_scale
        self.pos_margin = pos_margin
        self.age_bandwidth = age_bandwidth
        self.sex_factor = sex_factor
        self.site_same = site_same
        self.site_different = site_different
        self.negatives = negatives
        self.mask_share = mask_share
        self.sensor_loss = sensor_loss
        self.max_shift = max_shift
        self.prediction = prediction
        self.noise = noise
        self.offset = offset
        self.pair_shares = pair_shares
        self.max_epochs = max_epochs
        self.steps_per_epoch = steps_per_epoch
        self.batch_size = batch_size
        self.accumulate = accumulate
        self.lr = lr
        self.weight_decay = weight_decay
        self.lr_scales = lr_scales
        self.warmup = warmup
        self.lr_floor = lr_floor
        self.clip = clip
        self.ema_decay = ema_decay
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

    def fit(self, X, metadata=None, sample_weight=None):
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
            the state of another run, or a loss is not finite; the network before that step is kept
            then.
        """
        check_parameters(self)
        self._fit(X, metadata, sample_weight, self._net_to_continue(self.warm_start), None)
        return self

    def partial_fit(self, X, metadata=None, sample_weight=None):
        """Train for one more epoch of the schedule that ``max_epochs`` gives.

        As many calls as ``max_epochs`` do what ``fit`` does; further ones go on at the lowest
        rate. No state is kept in ``state_dir``.

        Parameters
        ----------
        X, metadata, sample_weight
            As for :meth:`fit`; nights may change from call to call, the encoder may not.

        Returns
        -------
        self
        """
        check_parameters(self)
        self._fit(X, metadata, sample_weight, self._net_to_continue(True), 1)
        return self

    def _net_to_continue(self, wanted: bool):
        return getattr(self, "net_", None) if wanted else None

    def _fit(self, X, metadata, sample_weight, net, epochs: int | None) -> None:
        from ._distributed import from_rank_zero
        from ._run import Run
        from ._state import RunFolder

        folder = state = None
        with contextlib.ExitStack() as until_the_end:
            if self.state_dir is not None and epochs is None:
                folder = RunFolder(self.state_dir)
                # another machine may see the folder as it was, or not at all
                state = from_rank_zero(lambda: folder.take_up(self.max_epochs, until_the_end))
            seed = self._choose_seed(net, state)
            run = Run(self, X, metadata, sample_weight, seed, net)
            if net is not None and epochs is None:
                run.net.begin()
            run.resume(state, folder)
            self.seed_ = seed
            self.net_ = run.net
            self.encoder_config_ = run.config
            self.modalities_ = run.material.modalities
            self.pairs_ = tuple(run.material.pools)
            self.device_, self.precision_ = run.device, run.precision
            self._data_summary = run.summarise()
            run.train(epochs)

    def _choose_seed(self, net, state) -> int:
        from ._distributed import broadcast_value

        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        if net is not None:
            return self.seed_
        if state is not None and "seed" in state:
            return int(state["seed"])
        if self.random_state is None:
            drawn = int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
        else:
            drawn = int(
                check_random_state(self.random_state).randint(_LARGEST_SEED, dtype=np.int64)
            )
        return int(broadcast_value(drawn % _LARGEST_SEED))
