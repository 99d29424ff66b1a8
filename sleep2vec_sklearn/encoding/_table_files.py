# SPDX-License-Identifier: BSD-3-Clause
"""Files of embedding tables: Parquet and .npz, and .csv and .dta for other programs.

The provenance is a JSON document: the metadata of the Parquet file's schema, an array in .npz, and
a file beside the exports, which cannot hold it.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._files import atomic_file, check_format_version, import_pyarrow
from .._untrusted import check_npz, open_parquet, parse_json, shown
from .._warnings import listed
from ..errors import InvalidRecordingError, ReadError
from ..recordings.stages import SleepStage
from ._table_rows import (
    DIGEST_KEY,
    METADATA_KEY,
    OFFSET,
    PYARROW_HINT,
    SECONDS,
    ContentDigest,
    RepeatedRows,
    TableHead,
    TableRows,
    map_member,
    write_npz,
    write_parquet,
)
from .inputs import RowKeys

if TYPE_CHECKING:
    from .table import EmbeddingTable

FORMAT_VERSION = 1
_COVARIATE = "covariate/"  # before its name in .npz
# columns that say where a night is and whose; the table has names and subjects of its own
_LEFT_OUT = ("recording", "subject", "id", "path", "hypnogram")
STORED = "Accepted are .parquet and .npz files written by EmbeddingTable.save()."
_SAVED = "Accepted are .parquet and .npz, which are read back, and the exports .csv and .dta."
_SHOWN = 3
_STATA_CATEGORIES = 20  # with more values, a text is a note
_ROWS_AT_ONCE = 32768
_STATA_COLUMNS, _STATA_NAME, _STATA_LABEL, _STATA_TEXT = 32767, 32, 80, 2045
_STATA_RESERVED = re.compile(
    r"_all|_b|byte|_coef|_cons|double|float|if|in|int|long|_n|_N|_pi|_pred|_rc|_skip|str\d+|strL|"
    "using|with"
)
# keys, values, coverage, provenance, offsets, covariates
_Contents = tuple[RowKeys, np.ndarray, np.ndarray, dict, RepeatedRows | None, pd.DataFrame | None]


def covariates_of(metadata: Any, keys: RowKeys, reserved: Sequence[str]) -> pd.DataFrame:
    """What ``metadata`` says of each name of ``keys``, in their order; the index holds the names.

    ``reserved`` are names of columns that the table itself has.
    """
    table = metadata if isinstance(metadata, pd.DataFrame) else getattr(metadata, "metadata", None)
    if not isinstance(table, pd.DataFrame):
        raise InvalidRecordingError(
            f"metadata is a {type(metadata).__name__}; accepted is a DataFrame with a row per "
            "recording, its name in the index or a column 'recording', or a Cohort."
        )
    names = list(map(str, keys.names))
    ids = table["recording"] if "recording" in table.columns else table.index
    places: dict[str, list[int]] = {}
    for place, name in enumerate(map(str, ids)):
        places.setdefault(name, []).append(place)
    missing = [name for name in names if name not in places]
    if missing:
        raise InvalidRecordingError(
            f"metadata has no row for {len(missing)} of the {len(names)} recordings of the table "
            f"({listed([*map(repr, missing)], _SHOWN)}); its rows are called "
            f"{listed([*map(repr, places)], _SHOWN) or 'nothing'}. Put the names into its index, "
            "with set_index, or a column 'recording'; metadata.reindex(table.X.names) adds empty "
            "rows."
        )
    repeated = [name for name in names if len(places[name]) > 1]
    if repeated:
        raise InvalidRecordingError(
            f"metadata has several rows for {len(repeated)} recordings of the table "
            f"({listed([*map(repr, repeated)], _SHOWN)}); accepted is one each. Drop the others, "
            "as by metadata[~metadata.index.duplicated()]."
        )
    table = table.drop(columns=[name for name in _LEFT_OUT if name in table.columns])
    table = table.set_axis([str(name) for name in table.columns], axis=1)
    taken = set(reserved).intersection(table.columns)
    taken.update(table.columns[table.columns.duplicated()])
    if taken:
        raise InvalidRecordingError(
            f"metadata has columns of names that are taken: {listed(sorted(taken), _SHOWN)}. "
            "Rename them, by metadata.rename(columns={...})."
        )
    table = table.iloc[[places[name][0] for name in names]]
    columns = {name: _plain(column) for name, column in table.items()}
    index = pd.Index(keys.names.tolist(), name="recording", tupleize_cols=False)
    return pd.DataFrame(columns, index=table.index).set_axis(index, axis=0)


def _plain(column: pd.Series) -> pd.Series:
    """A column of numbers, booleans, dates, text or categories; what is mixed becomes text."""
    dtype: Any = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        kind = pd.api.types.infer_dtype(dtype.categories)
        plain = kind in ("string", "integer", "floating", "empty")
        return column if plain else column.cat.rename_categories(str)
    if dtype.kind == "m":
        return column.dt.total_seconds()
    if dtype.kind in "iufbM" or isinstance(dtype, pd.StringDtype | pd.DatetimeTZDtype):
        return column
    column = column.astype(object)
    kind = pd.api.types.infer_dtype(column, skipna=True)
    if kind in ("date", "datetime", "datetime64"):
        try:
            return pd.to_datetime(column)
        except ValueError:  # of several time zones, or out of bounds
            kind = "mixed"
    if kind in ("integer", "boolean"):
        return column.astype("Int64" if kind == "integer" else "boolean")
    if kind in ("empty", "floating", "mixed-integer-float", "decimal"):
        return column.map(float, na_action="ignore").astype("Float64").astype(float)
    return column.map(str, na_action="ignore").astype("string")


def write_table(path: Path, table: EmbeddingTable, covariates: pd.DataFrame | None) -> None:
    """Write a file of the kind that its suffix says, all of it or nothing."""
    check_suffix(path)
    if is_stored(path):
        write_parts(path, table.X, len(table), table.provenance, covariates, [table.stored_rows()])
    else:
        _export(path, table.to_frame(covariates), _document(table.provenance, covariates))


def is_stored(path: Path) -> bool:
    """Whether a file is one that is read back and may be written part by part."""
    return path.suffix in (".parquet", ".npz")


def check_suffix(path: Path) -> None:
    """Raise a ValueError for a kind of file that tables are not written to."""
    if path.suffix not in (".parquet", ".npz", ".csv", ".dta"):
        raise ValueError(f"{path}: unknown kind of file {path.suffix!r}. {_SAVED}")


def write_parts(
    path: Path, keys: RowKeys, n_rows: int, provenance: Mapping, covariates: pd.DataFrame | None,
    parts: Iterable[TableRows],
) -> None:  # fmt: skip
    """Write a .parquet or .npz file of rows that come one after the other; all or nothing.

    ``keys`` has the names that the rows index.
    """
    columns: dict[str, Any] = {} if covariates is None else dict(covariates.items())
    is_npz = path.suffix == ".npz"
    if is_npz:
        columns = {f"{_COVARIATE}{name}": _for_numpy(column) for name, column in columns.items()}
    names = {"recording": _storable(keys.names), "subject": _storable(keys.subjects)}
    head = TableHead(names, columns, _document(provenance, covariates), n_rows)
    with atomic_file(path) as file:
        if is_npz:
            write_npz(file, head, parts, path.parent)
        else:
            write_parquet(file, head, parts)


def _document(provenance: Mapping, covariates: pd.DataFrame | None) -> dict:
    document = {**provenance, "format_version": FORMAT_VERSION}
    if covariates is not None:
        document["covariates"] = covariates.columns.tolist()
    return json.loads(json.dumps(document, sort_keys=True))


def _for_numpy(column: pd.Series) -> np.ndarray:
    """The same as numbers, dates or text."""
    values = _for_stata(column)
    is_text = values.dtype.kind not in "iufbM"
    values = values.astype(object).where(values.notna(), "") if is_text else values
    return values.to_numpy(dtype=np.str_ if is_text else None)


def _export(path: Path, frame: pd.DataFrame, document: dict) -> None:
    """Write a table for other programs, and its provenance beside it."""
    for name, column in frame.items():
        if pd.api.types.is_bool_dtype(column.dtype):
            # programs differ in their words for true
            frame[name] = column.astype("Int8" if column.hasnans else np.int8)
    data = io.BytesIO()
    if path.suffix == ".csv":
        frame.to_csv(data, index=False, encoding="utf-8", lineterminator="\n")
    else:
        document["columns"] = _to_stata(data, path, frame, document)
    beside = path.with_name(f"{path.name}.json")
    # left in reverse order, so that a full disk leaves both as they were
    with atomic_file(beside) as described, atomic_file(path) as file:
        described.write(json.dumps(document, indent=1, sort_keys=True).encode())
        file.write(data.getbuffer())


def _to_stata(data: io.BytesIO, path: Path, frame: pd.DataFrame, document: dict) -> dict[str, str]:
    """Write Stata's format 118; returns the column behind each variable that is called otherwise.

    Its rules: https://www.stata.com/help.cgi?dta_118
    """
    if frame.shape[1] > _STATA_COLUMNS:
        raise ValueError(
            f"{path}: the table has {frame.shape[1]} columns, Stata reads {_STATA_COLUMNS}. Embed "
            "with fusion='mean', or save a .csv."
        )
    variables = _stata_names(frame.columns)
    columns = {new: _for_stata(_coded(frame[old])).rename(new) for old, new in variables.items()}
    dates = {
        name: "td" if (column.dropna() == column.dropna().dt.normalize()).all() else "tc"
        for name, column in columns.items()
        if column.dtype.kind == "M"
    }
    texts = [column for column in columns.values() if column.dtype == object]
    long = [c.name for c in texts if c.str.encode("utf-8").str.len().max() > _STATA_TEXT]
    stages = {int(stage): stage.name for stage in SleepStage}
    try:
        pd.DataFrame(columns).to_stata(
            data, version=118, write_index=False, convert_dates=dates,
            data_label=f"embeddings by {document.get('checkpoint')}"[:_STATA_LABEL],
            variable_labels={new: old[:_STATA_LABEL] for old, new in variables.items()},
            value_labels={"stage": stages} if "stage" in columns else None,
            convert_strl=long,
        )  # fmt: skip
    except ValueError as error:
        raise ValueError(f"{path}: Stata's format cannot hold the table: {error}") from error
    return {new: old for old, new in variables.items() if new != old}


def _stata_names(names: Sequence[str] | pd.Index) -> dict[str, str]:
    """Letters, digits and underscores, at most 32 of them, no reserved word, all different."""
    variables: dict[str, str] = {}
    used: set[str] = set()
    for name in names:
        valid = re.sub(r"[^A-Za-z0-9_]", "_", name)
        if not re.match("[A-Za-z_]", valid) or _STATA_RESERVED.fullmatch(valid):
            valid = f"v_{valid}"
        variable, number = valid[:_STATA_NAME], 1
        while variable in used:
            number += 1
            variable = f"{valid[: _STATA_NAME - 1 - len(str(number))]}_{number}"
        used.add(variable)
        variables[name] = variable
    return variables


def _coded(column: pd.Series) -> pd.Series:
    """Text of few values as categories, which Stata's ``i.sex`` takes; it takes no text."""
    is_text = column.dtype == object or isinstance(column.dtype, pd.StringDtype)
    if column.name in _LEFT_OUT or not is_text:
        return column
    texts = column.astype(object).where(column.notna()).replace("", None)
    values = sorted(set(texts.dropna()), key=str)
    if not 0 < len(values) <= _STATA_CATEGORIES or max(map(len, map(str, values))) > _STATA_LABEL:
        return column
    return pd.Series(pd.Categorical(texts, values), column.index, name=column.name)


def _for_stata(column: pd.Series) -> pd.Series:
    """The same in a type that Stata has: numbers, dates without a zone, text without gaps."""
    dtype: Any = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        numbers = pd.api.types.is_numeric_dtype(dtype.categories.dtype) and len(dtype.categories)
        return column.astype(float) if numbers else column
    if isinstance(dtype, pd.DatetimeTZDtype):
        return column.dt.tz_localize(None)
    if pd.api.types.is_numeric_dtype(dtype):
        whole = pd.api.types.is_extension_array_dtype(dtype)
        return column.astype(float) if whole else column
    return column if dtype.kind == "M" else column.astype(object).where(column.notna(), "").map(str)


def read_table(path: Path) -> _Contents:
    """Read what :func:`write_table` wrote to a .parquet or .npz file."""
    if path.suffix in (".csv", ".dta"):
        raise ReadError(
            f"{path}: {path.suffix} files are exports for other programs and are not read back. "
            "Save the table as .parquet or .npz as well, and load that."
        )
    readers: dict[str, Callable[[Path], _Contents]] = {
        ".parquet": _read_parquet, ".npz": _read_npz
    }  # fmt: skip
    if path.suffix not in readers:
        raise ReadError(f"{path}: unknown kind of file {path.suffix!r}. {STORED}")
    contents = readers[path.suffix](path)
    _check_contents(*contents)
    return contents


def _check_contents(
    keys: RowKeys, values: np.ndarray, coverage: np.ndarray, document: dict,
    offsets: RepeatedRows | None, covariates: pd.DataFrame | None,
) -> None:  # fmt: skip
    """Compare the parts of a table with each other; a ValueError says which do not fit."""
    for name, least in {"features": 1, "modalities": 0}.items():
        names = document[name]
        is_list = isinstance(names, list) and all(isinstance(n, str) for n in names)
        if not is_list or len({*names}) < len(names) or len(names) < least:
            raise ValueError(f"{name} are no different names")
    kinds = {"checkpoint_sha256": str, "contents": dict, "signals": list, "center": str}
    for name, kind in kinds.items():
        if not isinstance(document.get(name), kind | None):
            raise ValueError(f"{name} is {shown(document[name])}")
    center = document.get("center")
    if center not in (None, "night") or (center and offsets is None and keys.unit == "epoch"):
        raise ValueError(f"center is {shown(center)}, and the means of nights are not there")
    shapes = {"values": (values, "features"), "coverage": (coverage, "modalities")}
    for name, (matrix, columns) in shapes.items():
        shape = (len(keys), len(document[columns]))
        if matrix.shape != shape or matrix.dtype.kind not in "fiu":
            raise ValueError(f"{name} of shape {matrix.shape}; accepted are numbers of {shape}")
        blocks = (matrix[i : i + _ROWS_AT_ONCE] for i in range(0, len(matrix), _ROWS_AT_ONCE))
        # unusable nights are NaN
        if any(np.isinf(block).any() for block in blocks):
            raise ValueError(f"{name} are infinite")
    names = list(keys.names)
    if len(keys.subjects) != len(names) or len({*names}) < len(names) or None in names:
        raise ValueError("recordings are no different names, each with a subject")
    per_row = [(keys.recording_index, len(names))]
    if keys.epoch_index is not None:
        per_row += [(keys.epoch_index, 2**31), (keys.stages + 1, len(SleepStage) + 1)]
    if offsets is not None:
        different = offsets.different
        if different.ndim != 2 or different.shape[1] != values.shape[1]:
            raise ValueError(f"offsets of shape {different.shape} for {values.shape[1]} features")
        per_row.append((offsets.index, len(different)))
    for numbers, most in per_row:
        fits = numbers.shape == (len(keys),) and numbers.dtype.kind in "iu"
        if not fits or (len(numbers) and not 0 <= numbers.min() <= numbers.max() < most):
            raise ValueError(f"indices of rows that are not 0 to {most - 1}, one a row")
    if covariates is not None and not all(isinstance(name, str) for name in covariates.columns):
        raise ValueError("covariates have no names")


def _read_parquet(path: Path) -> _Contents:
    pa, _ = import_pyarrow(PYARROW_HINT)
    with open_parquet(path, PYARROW_HINT) as file:
        columns, n_rows = set(file.schema_arrow.names), file.metadata.num_rows
        text: Any = (file.schema_arrow.metadata or {}).get(METADATA_KEY)
        document = _checked(path, text)
        stated = (file.metadata.metadata or {}).get(DIGEST_KEY)
        is_announced = document.pop("checksum", None)
        digest = ContentDigest() if stated or is_announced else None
        covariates = document.pop("covariates", None)
        features = document["features"]
        seconds = [f"{name}{SECONDS}" for name in document["modalities"]]
        means = [f"{name}{OFFSET}" for name in features]
        means = means if columns.issuperset(means) else []
        by_epoch = ["epoch", "stage"] if columns.intersection(("epoch", "stage")) else []
        values = np.empty((n_rows, len(features)), dtype=np.float32)
        numbers: dict[Any, int] = {}
        keys, coverage, offsets, described, n_read = [], [], [], [], 0
        # as a whole it would be in memory twice
        for batch in file.iter_batches(_ROWS_AT_ONCE):
            filled = _fill(values[n_read : n_read + len(batch)], batch, features)
            n_read += len(batch)
            rows, first = _number(batch["recording"], numbers)
            keys.append([rows, *(batch[name].to_numpy() for name in by_epoch)])
            of_names = batch.select(["subject", *(covariates or [])])
            described.append(of_names.take(pa.array(first, pa.int32())))
            coverage.append(_fill(None, batch, seconds))
            if means:
                offsets.append(RepeatedRows.of(_fill(None, batch, means)))
            if digest is not None:
                epochs, stages = keys[-1][1:] if by_epoch else (None, rows)
                centers = offsets[-1] if means else None
                digest.add(TableRows(rows, epochs, stages, filled, coverage[-1], centers))
    table = pa.Table.from_batches(described)
    index = [np.concatenate(column) for column in zip(*keys, strict=True)]
    if digest is not None:
        described = table.add_column(0, "recording", [list(numbers)])
        if stated != digest.finish(index[0], described, text).encode():
            raise ReadError(
                f"{path}: damaged, its rows have another hash than it states. Write it again."
            )
    row_keys = RowKeys(list(numbers), table["subject"].to_pylist(), *index)
    frame = None
    if covariates is not None:
        frame = table.select(covariates).to_pandas()
        frame.index = row_keys.names
    centers = RepeatedRows.concat(offsets) if offsets else None
    return row_keys, values, np.concatenate(coverage), document, centers, frame


def _fill(matrix: np.ndarray | None, batch: Any, names: Sequence[str]) -> np.ndarray:
    """Columns of a batch side by side, in ``matrix`` if there is one."""
    if matrix is None:
        matrix = np.empty((len(batch), len(names)), dtype=np.float32)
    for column, name in enumerate(names):
        matrix[:, column] = batch[name].to_numpy(zero_copy_only=False)
    return matrix


def _number(names: Any, numbers: dict[Any, int]) -> tuple[np.ndarray, list[int]]:
    """The number of each name, and the first row of those that are new in ``numbers``."""
    coded = names.dictionary_encode()
    codes, known = coded.indices.to_numpy(), len(numbers)
    of_code = [numbers.setdefault(name, len(numbers)) for name in coded.dictionary.to_pylist()]
    first = np.unique(codes, return_index=True)[1]
    return np.array(of_code)[codes], [
        row for row, number in zip(first.tolist(), of_code, strict=True) if number >= known
    ]


def _read_npz(path: Path) -> _Contents:
    try:
        check_npz(path)
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile) or "provenance" not in file:
                _checked(path, None)
            document = _checked(path, str(file["provenance"]))
            by_epoch = ["epoch", "stage"] if "epoch" in file or "stage" in file else []
            epochs = [_whole_numbers(file[name]) for name in by_epoch]
            names, subjects = file["recording"].tolist(), file["subject"].tolist()
            index = _whole_numbers(file["recording_index"])
            keys = RowKeys(names, subjects, index, *epochs)
            mapped = {name: map_member(path, file.zip, name) for name in ("values", "coverage")}
            values, coverage = (
                _floats(file[name] if matrix is None else matrix) for name, matrix in mapped.items()
            )
            offsets, covariates = None, None
            if "offsets" in file:
                index = _whole_numbers(file["offset_index"])
                offsets = RepeatedRows(_floats(file["offsets"]), index)
            if "covariates" in document:
                fields = {n: file[f"{_COVARIATE}{n}"] for n in document.pop("covariates")}
                covariates = pd.DataFrame(fields, index=keys.names).replace("", None)
            return keys, values, coverage, document, offsets, covariates
    except zipfile.BadZipFile as error:
        raise ReadError(f"{path}: damaged or truncated ({error}). Write it again.") from error


def _floats(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind != "f":
        raise ValueError(f"numbers of dtype {array.dtype}")
    return array


def _whole_numbers(array: np.ndarray) -> np.ndarray:
    """Indices that 32 bits hold, as they would be cut to."""
    if array.dtype.kind not in "iu" or (array.size and np.abs(array.astype(float)).max() >= 2**31):
        raise ValueError(f"indices of dtype {array.dtype} or beyond 32 bits")
    return array


def _checked(path: Path, document: bytes | str | None) -> dict:
    if document is None:
        raise ReadError(f"{path}: a file of something else, without provenance. {STORED}")
    provenance = parse_json(document, finite=False)
    check_format_version(path, provenance.pop("format_version"), FORMAT_VERSION, ReadError)
    return provenance


def _storable(names: np.ndarray) -> np.ndarray:
    """Names as an array of text or of integers."""
    for kind, dtype in ((str, np.str_), ((int, np.integer), np.int64)):
        if all(isinstance(name, kind) and not isinstance(name, bool) for name in names):
            stored = np.array(names.tolist(), dtype=dtype)
            # numpy forgets NULs at the end of a text
            if stored.tolist() == names.tolist():
                return stored
    unstorable = next(n for n in names if not isinstance(n, str) or n.endswith("\0"))
    raise ValueError(
        "names of recordings and subjects must be all text or all integers to be saved, and "
        f"text may not end with NUL; found {unstorable!r}. Give such ids to the "
        "recordings and embed them again."
    )
