# SPDX-License-Identifier: BSD-3-Clause
"""One fit: from the pretrainer's parameters and its nights to a trained net."""

from __future__ import annotations

import itertools
import json
import warnings
from dataclasses import replace

import numpy as np

from .._hardware import resolve_device, resolve_precision
from ..errors import TrainingError, TrainingWarning
from ..model.config import EncoderConfig
from .architecture import Beginning, asked_sizes
from .batchnorm import convert_batchnorm
from .card import summarise_nights
from .distributed import broadcast_module, rank, world_size
from .material import Material, gather
from .module import Objective, PretrainingModule
from .net import PretrainingNet
from .parameters import describe_parameters
from .parts import check_pairs, check_scales
from .plan import TrainingPlan
from .progress import StepProgress
from .retrieval import HeldOutWindows
from .sampling import Augmentation, PairSampler, resolve_shares
from .state import RunFolder, list_differences
from .statistics import column_statistics, standardise_tokenizers
from .validation import Validation

__all__ = ["Run"]

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
            warnings.warn(
                f"{self.folder.path}: the state after step {net.step_} could not be written "
                f"({error}); training goes on, and the state before it stays. Make room.",
                TrainingWarning,
                stacklevel=2,
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
        warnings.warn(
            f"batch_size={wanted} is more than the recordings that have a pair: several windows "
            f"of a recording come in one batch, none of them twice: {', '.join(shown)}{more}.",
            TrainingWarning,
            stacklevel=7,
        )
