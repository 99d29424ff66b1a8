# SPDX-License-Identifier: BSD-3-Clause
"""Work of the command on nights: one after the other or in processes, each done once."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._files import canonical_json, file_name, sha256, write_atomic
from ._warnings import collected, listed, others_ignored
from .errors import CheckpointError, Sleep2VecError, Sleep2VecWarning

if TYPE_CHECKING:
    from .encoding.transformer import Sleep2VecTransformer
    from .recordings.recording import Recording

_ROWS = ".nights"


@dataclass(frozen=True)
class NightStaging:
    """Stage one night, and write its files and its row of statistics."""

    folder: Path
    formats: tuple[str, ...]
    stager: str
    lights: Any
    made_by: str

    def __call__(self, night: Recording) -> None:
        from . import stage_night

        staged = stage_night(night, stager=self.stager, cache=None)
        for suffix, path in zip(self.formats, self._files_of(night), strict=True):
            staged.to_csv(path) if suffix == "csv" else staged.to_edf(path)
        row = {
            "recording": str(night.id),
            "subject": str(night.subject),
            "stager": self.stager,
            "hours": night.duration / 3600,
            "sensors": " ".join(staged.modalities),
            **staged.statistics(lights=self.lights),
        }
        # the last of its files, so that a night with a row is done
        document = {"key": self._key(night), "row": row}
        path = self._row_of(night)
        path.parent.mkdir(exist_ok=True)
        write_atomic(path, json.dumps(document).encode())

    def is_done(self, night: Recording) -> bool:
        """Whether the same night was staged so before, and its files are still there."""
        try:
            document = json.loads(self._row_of(night).read_text(encoding="utf-8"))
            is_same = document["key"] == self._key(night)
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return is_same and all(path.exists() for path in self._files_of(night))

    def forget(self, night: Recording) -> None:
        """Drop the row of an earlier call."""
        self._row_of(night).unlink(missing_ok=True)

    def join(self) -> None:
        """Write the rows of all nights of the folder as a table."""
        rows = []
        for path in sorted((self.folder / _ROWS).glob("*.json")):
            try:
                rows.append(dict(json.loads(path.read_text(encoding="utf-8"))["row"]))
            except (OSError, ValueError, KeyError, TypeError) as error:
                say(f"warning: {path} is left out of statistics.csv: {error!r}")
        if rows:
            path = self.folder / "statistics.csv"
            write_csv(path, rows)
            say(f"{len(rows)} nights in {path}")

    def _key(self, night: Recording) -> str:
        return sha256(canonical_json([_facts_of(night), self.made_by]))

    def _files_of(self, night: Recording) -> list[Path]:
        # not called stages or hypnogram, which the next reader would take for scored ones
        return [
            self.folder / f"{file_name(night.id)}-predicted.{suffix}" for suffix in self.formats
        ]

    def _row_of(self, night: Recording) -> Path:
        return self.folder / _ROWS / f"{file_name(night.id)}.json"


@dataclass(frozen=True)
class NightEmbedding:
    """Embed one night and write its rows to a file of its own."""

    transformer: Sleep2VecTransformer
    folder: Path
    by_epoch: bool
    made_by: str

    def __call__(self, night: Recording) -> None:
        from sklearn import clone

        from . import EpochSequence

        path = self.path_of(night)
        X = EpochSequence([night]) if self.by_epoch else [night]
        clone(self.transformer).fit(X).embed(X).save(path)

    def is_done(self, night: Recording) -> bool:
        """Whether the same night was embedded so before."""
        try:
            return self.path_of(night).exists()
        except OSError:
            return False

    def path_of(self, night: Recording) -> Path:
        """A name that changes with all that makes other rows of a night."""
        return self.folder / f"{sha256(canonical_json([_facts_of(night), self.made_by]))[:32]}.npz"


def _facts_of(night: Recording) -> list[Any]:
    """What results of a night depend on: its files as they are now, and what is known of it."""
    stats = [(str(path), os.stat(path)) for path in night.files]
    files = [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]
    labels = None if night.stages is None else sha256(night.stages.tobytes())
    facts = str(night.id), str(night.subject), str(night.start), night.lights
    # of which stagers make use
    person = [str(night.metadata.get(name)) for name in ("age", "sex")]
    return [*facts, *person, night.n_epochs, night.modalities, files, labels]


@dataclass(frozen=True)
class NightOutcome:
    """What became of a night in this process or a worker."""

    result: Any = None
    error: str | None = None
    warnings: list[str] = field(default_factory=list)


def carry_out(
    work: Callable[[Recording], Any], nights: Sequence[Recording], n_jobs: int, what: str
) -> Iterator[tuple[Recording, NightOutcome]]:
    """Nights and their outcomes in order, with a progress bar; warnings of a kind once."""
    from joblib import Parallel, delayed
    from tqdm.auto import tqdm

    attempts = (delayed(_attempt)(work, night) for night in nights)
    outcomes = Parallel(n_jobs=n_jobs, return_as="generator")(attempts)
    told: dict[str, list[str]] = {}
    # a log file gets a line a minute
    interval = 0.1 if sys.stderr.isatty() else 60
    bar = tqdm(
        zip(nights, outcomes, strict=True), total=len(nights), desc=what, unit="night",
        mininterval=interval, maxinterval=interval,
    )  # fmt: skip
    for night, outcome in bar:
        for text in outcome.warnings:
            kind = re.sub(r"\d+", "#", text.replace(str(night.id), ""))
            told.setdefault(kind, []).append(str(night.id))
            if len(told[kind]) == 1:
                say(f"warning: {text}")
        yield night, outcome
    for first, *others in told.values():
        if others:
            say(f"warning: as that of {first} of {len(others)} more nights: {listed(others)}")


def _attempt(work: Callable[[Recording], Any], night: Recording) -> NightOutcome:
    with others_ignored(Warning), collected(Sleep2VecWarning) as caught:
        try:
            result, error = work(night), None
        except (CheckpointError, ImportError):
            # of the call, not of this night
            raise
        except Exception as reason:
            # whatever a damaged file makes other libraries raise, it costs one night
            own = isinstance(reason, Sleep2VecError | OSError)
            result, error = None, str(reason) if own else f"{type(reason).__name__}: {reason}"
    return NightOutcome(result, error, [message for _, message in caught])


def write_csv(path: Path, table: Any) -> None:
    import pandas as pd

    text = pd.DataFrame(table).to_csv(index=False, lineterminator="\n")
    write_atomic(path, text.encode())


def say(text: str) -> None:
    from tqdm import tqdm

    # above a progress bar, if there is one
    tqdm.write(text, file=sys.stderr)
