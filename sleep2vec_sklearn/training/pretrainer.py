# SPDX-License-Identifier: BSD-3-Clause
"""The scikit-learn estimator that pretrains an encoder."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .parameters import check_parameters

if TYPE_CHECKING:
    from ..model.checkpoint import Checkpoint

__all__ = ["Sleep2VecPretrainer"]

_LARGEST_SEED = 2**63 - 1


class Sleep2VecPretrainer(BaseEstimator):
    """Pretrain an encoder on nights without labels.

    Parameters
    ----------
    modalities : sequence of str, optional
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

    def fit(self, X, metadata=None):
        """Pretrain."""
        check_parameters(self)
        self._fit(X, metadata, self._net_to_continue(self.warm_start), None)
        return self

    def partial_fit(self, X, metadata=None):
        """One more epoch."""
        check_parameters(self)
        self._fit(X, metadata, self._net_to_continue(True), 1)
        return self

    def _net_to_continue(self, wanted: bool):
        return getattr(self, "net_", None) if wanted else None

    def _fit(self, X, metadata, net, epochs: int | None) -> None:
        from .distributed import rank
        from .run import Run
        from .state import RunFolder

        folder = state = None
        if self.state_dir is not None and epochs is None:
            folder = RunFolder(self.state_dir)
            state = folder.load()
            if rank() == 0:
                folder.tidy()
        seed = self._choose_seed(net, state)
        run = Run(self, X, metadata, seed, net)
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
        from .distributed import broadcast_value

        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        if net is not None:
            return self.seed_
        if state is not None:
            return int(state["seed"])
        if self.random_state is None:
            drawn = int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
        else:
            drawn = int(
                check_random_state(self.random_state).randint(_LARGEST_SEED, dtype=np.int64)
            )
        return int(broadcast_value(drawn % _LARGEST_SEED))

    @property
    def history_(self):
        """What skorch recorded, epoch by epoch."""
        check_is_fitted(self, "net_")
        return self.net_.history

    def score(self, X, y=None) -> float:
        """Cross-modal retrieval."""
        results = self.retrieval(X)
        return float(np.mean([result.recall for result in results.values()]))

    def retrieval(self, X) -> dict:
        """Cross-modal retrieval of each pair."""
        from .material import open_for
        from .retrieval import measure_retrieval

        check_is_fitted(self, "net_")
        store = open_for(self.encoder_config_, X)
        return measure_retrieval(self.net_.averaged(), store, self.batch_size)

    def checkpoint(self) -> Checkpoint:
        """The averaged encoder, as :class:`Sleep2VecTransformer` takes it."""
        from ..model.checkpoint import load_checkpoint

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pretrained.safetensors"
            self.save(path)
            return load_checkpoint(path)

    def save(self, path: str | os.PathLike, card=None) -> str:
        """Write the averaged encoder to a file."""
        from ..model.checkpoint import save_checkpoint
        from .card import make_card

        check_is_fitted(self, "net_")
        return save_checkpoint(
            path,
            self.net_.averaged(),
            self.encoder_config_,
            card={**make_card(self), **(card or {})},
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.dict = True
        tags.input_tags.allow_nan = True
        return tags
