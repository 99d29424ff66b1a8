# SPDX-License-Identifier: BSD-3-Clause
"""Age, sex, site and subject of recordings, and the weights of negatives that follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .._validation import (
    NON_NEGATIVE,
    POSITIVE,
    Number,
    StrOptions,
    validate_parameter_constraints,
)
from ..errors import InvalidRecordingError
from ..recordings._demographics import OLDEST, match_rows, read_age, read_sex, read_text

__all__ = ["Demography", "dash_weights"]


_CONSTRAINTS = {
    "age_bandwidth": [Number(Real, 0, np.inf, closed="right")], "sex_factor": [NON_NEGATIVE],
    "site_same": [NON_NEGATIVE], "site_different": [NON_NEGATIVE], "eps": [POSITIVE],
    "compat": [StrOptions({"upstream"}), None],
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Demography:
    """Demographics of a cohort's recordings, as aligned arrays.

    Parameters
    ----------
    age : float ndarray of shape [N]
        Years; NaN where it is not known.
    sex : float ndarray of shape [N]
        0 female, 1 male, NaN where it is not known.
    site, subject, recording : int ndarray of shape [N]
        Codes; -1 where it is not known.

    Examples
    --------
    >>> import pandas as pd
    >>> from sleep2vec_sklearn.pretraining import Demography
    >>> table = pd.DataFrame({"age": [61, None], "sex": ["F", "M"]}, index=["n2", "n1"])
    >>> cohort = Demography.from_metadata(table, ["n1", "n2"], subjects=["a", "b"])
    >>> cohort.age
    array([nan, 61.])
    >>> weights, history = cohort.take([0, 1]).weights(age_bandwidth=10)
    """

    age: np.ndarray
    sex: np.ndarray
    site: np.ndarray
    subject: np.ndarray
    recording: np.ndarray

    @classmethod
    def from_metadata(
        cls, metadata: pd.DataFrame | None, recording_ids: Sequence | None = None,
        subjects: Sequence | None = None,
    ) -> Demography:  # fmt: skip
        """Read a table with one row per recording.

        Parameters
        ----------
        metadata : DataFrame or None
            Columns ``age``, ``sex``, ``site`` and ``subject``, where there are, by recordings' ids.
        recording_ids : sequence of str, optional
            In the order of the result; without ids row ``i`` belongs to recording ``i``.
        subjects : sequence, optional
            Of each recording; the column ``subject`` is read where it is None.

        Raises
        ------
        InvalidRecordingError
            If rows and recordings do not match, or an age or a sex cannot be.
        """
        n_recordings = _count(metadata, recording_ids, subjects)
        ids = [None] * n_recordings if recording_ids is None else list(recording_ids)
        rows = pd.DataFrame(index=ids) if metadata is None else match_rows(metadata, ids)
        labels = [f"recording {i if name is None else repr(name)}" for i, name in enumerate(ids)]
        subjects = [None] * n_recordings if subjects is None else subjects
        pairs = zip(subjects, _column(rows, "subject"), strict=True)
        return cls(
            age=np.array(list(map(read_age, _column(rows, "age"), labels)), dtype=float),
            sex=np.array(list(map(read_sex, _column(rows, "sex"), labels)), dtype=float),
            site=encode_labels([read_text(site) for site in _column(rows, "site")]),
            subject=encode_labels([read_text(own) or read_text(other) for own, other in pairs]),
            recording=encode_labels([i if n is None else str(n) for i, n in enumerate(ids)]),
        )

    def __len__(self) -> int:
        return len(self.age)

    def take(self, indices: Any) -> Demography:
        """The recordings at ``indices`` [B], in that order; an index may come twice."""
        indices = np.asarray(indices, dtype=int)
        return Demography(**{f.name: getattr(self, f.name)[indices] for f in fields(self)})

    def weights(self, **constants: Any) -> tuple[np.ndarray, np.ndarray]:
        """:func:`dash_weights` among the recordings: weights and history, [N, N]."""
        known = {f.name: getattr(self, f.name) for f in fields(self)}
        return dash_weights(**known, **constants)


def check_table(metadata: Any) -> None:
    """Refuse metadata that are no table."""
    if metadata is not None and not isinstance(metadata, pd.DataFrame):
        raise InvalidRecordingError(
            f"metadata must be a DataFrame with a row per recording, got {type(metadata).__name__}."
        )


def _count(
    metadata: pd.DataFrame | None, recording_ids: Sequence | None, subjects: Sequence | None
) -> int:
    check_table(metadata)
    sizes = [len(values) for values in (recording_ids, subjects) if values is not None]
    if len(set(sizes)) > 1:
        raise InvalidRecordingError(f"{sizes[1]} subjects are given for {sizes[0]} recordings.")
    if not sizes and metadata is None:
        raise InvalidRecordingError("nothing is given: pass ids, subjects, or a table of metadata.")
    return sizes[0] if metadata is None or sizes else len(metadata)


def _column(rows: pd.DataFrame, name: str) -> list:
    return rows[name].tolist() if name in rows else [None] * len(rows)


def dash_weights(
    age: Any = None, sex: Any = None, site: Any = None, subject: Any = None, recording: Any = None,
    *, n_samples: int | None = None, age_bandwidth: float = 20.0, sex_factor: float = 0.8,
    site_same: float = 1.3, site_different: float = 0.8, eps: float = 1e-6,
    compat: str | None = None,
) -> tuple[Any, Any]:  # fmt: skip
    """How much each sample counts as a negative of each other one, and which are its own history.

    Two samples weigh ``exp(-|age_i - age_j| / age_bandwidth)``, times ``sex_factor`` if the sexes
    differ, times ``site_same`` or ``site_different``, plus ``eps``: the more alike two subjects
    and their laboratories are, the harder the negative (DASH of arXiv 2602.13857). History weighs
    ``eps``. Each row is divided by the mean of its negatives.

    Parameters
    ----------
    age : array or Tensor of shape [B], optional
        Years, 0 to 120; NaN where it is not known.
    sex : array or Tensor of shape [B], optional
        0 female, 1 male, NaN where it is not known.
    site, subject, recording : array or Tensor of shape [B], optional
        Labels. A negative number, NaN or None is not known, and like no other.
    n_samples : int, optional
        B, where everything else is absent.
    age_bandwidth : float, default=20.0
        Years over which the weight falls to 1/e; infinity leaves age out.
    sex_factor, site_same, site_different : float, default=0.8, 1.3, 0.8
        Weights of the other sex, of the own site and of another.
    eps : float, default=1e-6
        Added to every weight; that of history, before the rows are normalised.
    compat : {None, "upstream"}
        "upstream" gives the authors' numbers; see the notes.

    Returns
    -------
    weights : ndarray or Tensor of shape [B, B]
        Row ``i`` belongs to the anchor ``i``: the mean over its negatives is 1, as is the diagonal.
        float32 or float64 as ``age`` is, or else float64 for arrays and float32 for Tensors.
    history : bool ndarray or Tensor of shape [B, B]
        True where two different samples are of one subject or of one recording.

    Raises
    ------
    ValueError
        If lengths differ or are below 2, an age or a sex cannot be, or a constant is out of range.

    Notes
    -----
    Three things are better than in the authors' code (``compat="upstream"``):

    - History is the subject as well as the recording. There, another night of the same person is
      an ordinary negative, and a heavy one: a false negative.
    - A factor that is missing on either side takes its row's mean over the known pairs (1 if none).
      There, one missing or negative age or sex makes a weight of ``eps``.
    - An unknown site or recording is like no other one. There, unknown ones are all alike.

    In a row without any ordinary negative (a batch of one subject), history takes their place.

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn.pretraining import dash_weights
    >>> ages, sexes = [60, 62, 25, np.nan], [0, 0, 1, 1]
    >>> weights, history = dash_weights(ages, sexes, subject=[7, 8, 9, 7])
    >>> weights[0].round(2).tolist(), history[0].tolist()
    ([1.0, 1.73, 0.27, 0.0], [False, False, False, True])
    """
    constants: dict[str, Any] = {"age_bandwidth": age_bandwidth, "eps": eps, "compat": compat}
    constants |= {"sex_factor": sex_factor, "site_same": site_same}
    constants["site_different"] = site_different
    validate_parameter_constraints(_CONSTRAINTS, constants, "dash_weights")
    upstream = compat == "upstream"
    columns = {"age": age, "sex": sex, "site": site, "subject": subject, "recording": recording}
    ages, sexes, sites, *codes = _read_columns(columns, n_samples, negative_is_missing=upstream)
    if len(ages) < 2 and not upstream:
        raise ValueError(
            f"{len(ages)} sample: the negatives of a sample are the others of its batch, so at "
            "least two are needed. Take a larger batch."
        )
    other = ~torch.eye(len(ages), dtype=torch.bool, device=ages.device)
    same_subject, same_recording = (_equal(c) & ((c >= 0) | upstream) for c in codes)
    history = other & (same_recording if upstream else same_subject | same_recording)
    alone = ~(other & ~history).any(dim=1, keepdim=True)
    negative = other & (~history | alone)
    factors = (
        (torch.exp(-(ages[:, None] - ages).abs() / age_bandwidth), ~ages.isnan()),
        (_choose(sexes, 1.0, sex_factor, ages), ~sexes.isnan()),
        (_choose(sites, site_same, site_different, ages), sites >= 0),
    )
    product = _multiply_upstream(factors) if upstream else _multiply(factors, negative)
    weights = product.masked_fill(history & ~alone, 0.0) + eps
    n_negatives = negative.sum(dim=1, keepdim=True) + (eps if upstream else 0.0)
    mean = (weights * negative).sum(dim=1, keepdim=True) / n_negatives
    weights = (weights / mean.clamp_min(eps)).fill_diagonal_(1.0)
    if any(isinstance(v, Tensor) for v in columns.values()):
        return weights, history
    return weights.numpy(), history.numpy()


def _read_columns(
    columns: Mapping[str, Any], n_samples: int | None, *, negative_is_missing: bool
) -> list[Tensor]:
    size = _common_size(columns, n_samples)
    tensors = [v for v in columns.values() if isinstance(v, Tensor)]
    device = tensors[0].device if tensors else "cpu"
    dtype = _precision(columns["age"], torch.float32 if tensors else torch.float64)
    age, sex = (
        _as_numbers(columns[name], name, size, negative_is_missing).to(device, dtype)
        for name in ("age", "sex")
    )
    codes = [_as_labels(columns[n], size).to(device) for n in ("site", "subject", "recording")]
    _refuse((age < 0) | (age > OLDEST), age, "age", f"0 to {OLDEST} years")
    known = sex.isnan() | (sex == 0) | (sex == 1)
    _refuse(~known, sex, "sex", "0 (female) and 1 (male)")
    return [age, sex, *codes]


def _common_size(columns: Mapping[str, Any], n_samples: int | None) -> int:
    sizes = {name: len(value) for name, value in columns.items() if value is not None}
    if n_samples is not None:
        sizes["n_samples"] = n_samples
    if not sizes:
        raise ValueError("all arguments are None; state n_samples, the size of the batch.")
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} has {size}" for name, size in sizes.items())
        raise ValueError(f"one value per sample is needed, but {listed}.")
    return next(iter(sizes.values()))


def _precision(age: Any, default: torch.dtype) -> torch.dtype:
    if isinstance(age, Tensor) and age.is_floating_point():
        return torch.promote_types(age.dtype, torch.float32)
    return torch.float32 if getattr(age, "dtype", None) == np.float32 else default


def _as_numbers(values: Any, name: str, size: int, negative_is_missing: bool) -> Tensor:
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


def _as_labels(values: Any, size: int) -> Tensor:
    if values is None:
        return torch.full((size,), -1)
    if isinstance(values, Tensor):
        return values.nan_to_num(nan=-1.0)
    return torch.from_numpy(encode_labels(values))


def encode_labels(values: Any) -> np.ndarray:
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
