# SPDX-License-Identifier: BSD-3-Clause
"""Lazy sources of NPZ files in the layout of the sleep2vec authors.

One-dimensional arrays per channel at the token's width over 30 s, under their keys
(``eeg_original``, ``resp_nasal_original``, ``heartbeat``, ...) or the catalogue's names; ``stage5``
with one integer per epoch, ``ah_event`` and ``arousal_event`` at 1 Hz, and scalars such as ``ahi``
and ``tst``. ``rate_<key>`` and ``unit_<key>`` override the rate and unit of a channel.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import NoUsableChannelError, ReadError
from ..recordings._notes import Caution
from ..recordings.modality import EPOCH_SECONDS, MODALITIES, get_modality, list_modalities
from ..recordings.sources import (
    HIGHEST_RATE,
    LOWEST_RATE,
    Signal,
    SignalLayout,
    check_mapping,
)
from ._boundary import (
    DAY,
    LONGEST_DAYS,
    LONGEST_SECONDS,
    MOST_LABELS,
    BadFileError,
    check_archive,
    check_file,
    only_read_errors,
)
from ._edf_header import FileSource
from ._montage import check_derivations, check_unit
from ._scoring import Scoring, ScoringBuilder

_AROUSALS = ("respiratory", "spontaneous", "limb movement", "periodic limb movement")
_LABELS = ("stage5", "ah_event", "arousal_event")
_OLDER_KEYS = {"psg_heartbeat": "ibi", "psg_breath": "resp"}
_VECTOR_MAGNITUDE_RATE = 32.0
# of labels at 1 Hz, and bytes of a scalar
_LONGEST_TRACK = int(LONGEST_SECONDS)
_LARGEST_SCALAR = 4096


class NpzSource(FileSource):
    """Signals of one NPZ file.

    Array headers are read at construction, samples later. Actigraphy whose length fits 32 Hz
    rather than 1 Hz is the authors' vector magnitude, in g.

    Parameters
    ----------
    path, modalities
        As in :class:`~sleep2vec_sklearn.readers.EdfSource`.
    channels : mapping, optional
        Modality to key, or to None to leave it out.
    units : mapping, optional
        Modality or key to unit, in place of ``unit_<key>``.
    derivations : str, default="one"
        Without effect: a file holds one array of each modality.

    Raises
    ------
    ReadError
        If the file is corrupt, or holds pickled objects, which are never loaded.
    NoUsableChannelError
        If no key is a wanted modality.

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn.readers import NpzSource
    >>> np.savez("night.npz", spo2=np.full(480, 96.0), stage5=[0, 0, 1, 2], ahi=3.2)
    >>> source = NpzSource("night.npz")
    >>> source.layout, source.metadata
    ({'spo2': SignalLayout(rate=4.0, unit='%', n_samples=480)}, {'ahi': 3.2})
    """

    _format = "npz"

    def __init__(
        self, path: str | PathLike[str], *, modalities: str | Sequence[str] | None = None,
        channels: Mapping[str, str | None] | None = None, units: Mapping[str, str] | None = None,
        derivations: str = "one",
    ):  # fmt: skip
        check_derivations(derivations)
        self.path = Path(path)
        self.files: tuple[Path, ...] = (self.path,)
        self._shapes = _read_shapes(self.path)
        scalars = [key for key, (shape, _) in self._shapes.items() if shape == ()]
        self._scalars = load_arrays(self.path, scalars)
        keys = _choose_keys(self._shapes, modalities, channels, self.path)
        self._keys = {name: keys[name] for name in MODALITIES if name in keys}
        self._seconds = self._estimate_seconds()
        stated = check_mapping("units", units)
        self.layout = {
            name: self._layout_of(name, key, stated.get(name, stated.get(key)))
            for name, key in self._keys.items()
        }
        self.duration = max(layout.duration for layout in self.layout.values())
        self.start = None
        text = "units= names {!r}, which is no modality and no array of the file"
        kinds = [text.format(key) for key in stated if key not in {*MODALITIES, *self._shapes}]
        self.notes: tuple[str, ...] = tuple(map(Caution, kinds, kinds))
        settings = {f"{setting}_{key}" for setting in ("rate", "unit") for key in self._shapes}
        self.metadata = {
            key: value.item()
            for key, value in self._scalars.items()
            if key not in settings and value.nbytes <= _LARGEST_SCALAR
        }

    def _read(self, names: Sequence[str]) -> dict[str, Signal]:
        arrays = load_arrays(self.path, [self._keys[name] for name in names])
        signals = {}
        for name in names:
            flat = arrays[self._keys[name]].reshape(-1)
            values = np.ascontiguousarray(flat, dtype=np.float32)
            values.flags.writeable = False
            signals[name] = Signal(values, self.layout[name].rate, self.layout[name].unit)
        return signals

    def _settings(self) -> list[tuple[Any, ...]]:
        layout = self.layout
        return [
            (name, key, layout[name].rate, layout[name].unit) for name, key in self._keys.items()
        ]

    def own_scoring(self) -> Scoring:
        """``stage5``, ``ah_event`` and ``arousal_event``; may be empty."""
        labels = load_arrays(self.path, [key for key in _LABELS if key in self._shapes])
        build = ScoringBuilder()
        with only_read_errors(self.path, "the reader of stage5 and events"):
            if any(np.size(track) > _LONGEST_TRACK for track in labels.values()):
                raise BadFileError(
                    f"its labels last for more seconds than {_LONGEST_TRACK:,}, which are accepted."
                )
            codes = np.ravel(labels.get("stage5", ()))
            if len(codes) > MOST_LABELS:
                raise BadFileError(f"it has {len(codes):,} stages; accepted are {MOST_LABELS:,}.")
            for i, code in enumerate(codes):
                stage = int(code) if 0 <= code <= 4 else -1
                if 4 < code < 9:
                    build.unknown[f"stage {code:g}"] += 1
                build.add_stage(i * float(EPOCH_SECONDS), float(EPOCH_SECONDS), stage)
            if "ah_event" in labels:
                _add_runs(build, np.ravel(labels["ah_event"]), "apnea or hypopnea")
            arousals = labels.get("arousal_event")
            if arousals is not None and arousals.ndim == 2:
                for column, kind in zip(arousals.T, _AROUSALS, strict=False):
                    _add_runs(build, column, f"arousal ({kind})")
        return build.build(timed=False)

    def _estimate_seconds(self) -> float | None:
        """Length of the night, without regard to actigraphy."""
        if "stage5" in self._shapes:
            return np.prod(self._shapes["stage5"][0]) * float(EPOCH_SECONDS)
        others = [
            np.prod(self._shapes[key][0]) / get_modality(name).conditioning.rate
            for name, key in self._keys.items()
            if name != "actigraphy"
        ]
        return max(others, default=None)

    def _layout_of(self, name: str, key: str, stated: str | None) -> SignalLayout:
        modality = get_modality(name)
        count = int(np.prod(self._shapes[key][0]))
        rate, unit = modality.conditioning.rate, modality.unit
        if name == "actigraphy" and self._seconds and count / self._seconds > 5.0:
            rate, unit = _VECTOR_MAGNITUDE_RATE, "g"
        with only_read_errors(self.path, f"the reader of rate_{key}"):
            rate = float(self._scalars.get(f"rate_{key}", rate))
        unit = str(self._scalars.get(f"unit_{key}", unit))
        if stated is not None:
            unit = check_unit(name, stated, f"{self.path}: the unit of {key!r}")
        if unit not in modality.units or not LOWEST_RATE <= rate <= HIGHEST_RATE:
            raise ReadError(
                f"{self.path}: {key!r} has unit {unit[:40]!r} and rate {rate:g}; accepted are "
                f"{', '.join(modality.units)} and a rate of up to {HIGHEST_RATE:,.0f} Hz. Change "
                f"unit_{key} or rate_{key}."
            )
        if count / rate > LONGEST_SECONDS:
            raise ReadError(
                f"{self.path}: {key!r} lasts {count / rate / DAY:,.0f} days; accepted are up to "
                f"{LONGEST_DAYS}. Change rate_{key}, or split the file by night."
            )
        return SignalLayout(rate, unit, count)


def describe_arrays(path: Path) -> list[tuple[str, str, float, str, bool, str]]:
    """Label, modality, rate, unit, use and reason of every array of a file."""
    try:
        source = NpzSource(path)
    except NoUsableChannelError:
        return [(key, "", np.nan, "", False, "unknown key") for key in _read_shapes(path)]
    modalities = {key: name for name, key in source._keys.items()}
    rows = []
    for key in source._shapes:
        if key in modalities:
            name, layout = modalities[key], source.layout[modalities[key]]
            why = get_modality(name).description
            rows.append((key, name, layout.rate, layout.unit, True, why))
            continue
        known = key in source._scalars or key in _LABELS
        why = "labels or metadata" if known else "unknown key, or a modality held twice"
        rows.append((key, "", np.nan, "", False, why))
    return rows


def _choose_keys(
    shapes: Mapping[str, tuple[tuple[int, ...], str]],
    modalities: str | Sequence[str] | None,
    channels: Mapping[str, str | None] | None,
    path: Path,
) -> dict[str, str]:
    """Key of each modality."""
    wanted = list_modalities(modalities)
    given = check_mapping("channels", channels)
    overrides = {get_modality(name).name: key for name, key in given.items()}
    names = {**{m.upstream_key: m.name for m in MODALITIES.values()}, **_OLDER_KEYS}
    names.update({name: name for name in MODALITIES})
    keys: dict[str, str] = {}
    for key, (shape, kind) in shapes.items():
        name = names.get(key, "")
        if name in wanted and name not in overrides and len(shape) in (1, 2) and kind in "fiu":
            keys.setdefault(name, key)
    for name, choice in overrides.items():
        if choice is None:
            continue
        if not isinstance(choice, str) or choice not in shapes:
            raise ReadError(f"{path} has no array {choice!r}. It has {', '.join(sorted(shapes))}.")
        shape, kind = shapes[choice]
        if kind not in "fiub" or not shape:
            raise ReadError(
                f"{path}: channels[{name!r}] names {choice!r}, an array of shape {shape} that "
                "holds no samples. Name one of real numbers."
            )
        if name in wanted:
            keys[name] = choice
    if not keys:
        raise NoUsableChannelError(
            f"{path} has no usable channel; found {', '.join(sorted(shapes)) or 'nothing'}. "
            "Accepted keys are the catalogue's names and those of the authors, e.g. "
            "'eeg_original'; name one by hand with channels={'eeg': 'key'}."
        )
    return keys


def _read_shapes(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and kind of every array but those of pickled objects."""
    shapes = {}
    with _open_archive(path) as archive:
        for name in archive.namelist():
            if name.endswith(".npy"):
                shape, dtype = _read_head(archive, name)
                shapes[name.removesuffix(".npy")] = (shape, dtype.kind)
    return {key: value for key, value in shapes.items() if value[1] != "O"}


def load_arrays(path: Path, keys: Sequence[str]) -> dict[str, np.ndarray]:
    """Arrays of an NPZ file; a KeyError for one that it lacks."""
    found = {}
    with _open_archive(path) as archive:
        for key in keys:
            _read_head(archive, f"{key}.npy")
            # not by np.load, which takes a member without .npy for it
            with archive.open(f"{key}.npy") as file:
                found[key] = np.lib.format.read_array(file, allow_pickle=False)
    return found


def _read_head(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array, for whose announced size numpy would take memory."""
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(file)
        size = math.prod(shape) * dtype.itemsize + file.tell()
    held = archive.getinfo(name).file_size
    if dtype.kind != "O" and (size != held or min(shape, default=0) < 0):
        raise BadFileError(f"{name!r} announces {size:,} bytes and has {held:,}.")
    return shape, dtype


@contextmanager
def _open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    check_file(path)
    with only_read_errors(path, "NumPy"), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        check_archive(path, members)
        if len({member.filename for member in members}) < len(members):
            raise BadFileError("two of its arrays have one name.")
        yield archive


def _add_runs(build: ScoringBuilder, track: np.ndarray, text: str) -> None:
    """Add the runs of ones of a 1-Hz track as events."""
    active = np.concatenate([[0], (np.asarray(track) > 0).astype(np.int8), [0]])
    edges = np.flatnonzero(np.diff(active))
    if len(edges) > 2 * MOST_LABELS:
        raise BadFileError(f"it has {len(edges) // 2:,} events; accepted are {MOST_LABELS:,}.")
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        build.add_event(float(start), float(stop - start), text)
