# SPDX-License-Identifier: BSD-3-Clause
"""Retrieval of epochs across modalities, in the space of the contrastive objective."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.utils import check_scalar

from .._html import ShownAsTable
from .._progress import progress_bar
from .._torch import resolve_device
from ..encoding.cache import check_cache, open_store
from ..encoding.inputs import EncoderInput, read_input
from ..errors import CheckpointError, InvalidRecordingError
from ..evaluation._subjects import SubjectBootstrap
from ..recordings.modality import list_modalities
from ..recordings.recording import Recording, name_subjects
from ._sensor_study import draw_seed

if TYPE_CHECKING:
    from ..model.checkpoint import Checkpoint

SCOPES = ("nights", "night")
_WITH_INTERVAL = ("recall_1", "recall_5", "loss")
_MEASURES = (*_WITH_INTERVAL, "chance_1", "chance_5")
_READ_AHEAD = 2


@dataclass(frozen=True, eq=False, repr=False)
class CrossModalRetrieval(ShownAsTable):
    """Result of :func:`cross_modal_retrieval`.

    Attributes
    ----------
    summary : DataFrame
        One row per scope and ordered pair of modalities ``query`` and ``target``. ``recall_1`` and
        ``recall_5``: share of epochs that are first, or among the first five, with confidence
        intervals over subjects, ``recall_1_low`` and so on. ``median_rank``, from 1. ``loss``:
        contrastive loss in nats, which is ``log(candidates)`` for an uninformative network.
        ``chance_1``, ``chance_5`` and ``chance_rank``: the same for guessing. ``candidates``: mean
        number of epochs to choose from. ``queries`` and ``subjects``: their numbers.
    modalities : tuple of str
    level : float
        Confidence level of the intervals.

    Examples
    --------
    >>> from sleep2vec_sklearn import cross_modal_retrieval, make_sleep_cohort
    >>> names = ["airflow", "effort"]
    >>> nights = make_sleep_cohort(2, hours=0.5, modalities=names, missing=0, random_state=0)
    >>> result = cross_modal_retrieval("sleep2vec-mini", nights, n_candidates=20, n_resamples=20)
    >>> result.matrix("chance_1").loc["airflow", "effort"].round(2)
    np.float64(0.05)
    """

    summary: pd.DataFrame
    modalities: tuple[str, ...]
    level: float

    def to_frame(self) -> pd.DataFrame:
        """A row per scope, pair and metric: columns value, low, high, and the numbers behind it.

        ``low`` and ``high`` are NaN for the median rank and for guessing.
        """
        numbers = ["candidates", "queries", "subjects"]
        pairs = self.summary.set_index(["scope", "query", "target", *numbers])
        metrics = [name for name in pairs.columns if not name.endswith(("_low", "_high"))]
        parts = {}
        for metric in metrics:
            low, high = (pairs.get(f"{metric}_{end}", np.nan) for end in ("low", "high"))
            columns = {"value": pairs[metric], "low": low, "high": high}
            parts[metric] = pd.DataFrame(columns, index=pairs.index)
        table = pd.concat(parts, names=["metric"]).reset_index()
        return table[["scope", "query", "target", "metric", "value", "low", "high", *numbers]]

    def _headline(self) -> str:
        n_pairs = len(self.summary[["query", "target"]].drop_duplicates())
        return f"CrossModalRetrieval({n_pairs} pairs of {len(self.modalities)} modalities)"

    def matrix(self, measure: str = "recall_1", scope: str = "nights") -> pd.DataFrame:
        """One measure of all pairs of a scope, if ``summary`` has both.

        Returns
        -------
        DataFrame
            Rows are queries, columns targets; NaN where a pair is never worn at the same time.
        """
        rows = self.summary[self.summary["scope"] == scope]
        if measure not in rows.columns or rows.empty:
            raise ValueError(
                f"measure={measure!r}, scope={scope!r}: accepted are columns of summary, and "
                f"{', '.join(self.summary['scope'].unique())}."
            )
        table = rows.pivot(index="query", columns="target", values=measure)
        return table.reindex(index=list(self.modalities), columns=list(self.modalities))


def cross_modal_retrieval(
    checkpoint: Any, recordings: Sequence[Recording | Mapping], *,
    modalities: Sequence[str] | None = None, scopes: str | Sequence[str] = SCOPES,
    n_candidates: int = 256, temperature: float = 0.1, level: float = 0.95,
    n_resamples: int = 1000, device: str = "auto", cache: Any = "memory", random_state: Any = 0,
    verbose: int | None = None,
) -> CrossModalRetrieval:  # fmt: skip
    """Retrieve epochs of one modality by the same epochs of another.

    Every epoch that has both is a query once, in the space of the contrastive objective, within a
    pool of candidates that holds it.

    Parameters
    ----------
    checkpoint : str, path or Checkpoint
        An encoder with a projection head.
    recordings : list of Recording or dict
        Nights that did not train it.
    modalities : sequence of str, optional
        By default all that the nights have and the checkpoint supports.
    scopes : sequence of {"nights", "night"}
        Candidates are epochs of all nights, mixed; or of the same night, which is harder, as the
        identity of the subject is no help.
    n_candidates : int, default=256
        Size of a pool; a night, or a pair of rare sensors, with fewer epochs makes a smaller one.
    temperature : float, default=0.1
        Of the loss.
    level, n_resamples
        As for :func:`label_efficiency_curve`.
    verbose : int, optional
        As of :class:`Sleep2VecTransformer`.
    device : str, default="auto"
    cache : "memory", path or None, default="memory"
        Where tokens are cached.
    random_state : int, RandomState or None, default=0
        Draws the epochs that share a pool.

    Returns
    -------
    CrossModalRetrieval

    Raises
    ------
    CheckpointError
        If the checkpoint has no projection head, or does not support a modality.
    InvalidRecordingError
        If no two modalities are worn at the same time.
    UnknownModalityError
        If a name is not in the catalogue.

    Examples
    --------
    >>> from sleep2vec_sklearn import cross_modal_retrieval, make_sleep_cohort
    >>> names = ["ibi", "effort"]
    >>> nights = make_sleep_cohort(3, hours=1, modalities=names, missing=0, random_state=0)
    >>> result = cross_modal_retrieval("sleep2vec-mini", nights, n_candidates=100)
    >>> result.summary[["scope", "query", "target", "queries", "chance_1"]].head(2)
        scope   query  target  queries  chance_1
    0  nights  effort     ibi      300      0.01
    1  nights     ibi  effort      300      0.01
    """
    scopes = [scopes] if isinstance(scopes, str) else list(scopes)
    if not scopes or not set(scopes) <= set(SCOPES):
        raise ValueError(f"scopes must be some of {', '.join(SCOPES)}; got {scopes!r}.")
    check_scalar(n_candidates, "n_candidates", Integral, min_val=2)
    check_scalar(temperature, "temperature", Real, min_val=0, include_boundaries="neither")
    check_cache(cache)
    inputs = read_input(recordings)
    if inputs.unit != "night":
        raise InvalidRecordingError(
            "recordings holds epochs; accepted is a list of recordings, e.g. X.recordings."
        )
    checkpoint, names = _choose_modalities(checkpoint, inputs.recordings, modalities)
    seed = draw_seed(random_state)
    subjects = name_subjects(inputs.recordings)
    views = _encode(checkpoint, inputs, names, device, cache, verbose)
    rows = []
    for scope in scopes:
        for query, target in itertools.permutations(names, 2):
            pools = list(_draw_pools(views, query, target, scope, n_candidates, seed))
            if pools:
                ranked = [_rank(views, query, target, pool, temperature) for pool in pools]
                nights = np.concatenate([pool[:, 0] for pool in pools])
                draws = SubjectBootstrap(subjects[nights], n_resamples, level, seed)
                measures = _summarise(np.concatenate(ranked), draws)
                rows.append({"scope": scope, "query": query, "target": target, **measures})
    if not rows:
        raise InvalidRecordingError(
            f"no night has two of {', '.join(names)} at the same time, so there is nothing to "
            "retrieve. Pass nights with two sensors."
        )
    return CrossModalRetrieval(pd.DataFrame(rows), names, level)


def _choose_modalities(
    checkpoint: Any, recordings: Sequence[Recording], modalities: Sequence[str] | None
) -> tuple[Checkpoint, tuple[str, ...]]:
    from ..model.checkpoint import as_checkpoint, require_sleep2vec

    checkpoint = require_sleep2vec(as_checkpoint(checkpoint), "retrieval")
    if checkpoint.config.projection is None:
        raise CheckpointError(
            f"{checkpoint.name} has no projection head, so its modalities share no space to "
            "retrieve in. Pass an encoder with one."
        )
    supported = checkpoint.config.names
    present = {name for recording in recordings for name in recording.modalities}
    chosen = list_modalities(modalities)
    unsupported = [name for name in chosen if name not in supported]
    if modalities is not None and unsupported:
        raise CheckpointError(
            f"{', '.join(unsupported)}: this checkpoint supports {', '.join(supported)}."
        )
    names = tuple(name for name in chosen if name in supported and name in present)
    if len(names) < 2:
        raise InvalidRecordingError(
            f"the nights have {', '.join(names) or 'none'} of the modalities that were asked for "
            "and this checkpoint supports; retrieval needs two."
        )
    return checkpoint, names


def _encode(
    checkpoint: Checkpoint, inputs: EncoderInput, names: Sequence[str], device: str, cache: Any,
    verbose: int | None,
) -> list[dict]:  # fmt: skip
    """Unit vectors and validity of each modality, night by night."""
    from ..encoding._engine import Engine
    from ..encoding._sleep2vec import as_encoder

    encoder = as_encoder(checkpoint, "projection", device=resolve_device(device))
    engine = Engine(encoder, names, _READ_AHEAD, open_store(cache))
    views: list[dict] = []
    with closing(engine.encode(inputs.recordings, inputs.locations)) as nights:
        bar = {"total": len(inputs.recordings), "desc": "encoding", "unit": "night"}
        for night in progress_bar(verbose, iterable=nights, **bar):
            if night.error is not None:
                raise night.error
            views.append({})
            for name, item in night.modalities.items():
                # where windows overlap, a token is a mean of unit vectors
                length = np.linalg.norm(item.tokens, axis=1, keepdims=True)
                views[-1][name] = item.tokens / np.maximum(length, 1e-12), item.valid
    return views


def _draw_pools(
    views: Sequence[Mapping], query: str, target: str, scope: str, size: int, seed: int
) -> Iterator[np.ndarray]:
    """Indices (night, epoch) of epochs that are each other's candidates; shape (n, 2)."""
    indices = []
    for night, view in enumerate(views):
        both = np.empty(0, int)
        if query in view and target in view:
            both = np.flatnonzero(view[query][1] & view[target][1])
        indices.append(np.column_stack([np.full(len(both), night), both]))
    groups = indices if scope == "night" else [np.concatenate(indices)]
    for number, group in enumerate(groups):
        order = np.random.default_rng([seed, number]).permutation(len(group))
        full = len(order) - len(order) % size if len(order) >= size else len(order)
        for start in range(0, full, size):
            pool = order[start : start + size]
            if len(pool) > 1:
                yield group[pool]


def _rank(
    views: Sequence[Mapping], query: str, target: str, pool: np.ndarray, temperature: float
) -> np.ndarray:
    """Rank, loss and number of candidates of each epoch of a pool; shape (n, 3)."""
    import torch

    from ..pretraining._validation import rank_counterparts

    first, second = (
        torch.from_numpy(np.stack([views[night][name][0][epoch] for night, epoch in pool]))
        for name in (query, target)
    )
    similarity = first @ second.T
    losses = -torch.log_softmax(similarity / temperature, dim=1).diagonal()
    ranks = rank_counterparts(similarity)
    return np.column_stack([ranks.numpy(), losses.numpy(), np.full(len(pool), len(pool))])


def _summarise(ranked: np.ndarray, draws: SubjectBootstrap) -> dict:
    ranks, losses, candidates = ranked.T
    by_epoch = [ranks <= 1, ranks <= 5, losses, 1 / candidates, np.minimum(5 / candidates, 1)]
    sums = draws.by_subject(np.column_stack(by_epoch))
    by_subject = sums / np.bincount(draws.codes)[:, None]
    low, high = draws.interval(draws.counts @ by_subject / len(by_subject))
    summary = dict(zip(_MEASURES, by_subject.mean(axis=0).tolist(), strict=True))
    for column, name in enumerate(_WITH_INTERVAL):
        summary |= {f"{name}_low": float(low[column]), f"{name}_high": float(high[column])}
    n_candidates = float(candidates.mean())
    summary |= {"median_rank": float(np.median(ranks)), "chance_rank": (n_candidates + 1) / 2}
    counts = {"queries": len(ranks), "subjects": len(by_subject)}
    return summary | {"candidates": n_candidates} | counts
