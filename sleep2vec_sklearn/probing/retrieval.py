# SPDX-License-Identifier: BSD-3-Clause
"""How well an epoch seen by one sensor finds itself among epochs seen by another."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from tqdm.auto import tqdm

from .._torch import resolve_device
from ..encoding.cache import check_cache, open_store
from ..encoding.inputs import read_input
from ..errors import CheckpointError, InvalidRecordingError
from ..evaluation._subjects import SubjectBootstrap
from ..recordings.modality import list_modalities
from ..recordings.recording import name_subjects
from .folds import draw_seed

__all__ = [
    "CrossModalRetrieval",
    "cross_modal_retrieval",
]

SCOPES = ("nights", "night")
_MEASURES = ("recall_1", "recall_5", "loss", "chance_1", "chance_5")
_READ_AHEAD = 2


@dataclass(frozen=True, eq=False)
class CrossModalRetrieval:
    """Result of :func:`cross_modal_retrieval`.

    Attributes
    ----------
    summary : DataFrame
        One row per scope and ordered pair of modalities ``query`` and ``target``. ``recall_1`` and
        ``recall_5``: share of epochs that are first, or among the first five, with the intervals
        ``recall_1_low`` and so on over subjects. ``median_rank``, from 1. ``loss``: contrastive
        loss in nats, which is ``log(candidates)`` for a network that knows nothing. ``chance_1``,
        ``chance_5`` and ``chance_rank``: what guessing gives. ``candidates``: epochs to choose
        from, in the mean. ``queries`` and ``subjects``: how many were asked.
    modalities : tuple of str
    level : float
        Of the intervals.

    Examples
    --------
    >>> from sleep2vec_sklearn import cross_modal_retrieval, make_sleep_cohort
    >>> names = ["airflow", "effort"]
    >>> nights = make_sleep_cohort(2, hours=0.5, modalities=names, missing=0, random_state=0)
    >>> found = cross_modal_retrieval("sleep2vec-mini", nights, n_candidates=20, n_resamples=20)
    >>> found.matrix("chance_1")
    target   airflow  effort
    query
    airflow      NaN    0.05
    effort      0.05     NaN
    """

    summary: object
    modalities: tuple[str, ...]
    level: float

    def matrix(self, measure: str = "recall_1", scope: str = "nights"):
        """One measure of all pairs of a scope.

        Returns
        -------
        DataFrame
            Rows are queries, columns targets; NaN where a pair is never worn at the same time.
        """
        mine = self.summary[self.summary["scope"] == scope]
        if measure not in mine.columns or mine.empty:
            raise ValueError(
                f"measure={measure!r}, scope={scope!r}: accepted are columns of summary, and "
                f"{', '.join(self.summary['scope'].unique())}."
            )
        table = mine.pivot(index="query", columns="target", values=measure)
        return table.reindex(index=list(self.modalities), columns=list(self.modalities))


def cross_modal_retrieval(
    checkpoint,
    recordings,
    *,
    modalities=None,
    scopes=SCOPES,
    n_candidates=256,
    temperature=0.1,
    level=0.95,
    n_resamples=1000,
    device="auto",
    cache="memory",
    random_state=0,
    verbose=0,
) -> CrossModalRetrieval:
    """Look epochs seen by one modality up among the same epochs seen by another.

    Every epoch that has both is asked for once, in the space of the contrastive objective, within
    a pool of candidates that it is one of.

    Parameters
    ----------
    checkpoint : str, path or Checkpoint
        An encoder with a projection head.
    recordings : list of Recording or dict
        Nights that did not train it.
    modalities : sequence of str, optional
        By default all that the nights have and the checkpoint supports.
    scopes : sequence of {"nights", "night"}
        Candidates are epochs of all nights, mixed; or of the same night, which is harder, as it
        cannot be told by who is asleep.
    n_candidates : int, default=256
        Size of a pool; a night, or a pair of rare sensors, with fewer epochs makes a smaller one.
    temperature : float, default=0.1
        Of the loss.
    level : float, default=0.95
        Of the intervals.
    n_resamples : int, default=1000
        Draws of subjects behind an interval.
    device : str, default="auto"
    cache : "memory", path or None, default="memory"
        Where tokens are kept.
    random_state : int, RandomState or None, default=0
        Which epochs share a pool.
    verbose : int, default=0
        1 shows a progress bar.

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
    >>> nights = make_sleep_cohort(
    ...     3, hours=1, modalities=["ibi", "effort"], missing=0, random_state=0
    ... )
    >>> found = cross_modal_retrieval("sleep2vec-mini", nights, n_candidates=100)
    >>> found.summary[["scope", "query", "target", "queries", "chance_1"]]
        scope   query  target  queries  chance_1
    0  nights  effort     ibi      300      0.01
    1  nights     ibi  effort      300      0.01
    2   night  effort     ibi      300      0.01
    3   night     ibi  effort      300      0.01
    """
    scopes = _check_scopes(scopes, n_candidates, temperature)
    check_cache(cache)
    given = read_input(recordings)
    if given.unit != "night":
        raise InvalidRecordingError(
            "recordings holds epochs; accepted is a list of recordings, e.g. X.recordings."
        )
    checkpoint, names = _choose(checkpoint, given.recordings, modalities)
    seed = draw_seed(random_state)
    subjects = name_subjects(given.recordings)
    views = _encode(checkpoint, given, names, device, cache, verbose)
    rows = []
    for scope in scopes:
        for query, target in itertools.permutations(names, 2):
            pools = list(_draw_pools(views, query, target, scope, n_candidates, seed))
            if pools:
                answers = [_ask(views, query, target, pool, temperature) for pool in pools]
                night = np.concatenate([pool[:, 0] for pool in pools])
                row = _describe(np.concatenate(answers), subjects[night], seed, n_resamples, level)
                rows.append({"scope": scope, "query": query, "target": target, **row})
    if not rows:
        raise InvalidRecordingError(
            f"no night has two of {', '.join(names)} at the same time, so nothing can be found "
            "again. Give nights with two sensors."
        )
    import pandas as pd

    return CrossModalRetrieval(pd.DataFrame(rows), names, level)


def _check_scopes(scopes, n_candidates, temperature) -> list[str]:
    scopes = [scopes] if isinstance(scopes, str) else list(scopes)
    if not scopes or any(scope not in SCOPES for scope in scopes):
        raise ValueError(f"scopes must be some of {', '.join(SCOPES)}; got {scopes!r}.")
    if n_candidates < 2 or temperature <= 0:
        raise ValueError(
            f"n_candidates must be at least 2 and temperature above 0; got {n_candidates!r} and "
            f"{temperature!r}."
        )
    return scopes


def _choose(checkpoint, recordings: Sequence, modalities):
    from ..model.checkpoint import as_checkpoint

    checkpoint = as_checkpoint(checkpoint)
    if checkpoint.config.projection is None:
        raise CheckpointError(
            f"{checkpoint.name} has no projection head, so its modalities share no space in which "
            "one could be found by another."
        )
    supported = checkpoint.config.names
    there = {name for recording in recordings for name in recording.modalities}
    chosen = list_modalities(modalities)
    unsupported = [name for name in chosen if name not in supported]
    if modalities is not None and unsupported:
        raise CheckpointError(
            f"{', '.join(unsupported)}: this checkpoint supports {', '.join(supported)}."
        )
    names = tuple(name for name in chosen if name in supported and name in there)
    if len(names) < 2:
        raise InvalidRecordingError(
            f"the nights have {', '.join(names) or 'none'} of what this checkpoint supports and "
            "was asked for; two modalities are needed to look one up in the other."
        )
    return checkpoint, names


def _encode(checkpoint, given, names, device: str, cache, verbose: int) -> list[dict]:
    """Unit vectors and validity of each modality, night by night."""
    from ..encoding._engine import Engine

    device = resolve_device(device)
    engine = Engine(
        checkpoint, names, "projection", "float32", device, _READ_AHEAD, open_store(cache)
    )
    views = []
    with closing(engine.encode(given.recordings, given.locations)) as nights:
        bar = {"total": len(given.recordings), "desc": "encoding", "unit": "night"}
        for night in tqdm(nights, **bar, disable=not verbose):
            if night.error is not None:
                raise night.error
            views.append({name: _as_unit(item) for name, item in night.modalities.items()})
    return views


def _as_unit(item) -> tuple[np.ndarray, np.ndarray]:
    # where windows overlap, a token is a mean of unit vectors
    length = np.linalg.norm(item.tokens, axis=1, keepdims=True)
    return item.tokens / np.maximum(length, 1e-12), item.valid


def _draw_pools(views, query, target, scope: str, size: int, seed: int) -> Iterator[np.ndarray]:
    """Places (night, epoch) of the epochs that are each other's candidates."""
    both = [
        np.flatnonzero(view[query][1] & view[target][1])
        if query in view and target in view
        else np.empty(0, int)
        for view in views
    ]
    places = [np.column_stack([np.full(len(e), k), e]) for k, e in enumerate(both)]
    groups = places if scope == "night" else [np.concatenate(places)]
    for number, group in enumerate(groups):
        order = np.random.default_rng([seed, number]).permutation(len(group))
        full = len(order) - len(order) % size if len(order) >= size else len(order)
        for start in range(0, full, size):
            pool = order[start : start + size]
            if len(pool) > 1:
                yield group[pool]


def _ask(views, query: str, target: str, pool: np.ndarray, temperature: float) -> np.ndarray:
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


def _describe(answers: np.ndarray, subjects, seed: int, n_resamples: int, level: float) -> dict:
    ranks, losses, candidates = answers.T
    columns = {
        "recall_1": ranks <= 1,
        "recall_5": ranks <= 5,
        "loss": losses,
        "chance_1": 1 / candidates,
        "chance_5": np.minimum(5 / candidates, 1),
    }
    draws = SubjectBootstrap(subjects, n_resamples, level, seed)
    sums = draws.by_subject(np.column_stack([columns[name] for name in _MEASURES]))
    of_people = sums / np.bincount(draws.codes)[:, None]
    low, high = draws.interval(draws.counts @ of_people / len(of_people))
    found = dict(zip(_MEASURES, map(float, of_people.mean(axis=0)), strict=True))
    for place, name in enumerate(_MEASURES[:3]):
        found |= {f"{name}_low": float(low[place]), f"{name}_high": float(high[place])}
    return found | {
        "median_rank": float(np.median(ranks)),
        "chance_rank": float((candidates.mean() + 1) / 2),
        "candidates": float(candidates.mean()),
        "queries": len(ranks),
        "subjects": len(of_people),
    }
