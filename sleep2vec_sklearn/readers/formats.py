# SPDX-License-Identifier: BSD-3-Clause
"""Which reader takes which file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ..errors import ReadError
from .edf import EdfSource, list_edf_channels
from .header import read_header
from .mne import MNE_SUFFIXES, MneSource, list_mne_channels
from .montage import pick_montage
from .npz import NpzSource, describe_arrays

__all__ = ["SUFFIXES", "ChannelTable", "describe_channels", "open_source"]

_EDF_SUFFIXES = (".edf", ".rec", ".bdf")
_COLUMNS = ["label", "modality", "rate", "unit", "used", "why"]
SUFFIXES = (*_EDF_SUFFIXES, ".npz", *MNE_SUFFIXES)


def open_source(
    path: Path, modalities: Sequence[str] | None = None, channels: Mapping | None = None
) -> EdfSource | NpzSource | MneSource:
    """Open a recording with the reader its suffix asks for.

    Raises
    ------
    ReadError
        If the file is missing or no reader takes it.
    """
    if not path.exists():
        raise ReadError(f"{path}: no such file. Check the path.")
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
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if not path.exists():
        raise ReadError(f"{path}: no such file. Check the path.")
    if suffix == ".npz":
        return ChannelTable(describe_arrays(path), columns=_COLUMNS)
    edf = suffix in _EDF_SUFFIXES
    channels = list_edf_channels(read_header(path)) if edf else list_mne_channels(path)
    montage = pick_montage(channels, where=str(path), strict=False)
    rows = [
        (channel.label, modality or "", channel.rate, channel.dimension, used, why)
        for channel, (modality, used, why) in zip(channels, montage.reasons, strict=True)
    ]
    return ChannelTable(rows, columns=_COLUMNS)
