# SPDX-License-Identifier: BSD-3-Clause
"""Which reader takes which file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ..errors import ReadError
from ..recordings import SignalLayout, get_modality, list_modalities
from ._derived import SERIES_RATE, DerivedSource, choose_recipes, sources_of
from ._edf_header import read_header
from ._montage import pick_montage
from .edf import EdfSource, list_edf_channels
from .mne import MNE_SUFFIXES, MneSource, list_mne_channels
from .npz import NpzSource, describe_arrays

__all__ = [
    "SUFFIXES",
    "ChannelTable",
    "describe_channels",
    "open_source",
]

_EDF_SUFFIXES = (".edf", ".rec", ".bdf")
_COLUMNS = ["label", "modality", "rate", "unit", "used", "why"]
SUFFIXES = (*_EDF_SUFFIXES, ".npz", *MNE_SUFFIXES)


def open_source(
    path: Path,
    modalities: Sequence[str] | None = None,
    channels: Mapping | None = None,
    derive: bool = True,
) -> EdfSource | NpzSource | MneSource | DerivedSource:
    """Open a recording with the reader its suffix asks for.

    Parameters
    ----------
    path : Path
        The file.
    modalities : sequence of str, optional
        Only these.
    channels : mapping, optional
        Modality to channel, or to None to leave it out, be it in the file or derived.
    derive : bool, default=True
        Add the modalities that the file's sensors imply.

    Raises
    ------
    ReadError
        If the file is missing or no reader takes it.
    """
    if not path.exists():
        raise ReadError(f"{path}: no such file. Check the path.")
    if not derive:
        return _open(path, modalities, channels)
    wanted = None if modalities is None else list_modalities(modalities)
    source = _open(path, None if wanted is None else sources_of(wanted), channels)
    recipes = choose_recipes(source.layout, _left_out(wanted, channels))
    if recipes:
        return DerivedSource(source, recipes, wanted)
    if wanted is None or set(source.layout) <= set(wanted):
        return source
    return _open(path, wanted, channels)


def _left_out(wanted: list[str] | None, channels: Mapping | None) -> list[str]:
    given = {get_modality(name).name for name in channels or {}}
    unwanted = [] if wanted is None else [n for n in list_modalities(None) if n not in wanted]
    return [*given, *unwanted]


def _open(path: Path, modalities, channels) -> EdfSource | NpzSource | MneSource:
    suffix = path.suffix.lower()
    if suffix in _EDF_SUFFIXES:
        return EdfSource(path, modalities=modalities, channels=channels)
    if suffix == ".npz":
        return NpzSource(path, modalities=modalities, channels=channels)
    return MneSource(path, modalities=modalities, channels=channels)


class ChannelTable(pd.DataFrame):
    """A DataFrame that prints whole, without its index."""

    @property
    def _constructor(self):
        return pd.DataFrame

    def __repr__(self) -> str:
        shown = pd.DataFrame(self).assign(used=["yes" if used else "no" for used in self["used"]])
        for column in shown.columns.difference(["rate"]):
            texts = shown[column].astype(str)
            width = max([len(column), *texts.str.len()])
            shown[column] = texts.str.ljust(width)
        return shown.to_string(index=False, justify="left", max_colwidth=None)


def describe_channels(path) -> pd.DataFrame:
    """List the channels of a recording and what the library makes of each.

    Rows for modalities that are derived from a channel follow those of the file; their label is
    the channel's, with "derived" in brackets.

    Parameters
    ----------
    path : path-like
        EDF, EDF+, BDF, NPZ, or anything MNE-Python reads.

    Returns
    -------
    DataFrame
        Columns ``label``, ``modality`` (empty for none), ``rate`` in Hz, ``unit`` as the file
        states it, ``used`` and ``why``.

    Raises
    ------
    ReadError
        If the file cannot be read.

    Examples
    --------
    >>> from sleep2vec_sklearn import describe_channels, make_sleep_cohort
    >>> from sleep2vec_sklearn.datasets import write_edf_cohort
    >>> names = ["eeg", "effort"]
    >>> night = make_sleep_cohort(1, hours=0.5, modalities=names, missing=0, random_state=0)
    >>> path = write_edf_cohort(night, "study")[0]
    >>> describe_channels(path)[["label", "modality", "rate", "used"]]
                    label modality   rate  used
    0               C3-M2      eeg  256.0  True
    1            THOR RES   effort   32.0  True
    2  THOR RES (derived)     resp    4.0  True
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if not path.exists():
        raise ReadError(f"{path}: no such file. Check the path.")
    if suffix == ".npz":
        rows = describe_arrays(path)
        return ChannelTable([*rows, *_derived_rows(rows)], columns=_COLUMNS)
    edf = suffix in _EDF_SUFFIXES
    channels = list_edf_channels(read_header(path)) if edf else list_mne_channels(path)
    montage = pick_montage(channels, where=str(path), strict=False)
    rows = [
        (channel.label, modality or "", channel.rate, channel.dimension, used, why)
        for channel, (modality, used, why) in zip(channels, montage.reasons, strict=True)
    ]
    return ChannelTable([*rows, *_derived_rows(rows)], columns=_COLUMNS)


def _derived_rows(rows: Sequence[tuple]) -> list[tuple]:
    """Rows of what read_recording derives by default."""
    used = {row[1]: row for row in rows if row[4]}
    layout = {name: SignalLayout(row[2], "", 0) for name, row in used.items() if name}
    return [
        (
            f"{used[recipe.source][0]} (derived)",
            name,
            SERIES_RATE,
            get_modality(name).unit,
            True,
            f"derived from {recipe.source}: {recipe.how}",
        )
        for name, recipe in choose_recipes(layout).items()
    ]
