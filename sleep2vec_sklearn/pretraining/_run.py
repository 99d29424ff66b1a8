# SPDX-License-Identifier: BSD-3-Clause
"""One fit: from the pretrainer's parameters and its nights to a trained net."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from .._torch import RunningStatistics, resolve_device, resolve_precision
from .._warnings import warn
from ..errors import TrainingError, TrainingWarning
from ..model.config import EncoderConfig
from ..model.network import Sleep2Vec
from ..nightstore.content import Content
from ..nightstore.store import NightStore
from ._data import Material, gather
from ._distributed import broadcast_module, convert_batchnorm, rank, world_size
from ._module import Beginning, Objective, PretrainingModule, asked_sizes
from ._net import PretrainingNet, TrainingPlan
from ._optimization import StepProgress, check_pairs, check_scales
from ._parameters import describe_parameters, summarise_nights
from ._sampling import Augmentation, PairSampler, resolve_shares
from ._state import RunFolder, list_differences
from ._validation import HeldOutWindows, Validation

__all__ = [
    "Run",
    "column_statistics",
    "standardise_tokenizers",
]

_NIGHTS_NAMED = 5
_PAIRS_NAMED = 3


class Run:
    """What one call of ``fit`` or ``partial_fit`` does.

    Parameters
    ----------
    pretrainer : Sleep2VecPretrainer
        With checked parameters.
    X, metadata, sample_weight
        As given to ``fit``.
    seed : int
    net : PretrainingNet or None
        A fitted net to go on with.
    """

    def __init__(
        self, pretrainer, X, metadata, sample_weight, seed: int, net: PretrainingNet | None
    ):
        self.pretrainer = pretrainer
        self.seed = seed
        self.beginning = Beginning(pretrainer.init)
        begin = self.beginning.config if net is None else net.module_.network.config
        self.material = gather(pretrainer, X, metadata, sample_weight, begin, seed)
        self.device = resolve_device(pretrainer.device)
        self.precision = resolve_precision(pretrainer.precision, self.device)
        self.folder: RunFolder | None = None
        self.scales = check_scales(pretrainer.lr_scales, self.config)
        self.plan = self._make_plan()
        self.net = self._make_net(net)

    @property
    def config(self) -> EncoderConfig:
        """Of the encoder."""
        return self.material.config

    def _constants(self) -> dict:
        names = ("age_bandwidth", "sex_factor", "site_same", "site_different")
        return {name: getattr(self.pretrainer, name) for name in names}

    def _make_sampler(self) -> PairSampler:
        p, material = self.pretrainer, self.material
        weigh = None
        if p.objective == "dash":
            constants = self._constants()

            def weigh(nights):
                return material.demography.take(nights).weights(**constants)

        shares = resolve_shares(list(material.pools), p.pair_shares)
        check_pairs(list(itertools.compress(material.pools, shares.ever)), self.scales)
        sampler = PairSampler(
            material.store,
            material.pools,
            p.context_epochs,
            p.batch_size,
            self.seed,
            augmentation=Augmentation(p.mask_share, p.sensor_loss, p.max_shift),
            shares=shares,
            night_weights=material.night_weights,
            weigh=weigh,
            rank=rank(),
            world=world_size(),
        )
        smallest = min(sampler.sizes, key=sampler.sizes.get)
        if sampler.sizes[smallest] < world_size():
            raise TrainingError(
                f"a batch of {'-'.join(smallest)} has {sampler.sizes[smallest]} windows, which "
                f"leaves some of {world_size()} processes without any. Start fewer, or raise "
                f"batch_size={p.batch_size}."
            )
        _tell_small_pools(material, sampler, p.batch_size)
        return sampler

    def _make_plan(self) -> TrainingPlan:
        p, material = self.pretrainer, self.material
        sampler = self._make_sampler()
        n_epochs = material.store.table["n_epochs"].to_numpy()
        n_windows = np.ceil(n_epochs / p.context_epochs).sum()
        steps = p.steps_per_epoch or max(int(n_windows // (p.batch_size * p.accumulate)), 1)
        validate = None
        if len(material.held_out):
            validate = Validation(
                HeldOutWindows.spread(material.held_out, p.context_epochs),
                material.modalities,
                material.held_out_demography,
                self._constants(),
                p.batch_size,
            )
        return TrainingPlan(sampler.draw, self._describe, steps, p.max_epochs, validate, self._keep)

    def _make_net(self, earlier: PretrainingNet | None) -> PretrainingNet:
        p, material = self.pretrainer, self.material
        statistics = column_statistics(material.store, material.modalities)
        if earlier is None:
            network = self.beginning.network(self.config, self.seed)
            standardise_tokenizers(network, material.store, self.scales, statistics)
        else:
            network = earlier.module_.network
            asked = self.config
            if self.beginning.config is None:
                # of a net to go on with the configuration is taken, not the parameters
                asked = replace(asked, **asked_sizes(p))
            _check_same(network.config, asked)
        module = PretrainingModule(
            network,
            material.store.contents,
            statistics,
            foretell=p.prediction > 0,
            noise=p.noise,
            offset=p.offset,
            seed=self.seed,
        )
        names = ("temperature", "hard_scale", "pos_margin", "negatives", "prediction")
        objective = Objective(p.objective, **{name: getattr(p, name) for name in names})
        names = ("accumulate", "weight_decay", "warmup", "lr_floor", "clip", "ema_decay")
        names += ("n_workers", "save_every", "patience", "lr", "max_epochs", "batch_size")
        module = convert_batchnorm(module).to(self.device)
        broadcast_module(module)
        net = PretrainingNet(
            module,
            objective,
            seed=self.seed,
            precision=self.precision,
            device=self.device,
            lr_scales=self.scales,
            callbacks=self._callbacks(),
            **{name: getattr(p, name) for name in names},
        ).initialize()
        if earlier is not None:
            net.continue_from(earlier)
        return net

    def _callbacks(self) -> list:
        callbacks = list(self.pretrainer.callbacks or [])
        if self.pretrainer.verbose and rank() == 0:
            callbacks.append(StepProgress(self.plan.n_epochs * self.plan.steps_per_epoch))
        return callbacks

    def train(self, epochs: int | None = None) -> None:
        """Train to the end of the schedule, or for some epochs of it."""
        try:
            self.net.notify("on_train_begin", X=None, y=None)
            self.net.fit_loop(self.plan, epochs=epochs)
            self.net.notify("on_train_end", X=None, y=None)
        finally:
            # an error would leave progress bars open
            for _, callback in self.net.callbacks_:
                if isinstance(callback, StepProgress):
                    callback.close()

    def summarise(self) -> dict:
        """What the net was trained on, for its card."""
        return summarise_nights(self.material)

    def resume(self, state: dict | None, folder: RunFolder | None) -> None:
        """Go to where an earlier process was stopped, if it was; and keep states from here on.

        Raises
        ------
        TrainingError
            If the state is of a run with other parameters or nights, and says what differs; or
            if the state is not whole.
        """
        self.folder = folder
        if folder is None:
            return
        self.identity = self._identity()
        if state is None:
            return
        try:
            before = json.loads(state["run"])
            # a state of before samples were looked at says nothing of them
            samples = self.identity["data"]["nights"]["samples"]
            before["data"]["nights"].setdefault("samples", samples)
        except (KeyError, TypeError, ValueError) as error:
            raise folder.unreadable(error) from error
        differences = list_differences(before, self.identity)
        if differences:
            raise TrainingError(
                f"{folder.path} is the state of another run; what differs:\n  "
                + "\n  ".join(differences)
                + "\nRestore these to go on with it, give another state_dir, or remove the file. "
                "In a grid search or a cross-validation every fit is another run: pass "
                "state_dir=None."
            )
        try:
            self.net.load_state(state)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise folder.unreadable(error) from error

    def _identity(self) -> dict:
        identity = {
            "parameters": describe_parameters(self.pretrainer),
            "seed": self.seed,
            "init": self.beginning.name(),
            "encoder": self.config.to_dict(),
            "data": self.material.describe(),
            "begins_at_step": self.net.first_step_,
        }
        return json.loads(json.dumps(identity))

    def _keep(self, net: PretrainingNet) -> None:
        if self.folder is None or rank() != 0:
            return
        state = {"run": json.dumps(self.identity), "seed": str(self.seed), **net.state()}
        try:
            self.folder.save(state)
        except OSError as error:
            warn(
                f"{self.folder.path}: the state after step {net.step_} could not be written "
                f"({error}); training goes on, and the state before it stays. Make room.",
                TrainingWarning,
            )

    def _describe(self, batch) -> str:
        ids = self.material.store.table.index[batch.nights]
        shown = ", ".join(map(str, ids[:_NIGHTS_NAMED]))
        more = f" and {len(ids) - _NIGHTS_NAMED} more" if len(ids) > _NIGHTS_NAMED else ""
        return f"pair {batch.pair}, recordings {shown}{more} (batch {batch.number})"


def _check_same(before: EncoderConfig, now: EncoderConfig) -> None:
    differences = list_differences(before.to_dict(), now.to_dict())
    if differences:
        raise TrainingError(
            "the net was fitted as another encoder; what differs:\n  "
            + "\n  ".join(differences)
            + "\nRestore these, or pass warm_start=False."
        )


def _tell_small_pools(material: Material, sampler: PairSampler, wanted: int) -> None:
    small = {pair: len(pool) for pair, pool in material.pools.items() if len(pool) < wanted}
    if small:
        # eleven modalities have 55 pairs
        shown = [
            f"{'-'.join(pair)} ({small[pair]} recordings, batches of {sampler.sizes[pair]})"
            for pair in sorted(small, key=small.get)[:_PAIRS_NAMED]
        ]
        more = f" and {len(small) - len(shown)} more pairs" if len(small) > len(shown) else ""
        warn(
            f"batch_size={wanted} is more than the recordings that have a pair: several windows "
            f"of a recording come in one batch, none of them twice: {', '.join(shown)}{more}.",
            TrainingWarning,
        )


_STEADY = 1e-4
_NIGHTS = 256
_EPOCHS_APART = 4


def column_statistics(
    store: NightStore, names, kind: str | None = None
) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and standard deviation of every modality's columns over valid epochs.

    Of at most 256 nights, evenly spread, and every fourth epoch. A column that does not vary has
    a deviation of 1.

    Parameters
    ----------
    store : NightStore
    names : iterable of str
    kind : {"features"}, optional
        Of the spectral features, whatever the store holds; by default of what it holds.
    """
    statistics = {}
    n_epochs = store.table["n_epochs"].to_numpy()
    for name in names:
        content = store.contents[name]
        wanted = content if kind is None else Content.features(content.conditioning)
        nights = np.flatnonzero(store.table[f"coverage_{name}"].to_numpy() > 0)
        picked = np.unique(np.linspace(0, len(nights) - 1, _NIGHTS).astype(int))
        running = RunningStatistics()
        for night in nights[picked]:
            rows = store.window(night, name, 0, int(n_epochs[night]))
            rows = rows[store.valid(night, name)][::_EPOCHS_APART]
            running.update(wanted.compute(rows) if wanted.kind != content.kind else rows)
        mean, std = running.mean_and_std(_STEADY)
        statistics[name] = tuple(torch.from_numpy(v).float() for v in (mean, std))
    return statistics


def standardise_tokenizers(
    network: Sleep2Vec,
    store: NightStore,
    scales: Mapping[str, float] | None = None,
    known: Mapping[str, tuple[Tensor, Tensor]] | None = None,
) -> None:
    """Give the spectral tokenizers that have none the mean and deviation of their features.

    Those whose learning rate is scaled by 0 stay as they are. ``known`` are the
    :func:`column_statistics` of what the store holds, so that features are not read again.
    """
    known = {n: s for n, s in (known or {}).items() if store.contents[n].kind == "features"}
    frozen = {name for name, scale in (scales or {}).items() if scale == 0}
    spectral = {
        name: tokenizer
        for name, tokenizer in network.tokenizers.items()
        if name in store.contents and name not in frozen and _lacks_statistics(tokenizer)
    }
    present = [n for n in spectral if store.table[f"coverage_{n}"].to_numpy().any()]
    unknown = [name for name in present if name not in known]
    statistics = known | column_statistics(store, unknown, kind="features")
    for name in present:
        spectral[name].set_statistics(*statistics[name])


def _lacks_statistics(tokenizer) -> bool:
    if not hasattr(tokenizer, "set_statistics"):
        return False
    return bool((tokenizer.feature_mean == 0).all() and (tokenizer.feature_std == 1).all())
