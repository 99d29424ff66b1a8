# SPDX-License-Identifier: BSD-3-Clause
"""The contrastive objective: an epoch seen by one modality finds itself seen by another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from ..recordings._demographics import OLDEST

__all__ = [
    "count_examples",
    "dash_info_nce_loss",
    "dash_weights",
    "encode_labels",
    "info_nce_loss",
]

_NEGATIVES = ("recordings", "night", "both")
_LEAST_WEIGHT = 1e-6


def info_nce_loss(
    first: Tensor,
    second: Tensor,
    temperature: float = 0.2,
    valid: Tensor | None = None,
    negatives: str = "recordings",
) -> tuple[Tensor, Tensor]:
    """InfoNCE in both directions between two modalities of the same epochs.

    Parameters
    ----------
    first, second : Tensor of shape [B, L, D]
        Projections of B recordings at L positions; brought to unit length here.
    temperature : float
        Divides the cosine similarities.
    valid : bool Tensor or array of shape [B, L], optional
        True where both modalities are real. The rest is neither example nor negative, and an
        example that is left without any negative does not count.
    negatives : {"recordings", "night", "both"}
        Other recordings at the same position, as in sleep2vec (arXiv 2602.13857); other
        positions of the same recording; or the mean of both losses.

    Returns
    -------
    loss : Tensor of shape []
        Mean cross-entropy; 0 where nothing counts.
    accuracy : Tensor of shape []
        Share of the examples that are most similar to their own counterpart.

    Raises
    ------
    TypeError
        If ``first`` or ``second`` is no Tensor.
    ValueError
        If shapes differ, an argument is not accepted, or the shape leaves no negative at all.

    Examples
    --------
    >>> import torch
    >>> from sleep2vec_sklearn.pretraining import info_nce_loss
    >>> views = torch.randn(2, 8, 20, 16, generator=torch.Generator().manual_seed(0))
    >>> loss, accuracy = info_nce_loss(views[0], views[0] + 0.1 * views[1])
    >>> loss.shape, float(accuracy)
    (torch.Size([]), 1.0)
    """
    return _info_nce(first, second, temperature, valid, negatives, None)


def dash_info_nce_loss(
    first: Tensor,
    second: Tensor,
    weights: Tensor,
    history: Tensor,
    temperature: float = 0.2,
    hard_scale: float = 0.1,
    pos_margin: float = 0.0,
    valid: Tensor | None = None,
    negatives: str = "recordings",
) -> tuple[Tensor, Tensor]:
    """DASH-InfoNCE: InfoNCE that looks harder at negatives of a similar sleeper and site.

    For the anchor ``i``, the negative ``j`` counts ``weights[i, j]`` times and its cosine is
    lowered by ``hard_scale * history[i, j]``; that of the positive is raised by ``pos_margin``
    (arXiv 2602.13857). Both directions use the matrices as they are: row ``i`` belongs to the
    anchor of sample ``i``, whichever modality the anchor comes from.

    Parameters
    ----------
    first, second : Tensor of shape [B, L, D]
        Projections of B samples at L positions; brought to unit length here.
    weights, history : Tensor or array of shape [B, B]
        As :func:`dash_weights` gives them. The diagonal is not read, and weights below 1e-6
        count as 1e-6.
    temperature : float
        Divides the cosine similarities.
    hard_scale : float
        Cosine taken off the negatives that belong to the anchor's own subject or recording.
    pos_margin : float
        Cosine added to the positive.
    valid : bool Tensor or array of shape [B, L], optional
        As in :func:`info_nce_loss`.
    negatives : {"recordings", "night", "both"}
        As in :func:`info_nce_loss`. The other positions of the same night are ordinary negatives:
        who the sleeper is, and where, is the same for all of them, so what is left to find is the
        time. ``weights`` plays no part in them.

    Returns
    -------
    loss : Tensor of shape []
        Mean cross-entropy; 0 where nothing counts.
    accuracy : Tensor of shape []
        Share of the examples that are most similar to their own counterpart, by the cosine alone.

    Raises
    ------
    TypeError
        If ``first`` or ``second`` is no Tensor.
    ValueError
        If shapes differ, an argument is not accepted, or the shape leaves no negative at all.

    Notes
    -----
    Differs from the authors' code in one thing: padded positions are left out (``valid``). There,
    they are examples, although both views hold the same encoded padding, and teach the network to
    tell apart what is equal. Without ``valid``, loss and gradients are theirs.

    Examples
    --------
    >>> import torch
    >>> from sleep2vec_sklearn.pretraining import dash_info_nce_loss
    >>> views = torch.randn(2, 8, 20, 16, generator=torch.Generator().manual_seed(0))
    >>> weights, history = torch.ones(8, 8), torch.zeros(8, 8)
    >>> loss, accuracy = dash_info_nce_loss(views[0], views[0] + 0.1 * views[1], weights, history)
    >>> loss.shape, float(accuracy)
    (torch.Size([]), 1.0)
    """
    _check_tensors(first=first, second=second)
    adjustment = _adjust(first, weights, history, temperature, hard_scale, pos_margin)
    return _info_nce(first, second, temperature, valid, negatives, adjustment)


def count_examples(valid: Tensor, negatives: str) -> int:
    """Epochs that the loss is a mean over; 0 where it has nothing to say, and is 0.

    Parameters
    ----------
    valid : bool Tensor of shape [B, L]
    negatives : {"recordings", "night", "both"}
        As in :func:`info_nce_loss`; of both, the smaller number.
    """
    dims = {"recordings": (0,), "night": (1,), "both": (0, 1)}[negatives]
    return min(int((valid & (valid.sum(dim=d, keepdim=True) > 1)).sum()) for d in dims)


def _adjust(
    first: Tensor, weights, history, temperature: float, hard_scale: float, pos_margin: float
) -> Tensor:
    """What is added to the logits, [B, B]."""
    _check_temperature(temperature)
    n_samples = len(first)
    weights, history = (
        torch.as_tensor(v, dtype=_full(first.dtype), device=first.device)
        for v in (weights, history)
    )
    for name, value in (("weights", weights), ("history", history)):
        if value.shape != (n_samples, n_samples):
            raise ValueError(
                f"{name} must be {(n_samples, n_samples)}, one row and one column per sample of "
                f"first, got {tuple(value.shape)}."
            )
    adjustment = weights.clamp_min(_LEAST_WEIGHT).log() - history * (hard_scale / temperature)
    return adjustment.fill_diagonal_(pos_margin / temperature)


def _full(dtype: torch.dtype) -> torch.dtype:
    """Half precision has three digits, and a temperature multiplies what is left out."""
    return torch.promote_types(dtype, torch.float32)


def _check_tensors(**values) -> None:
    for name, value in values.items():
        if not isinstance(value, Tensor):
            raise TypeError(
                f"{name} must be a Tensor, of which the loss has a gradient; got "
                f"{type(value).__module__}.{type(value).__name__}. Pass torch.as_tensor({name})."
            )


def _check_temperature(temperature: float) -> None:
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature!r}.")


def _info_nce(
    first: Tensor,
    second: Tensor,
    temperature: float,
    valid: Tensor | None,
    negatives: str,
    adjustment: Tensor | None,
) -> tuple[Tensor, Tensor]:
    _check_tensors(first=first, second=second)
    if first.ndim != 3 or first.shape != second.shape:
        raise ValueError(
            f"first and second must share one shape [B, L, D], got {tuple(first.shape)} and "
            f"{tuple(second.shape)}."
        )
    if valid is not None:
        valid = torch.as_tensor(valid, dtype=torch.bool, device=first.device)
        if valid.shape != first.shape[:2]:
            raise ValueError(f"valid must be {tuple(first.shape[:2])}, got {tuple(valid.shape)}.")
    _check_temperature(temperature)
    if negatives not in _NEGATIVES:
        raise ValueError(f"negatives must be one of {_NEGATIVES}, got {negatives!r}.")
    if valid is None:
        valid = torch.ones(first.shape[:2], dtype=torch.bool, device=first.device)
    # a NaN at a padded position would come back through the gradient
    first, second = (
        v.masked_fill(~valid[..., None], 0.0).to(_full(v.dtype)) for v in (first, second)
    )
    first, second = normalize(first, dim=-1), normalize(second, dim=-1)
    parts = []
    if negatives != "night":
        by_position = (first.transpose(0, 1), second.transpose(0, 1), valid.T)
        parts.append(_contrast(*by_position, temperature, adjustment))
    if negatives != "recordings":
        parts.append(_contrast(first, second, valid, temperature, None))
    losses, accuracies = zip(*parts, strict=True)
    return torch.stack(losses).mean(), torch.stack(accuracies).mean()


def _contrast(
    first: Tensor,
    second: Tensor,
    valid: Tensor,
    temperature: float,
    adjustment: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Loss and accuracy among the N items of each of G groups, [G, N, D]."""
    n_items = first.shape[1]
    if n_items < 2:
        raise ValueError(
            "no negatives: negatives='recordings' needs at least two recordings in a batch, "
            "'night' two positions."
        )
    with torch.autocast(first.device.type, enabled=False):
        similarity = first @ second.transpose(1, 2) / temperature
    # the own column stays, or a row of padding would be a softmax over nothing
    kept = valid[:, None, :] | torch.eye(n_items, dtype=torch.bool, device=first.device)
    target = torch.arange(n_items, device=first.device).expand(len(first), -1)
    counted = valid & (valid.sum(dim=1, keepdim=True) > 1)
    loss, hits = similarity.new_zeros(()), similarity.new_zeros(())
    for logits in (similarity, similarity.transpose(1, 2)):
        logits = logits.masked_fill(~kept, -torch.inf)
        hits = hits + ((logits.argmax(dim=-1) == target) & counted).sum()
        if adjustment is not None:
            logits = logits + adjustment
        rows = cross_entropy(logits.transpose(1, 2), target, reduction="none")
        loss = loss + (rows * counted).sum()
    n_examples = 2 * counted.sum().clamp_min(1)
    return loss / n_examples, hits / n_examples


def dash_weights(
    age=None,
    sex=None,
    site=None,
    subject=None,
    recording=None,
    *,
    n_samples: int | None = None,
    age_bandwidth: float = 20.0,
    sex_factor: float = 0.8,
    site_same: float = 1.3,
    site_different: float = 0.8,
    eps: float = 1e-6,
    compat: str | None = None,
):
    """How much each sample counts as a negative of each other one, and which are its own history.

    Two samples weigh ``exp(-|age_i - age_j| / age_bandwidth)``, times ``sex_factor`` if the sexes
    differ, times ``site_same`` or ``site_different``, plus ``eps``: the more alike two sleepers
    and their laboratories are, the harder the negative (DASH of arXiv 2602.13857). History weighs
    ``eps``. Each row is divided by the mean of its negatives.

    Parameters
    ----------
    age : array or Tensor of shape [B], optional
        Years, 0 to 120; NaN where it is not known.
    sex : array or Tensor of shape [B], optional
        0 female, 1 male, NaN where it is not known.
    site, subject, recording : array or Tensor of shape [B], optional
        Labels. A negative number, NaN or None stands for one that is not known, and is like no
        other.
    n_samples : int, optional
        B, where everything else is absent.
    age_bandwidth : float, default=20.0
        Years over which the weight falls to 1/e; infinity leaves age out.
    sex_factor : float, default=0.8
        Weight of the other sex; 1 leaves sex out.
    site_same, site_different : float, default=1.3 and 0.8
        Weights of the own site and of another; equal ones leave the site out.
    eps : float, default=1e-6
        Added to every weight; that of history, before the rows are normalised.
    compat : {None, "upstream"}
        "upstream" gives the authors' numbers; see the notes.

    Returns
    -------
    weights : ndarray or Tensor of shape [B, B]
        Row ``i`` belongs to the anchor ``i``: the mean over its negatives is 1. The diagonal is 1
        and is not a negative. float32 or float64 as ``age`` is; where that does not say, float64
        for arrays and float32 for Tensors.
    history : bool ndarray or Tensor of shape [B, B]
        True where two different samples are of one subject or of one recording.

    Raises
    ------
    ValueError
        If lengths differ, there are fewer than two samples, an age or a sex cannot be, or a
        constant is out of range.

    Notes
    -----
    Three things are better than in the authors' code. ``compat="upstream"`` takes them back: then
    negative ages and sexes are missing, ``subject`` is ignored, and unknown sites or recordings
    are all one.

    - History is the subject as well as the recording. There, another night of the same person is
      an ordinary negative, and a heavy one, as age, sex and site agree: a false negative.
    - A factor that is missing on either side takes its row's mean over the known pairs (1 if none)
      before the row is normalised. There, one missing age or sex makes a weight of ``eps``, so
      the sample is lost to all others as a negative, and its own row forgets what is known.
    - An unknown site or recording is like no other one. There, the absent label is compared as a
      word, so all samples without a recording are history of each other.

    In a row without any ordinary negative (a batch of one subject), history takes their place.

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn.pretraining import dash_weights
    >>> weights, history = dash_weights(
    ...     age=[60, 62, 25, np.nan], sex=[0, 0, 1, 1], subject=[7, 8, 9, 7]
    ... )
    >>> weights.round(2)
    array([[1.  , 1.73, 0.27, 0.  ],
           [1.87, 1.  , 0.26, 0.88],
           [0.97, 0.88, 1.  , 1.15],
           [0.  , 0.89, 1.11, 1.  ]])
    >>> history[0].tolist()
    [False, False, False, True]
    """
    _check_constants(age_bandwidth, sex_factor, site_same, site_different, eps, compat)
    upstream = compat == "upstream"
    facts = _as_facts(age, sex, site, subject, recording, n_samples, negative_is_missing=upstream)
    if len(facts.age) < 2 and not upstream:
        raise ValueError(
            f"{len(facts.age)} sample: the negatives of a sample are the others of its batch, so "
            "at least two are needed. Take a larger batch."
        )
    other = ~torch.eye(len(facts.age), dtype=torch.bool, device=facts.age.device)
    history = other & _history(facts, upstream)
    alone = ~(other & ~history).any(dim=1, keepdim=True)
    negative = other & (~history | alone)
    factors = (
        (torch.exp(-(facts.age[:, None] - facts.age).abs() / age_bandwidth), ~facts.age.isnan()),
        (_choose(facts.sex, 1.0, sex_factor, facts.age), ~facts.sex.isnan()),
        (_choose(facts.site, site_same, site_different, facts.age), facts.site >= 0),
    )
    product = _multiply_upstream(factors) if upstream else _multiply(factors, negative)
    weights = product.masked_fill(history & ~alone, 0.0) + eps
    n_negatives = negative.sum(dim=1, keepdim=True) + (eps if upstream else 0.0)
    mean = (weights * negative).sum(dim=1, keepdim=True) / n_negatives
    weights = (weights / mean.clamp_min(eps)).fill_diagonal_(1.0)
    if any(isinstance(v, Tensor) for v in (age, sex, site, subject, recording)):
        return weights, history
    return weights.numpy(), history.numpy()


class _Facts(NamedTuple):
    age: Tensor
    sex: Tensor
    site: Tensor
    subject: Tensor
    recording: Tensor


def _as_facts(age, sex, site, subject, recording, n_samples, *, negative_is_missing) -> _Facts:
    given = {"age": age, "sex": sex, "site": site, "subject": subject, "recording": recording}
    sizes = {name: len(value) for name, value in given.items() if value is not None}
    if n_samples is not None or not sizes:
        sizes["n_samples"] = n_samples
    if None in sizes.values():
        raise ValueError("nothing is given: state n_samples, the size of the batch.")
    if len(set(sizes.values())) > 1:
        found = ", ".join(f"{name} has {size}" for name, size in sizes.items())
        raise ValueError(f"one value per sample is needed, but {found}.")
    size = next(iter(sizes.values()))
    tensors = [v for v in given.values() if isinstance(v, Tensor)]
    device = tensors[0].device if tensors else "cpu"
    dtype = _precision(age, torch.float32 if tensors else torch.float64)
    numbers = [
        _as_numbers(given[name], name, size, negative_is_missing).to(device, dtype)
        for name in ("age", "sex")
    ]
    labels = [_as_labels(given[name], size).to(device) for name in ("site", "subject", "recording")]
    facts = _Facts(*numbers, *labels)
    _refuse((facts.age < 0) | (facts.age > OLDEST), facts.age, "age", f"0 to {OLDEST} years")
    _refuse(
        ~(facts.sex.isnan() | (facts.sex == 0) | (facts.sex == 1)),
        facts.sex,
        "sex",
        "0 (female) and 1 (male)",
    )
    return facts


def _precision(age, default: torch.dtype) -> torch.dtype:
    if isinstance(age, Tensor) and age.is_floating_point():
        return torch.promote_types(age.dtype, torch.float32)
    return torch.float32 if getattr(age, "dtype", None) == np.float32 else default


def _as_numbers(values, name: str, size: int, negative_is_missing: bool) -> Tensor:
    if values is None:
        return torch.full((size,), torch.nan)
    if not isinstance(values, Tensor):
        try:
            values = pd.Series(values).to_numpy(float, na_value=np.nan, copy=True)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{name} must hold numbers, and NaN where it is not known ({error}). "
                "Demography.from_metadata reads words."
            ) from error
        values = torch.from_numpy(values)
    values = values if values.is_floating_point() else values.double()
    return values.masked_fill(values < 0, torch.nan) if negative_is_missing else values


def _as_labels(values, size: int) -> Tensor:
    if values is None:
        return torch.full((size,), -1)
    if isinstance(values, Tensor):
        return values.nan_to_num(nan=-1.0)
    return torch.from_numpy(encode_labels(values))


def encode_labels(values) -> np.ndarray:
    """Labels as codes from 0, -1 for what is missing or negative."""
    values = pd.Series(values)
    codes = pd.factorize(values)[0].astype(np.int64)
    if pd.api.types.is_numeric_dtype(values):
        codes[(values < 0).to_numpy(bool, na_value=False)] = -1
    return codes


def _refuse(wrong: Tensor, values: Tensor, name: str, accepted: str) -> None:
    if wrong.any():
        i = int(wrong.nonzero()[0])
        raise ValueError(
            f"{name}[{i}] is {values[i].item():g}; accepted are {accepted}, and NaN where it is "
            "not known."
        )


def _history(facts: _Facts, upstream: bool) -> Tensor:
    if upstream:
        return _equal(facts.recording)
    same_subject, same_recording = (
        _equal(codes) & (codes >= 0) for codes in (facts.subject, facts.recording)
    )
    return same_subject | same_recording


def _equal(values: Tensor) -> Tensor:
    return values[:, None] == values


def _choose(values: Tensor, same: float, different: float, like: Tensor) -> Tensor:
    return torch.where(_equal(values), like.new_tensor(same), like.new_tensor(different))


def _multiply(factors: Sequence[tuple[Tensor, Tensor]], negative: Tensor) -> Tensor:
    product = torch.ones_like(factors[0][0])
    for values, known in factors:
        if known.all():
            product = product * values
            continue
        known = known[:, None] & known
        counted = known & negative
        n_counted = counted.sum(dim=1, keepdim=True)
        mean = values.masked_fill(~counted, 0.0).sum(dim=1, keepdim=True) / n_counted
        product = product * torch.where(known, values, mean.masked_fill(n_counted == 0, 1.0))
    return product


def _multiply_upstream(factors: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    (age, age_known), (sex, sex_known), (site, _) = factors
    known = age_known & sex_known
    likeness = (age * sex).masked_fill(~(known[:, None] & known), 0.0)
    return likeness.clamp(0.0, 1.0) * site


def _check_constants(age_bandwidth, sex_factor, site_same, site_different, eps, compat) -> None:
    if compat not in (None, "upstream"):
        raise ValueError(f"compat must be None or 'upstream', got {compat!r}.")
    if not age_bandwidth > 0:
        raise ValueError(f"age_bandwidth must be positive, got {age_bandwidth!r}.")
    if not 0 < eps < np.inf:
        raise ValueError(f"eps must be positive and finite, got {eps!r}.")
    factors = {"sex_factor": sex_factor, "site_same": site_same, "site_different": site_different}
    for name, value in factors.items():
        if not 0 <= value < np.inf:
            raise ValueError(f"{name} must be a finite number from 0, got {value!r}.")
