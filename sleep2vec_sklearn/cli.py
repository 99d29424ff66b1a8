# SPDX-License-Identifier: BSD-3-Clause
"""The command ``sleep2vec``: files in, tables and reports out, without writing Python.

Results go to files or to standard output, everything else to standard error. What was finished
stays: a night that fails is listed and the others go on, and a call that was interrupted is
repeated as it is. Exit codes: 0, 1 if something failed, 2 for a wrong call, 130 if interrupted.

argparse, as a CLI library would be one more dependency for six subcommands.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ._files import (
    canonical_json,
    check_writable,
    hash_file,
    import_pyarrow,
)
from ._night_work import NightEmbedding, NightStaging, carry_out, say, write_csv
from ._version import __version__
from ._warnings import handled, ignored, others_ignored
from .errors import ReadError, RecordingWarning, Sleep2VecError, Sleep2VecWarning

if TYPE_CHECKING:
    import pandas as pd

    from .readers.formats import ChannelTable
    from .recordings.cohort import Cohort

_SUCCESS, _FAILURE, _INTERRUPTED = 0, 1, 130
_TABLES = (".csv", ".tsv", ".xlsx")
_EMBEDDING_SUFFIXES = (".parquet", ".npz", ".csv", ".dta")
_FAILURES_TOLD = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the command line by default.

    Returns
    -------
    int
        0, or 1 if a night or the whole call failed, or 130 after an interruption.

    Raises
    ------
    SystemExit
        With code 2 for arguments that are not accepted, with 0 after ``--help``.

    Examples
    --------
    >>> from sleep2vec_sklearn.cli import main
    >>> main(["describe", "no_such_file.edf"])
    1
    """
    options = _parser().parse_args(arguments)
    with _warnings_as_lines(), _terminated_as_interrupted():
        try:
            return options.run(options)
        except KeyboardInterrupt:
            say("interrupted; what was finished is kept, the same command goes on from there")
            return _INTERRUPTED
        except BrokenPipeError:
            # the reader of a pipe, such as head, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return _SUCCESS
        except (Sleep2VecError, OSError, ImportError, ValueError) as error:
            say(f"error: {error}")
            return _FAILURE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sleep2vec",
        description="Stage, embed and describe nights of sleep. Not a medical device.",
        epilog="sleep2vec COMMAND --help shows the options of a command and an example.",
    )
    parser.add_argument("--version", action="version", version=f"sleep2vec-sklearn {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(run: Callable, summary: str, *examples: str) -> argparse.ArgumentParser:
        added = commands.add_parser(
            run.__name__.strip("_"),
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog="examples:\n" + "\n".join(f"  sleep2vec {example}" for example in examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(run=run)
        return added

    describe = command(
        _describe,
        "list channels, the modality each is read as, and why",
        "describe night.edf",
        "describe my_study/ --out channels.csv",
    )
    describe.add_argument("path", type=Path, help="a file, or a folder of nights")
    describe.add_argument("--out", type=Path, metavar="FILE.csv", help="write the table there")

    stage = command(
        _stage,
        "predict the sleep stages of nights",
        "stage night1.edf night2.edf --out stages/",
        "stage my_study/ --out stages/ --jobs 4 --format csv",
    )
    _add_nights(stage)
    stage.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="per night a file of predicted stages; and statistics.csv, failures.csv",
    )
    stage.add_argument(
        "--format",
        choices=("csv", "edf", "both"),
        default="both",
        help="a CSV file with probabilities, EDF+ annotations, or both",
    )
    _add_lights(stage)
    stage.add_argument(
        "--stager",
        default="bundled",
        metavar="NAME|FILE",
        help="bundled, seqsleepnet, yasa, vote, or a fine-tuned .ckpt of the authors",
    )

    embed = command(
        _embed,
        "write one row of features per night, or per 30-s epoch",
        "embed my_study/ --out rows.dta --metadata participants.csv",
        "embed my_study/ --out epochs.parquet --epochs --jobs 4",
    )
    _add_nights(embed)
    embed.add_argument(
        "--out",
        type=_embedding_file,
        required=True,
        metavar="FILE",
        help=f"a table with the covariates: {', '.join(_EMBEDDING_SUFFIXES)}; .npz is not "
        "compressed, for cross-validation of rows that are larger than memory",
    )
    embed.add_argument("--epochs", action="store_true", help="a row per epoch, not per night")
    embed.add_argument(
        "--checkpoint",
        default="sleep2vec-mini",
        metavar="NAME|FILE",
        help="the encoder (default: sleep2vec-mini)",
    )
    embed.add_argument(
        "--pooling",
        default="mean",
        choices=("mean", "mean_std", "max", "cls"),
        help="of the epochs of a night (default: mean)",
    )

    report = command(
        _report,
        "write a report of a night or of a cohort as one HTML file",
        "report night.edf --out night.html",
        "report my_study/ --out cohort.html --by sex",
    )
    report.add_argument("path", type=Path, help="a file, or a folder of nights")
    report.add_argument("--out", type=Path, required=True, metavar="FILE.html")
    report.add_argument(
        "--stager", metavar="NAME|FILE", help="of the stages of a night, see sleep2vec stage"
    )
    _add_lights(report)
    report.add_argument("--by", metavar="COLUMN", help="groups of Table 1 of a cohort")
    _add_metadata(report)

    pretrain = command(
        _pretrain,
        "pretrain an encoder on nights without labels",
        "pretrain my_study/ --out mine.safetensors --max-epochs 20",
    )
    _add_nights(pretrain)
    pretrain.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE.safetensors",
        help="the encoder; FILE.run beside it holds what a run resumes from",
    )
    pretrain.add_argument("--max-epochs", type=_positive, default=20, metavar="N")
    pretrain.add_argument("--batch-size", type=_positive, default=48, metavar="N")
    pretrain.add_argument("--steps-per-epoch", type=_positive, metavar="N")
    pretrain.add_argument("--seed", type=int, default=0, metavar="N")

    command(_doctor, "check the installation: versions, extras, device, cache, encoders", "doctor")
    return parser


def _add_nights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="a folder, a table with a column 'path', or files of nights",
    )
    parser.add_argument(
        "--modalities",
        type=_modalities,
        metavar="NAME,...",
        help="use these alone, such as eeg,ibi; by default all there are",
    )
    parser.add_argument(
        "--jobs",
        type=_jobs,
        default=1,
        metavar="N",
        help="processes; -1 for one per processor (default: 1)",
    )
    _add_metadata(parser)


def _add_metadata(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--metadata",
        type=Path,
        metavar="FILE",
        help="a table of covariates by recording or subject (CSV, TSV, Excel)",
    )
    parser.add_argument(
        "--on", metavar="COLUMN", help="the column of --metadata that names recording or subject"
    )


def _add_lights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--lights",
        type=_lights,
        metavar="OFF,ON",
        help="what statistics refer to: clock times (23:00,07:00), seconds, main or recording",
    )


def _lights(text: str) -> str | list[Any]:
    if text in ("main", "recording"):
        return text
    try:
        off, on = (light.strip() for light in text.split(","))
        return [light if ":" in light else float(light) for light in (off, on)]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text} is none of OFF,ON (23:00,07:00 or seconds), main and recording"
        ) from None


def _modalities(text: str) -> list[str]:
    from .recordings.modality import list_modalities

    try:
        return list(list_modalities([name.strip() for name in text.split(",") if name.strip()]))
    except Sleep2VecError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _embedding_file(text: str) -> Path:
    path = Path(text)
    if path.suffix not in _EMBEDDING_SUFFIXES:
        raise argparse.ArgumentTypeError(
            f"{text} should end in one of {', '.join(_EMBEDDING_SUFFIXES)}"
        )
    return path


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


def _jobs(text: str) -> int:
    return -1 if text == "-1" else _positive(text)


def _describe(options: argparse.Namespace) -> int:
    import pandas as pd

    from . import describe_channels

    if not options.path.is_dir():
        table = describe_channels(options.path)
        _write_or_print(table, repr(table), options.out)
        return _SUCCESS
    cohort = _read([options.path])
    tables, failures = [], _failures_of(cohort)
    for night, path in zip(cohort, cohort.metadata["path"], strict=True):
        try:
            channels = describe_channels(path)
        except (Sleep2VecError, OSError, ImportError) as error:
            failures[path] = str(error)
        else:
            channels.insert(0, "recording", night.id)
            tables.append(channels)
    table = pd.concat(tables, ignore_index=True)
    _write_or_print(table, f"{cohort}\n\n{_count_channels(table)!r}", options.out)
    return _tell(failures, n_nights=len(cohort) + len(cohort.failures))


def _count_channels(channels: pd.DataFrame) -> ChannelTable:
    """A row per label and use of it, with the number of nights, most frequent first."""
    from .readers.formats import ChannelTable

    keys = list(channels.columns.drop("recording"))
    counts = channels.groupby(keys, sort=False, dropna=False)["recording"].nunique()
    table = counts.rename("nights").reset_index()[["nights", *keys]]
    return ChannelTable(table.sort_values("nights", ascending=False, kind="stable"))


def _stage(options: argparse.Namespace) -> int:
    formats = ("csv", "edf") if options.format == "both" else (options.format,)
    _refuse_sources(options.paths, options.out)
    cohort = _read(options.paths, options, labels_wanted=False)
    options.out.mkdir(parents=True, exist_ok=True)
    check_writable(options.out / "statistics.csv")
    work = NightStaging(options.out, formats, options.stager, options.lights, _key_of(options))
    failures = _failures_of(cohort)
    nights = [night for night in cohort if not work.is_done(night)]
    _tell_resumed(len(cohort) - len(nights), len(cohort), "staged")
    try:
        for night, outcome in carry_out(work, nights, options.jobs, "staging"):
            if outcome.error is not None:
                work.forget(night)
                failures[str(night.id)] = outcome.error
    finally:
        work.join()
    return _tell(failures, len(cohort) + len(cohort.failures), options.out / "failures.csv")


def _key_of(options: argparse.Namespace) -> str:
    """The options that change results, and what is in the file of a stager or an encoder."""
    names = ("stager", "lights", "modalities", "checkpoint", "pooling", "epochs")
    chosen = {name: getattr(options, name, None) for name in names}
    files = [Path(str(chosen[name])) for name in ("stager", "checkpoint") if chosen[name]]
    hashes = [hash_file(path) for path in files if path.is_file()]
    return canonical_json([chosen, hashes, __version__])


def _embed(options: argparse.Namespace) -> int:
    from . import Sleep2VecTransformer
    from .encoding.table import join_files

    if options.out.suffix == ".parquet":
        import_pyarrow("Or write .npz, .csv or .dta.")
    _refuse_sources(options.paths, options.out)
    check_writable(options.out)
    cohort = _read(options.paths, options, labels_wanted=options.epochs)
    covariates = cohort.metadata.drop(columns=["path", "recording"], errors="ignore")
    taken = sorted({"stage", "epoch"}.intersection(covariates.columns))
    if taken:
        raise ValueError(
            f"{options.metadata or options.paths[0]}: a column of covariates is called "
            f"{taken[0]!r}, as one of the table to be written. Rename it."
        )
    transformer = Sleep2VecTransformer(
        options.checkpoint, pooling=options.pooling, cache=None, verbose=0
    )
    parts = _beside(options.out, "parts")
    parts.mkdir(exist_ok=True)
    work = NightEmbedding(transformer, parts, options.epochs, _key_of(options))
    failures = _failures_of(cohort)
    nights = [night for night in cohort if not work.is_done(night)]
    _tell_resumed(len(cohort) - len(nights), len(cohort), "embedded")
    for night, outcome in carry_out(work, nights, options.jobs, "embedding"):
        if outcome.error is not None:
            failures[str(night.id)] = outcome.error
    made = [work.path_of(night) for night in cohort if str(night.id) not in failures]
    if made:
        n_rows = join_files(made, options.out, covariates)
        say(f"{n_rows} rows of {len(made)} nights in {options.out}")
    if len(made) == len(cohort):
        # kept where nights failed, for the call that repeats them
        shutil.rmtree(parts)
    return _tell(failures, len(cohort) + len(cohort.failures), _beside(options.out, "failures.csv"))


def _report(options: argparse.Namespace) -> int:
    from .reports import cohort_report, night_report

    is_cohort = options.path.is_dir() or options.path.suffix.lower() in _TABLES
    of_the_other = ("stager", "lights") if is_cohort else ("by",)
    for name in of_the_other:
        if getattr(options, name) is not None:
            what = "a cohort" if is_cohort else "a night"
            raise ValueError(f"--{name} does not belong to the report of {what}; leave it out.")
    check_writable(options.out)
    cohort = _read([options.path], options)
    if is_cohort:
        cohort_report(cohort, options.out, by=options.by, verbose=_verbose())
    else:
        stager = options.stager or "bundled"
        night_report(cohort[0], options.out, stager=stager, lights=options.lights)
    say(f"{options.out} ({options.out.stat().st_size / 1024:.0f} kB)")
    return _tell(_failures_of(cohort), len(cohort) + len(cohort.failures))


def _pretrain(options: argparse.Namespace) -> int:
    from . import Sleep2VecPretrainer
    from .model.checkpoint import check_target
    from .pretraining import prepare_cohort

    check_target(options.out)
    cohort = _read(options.paths, options)
    run = _beside(options.out, "run")
    store = prepare_cohort(
        cohort, run / "nights", modalities=options.modalities, n_jobs=options.jobs,
        verbose=_verbose(),
    )  # fmt: skip
    pretrainer = Sleep2VecPretrainer(
        options.modalities, max_epochs=options.max_epochs, batch_size=options.batch_size,
        steps_per_epoch=options.steps_per_epoch, random_state=options.seed,
        state_dir=run / "state", verbose=_verbose(),
    )  # fmt: skip
    pretrainer.fit(store).save(options.out)
    say(f"{options.out}; {run} holds the prepared nights and the run's state")
    failures = _failures_of(cohort) | dict(store.failures.itertuples(index=False))
    n_nights = len(cohort) + len(cohort.failures)
    return _tell(failures, n_nights, _beside(options.out, "failures.csv"))


def _doctor(options: argparse.Namespace) -> int:
    from ._doctor import examine

    return _SUCCESS if examine() else _FAILURE


# What commands share.


def _read(
    paths: Sequence[Path], options: argparse.Namespace | None = None, labels_wanted: bool = True
) -> Cohort:
    """The nights of a folder, of a table of paths, or of files."""
    from . import read_cohort

    is_source = len(paths) == 1 and (paths[0].is_dir() or paths[0].suffix.lower() in _TABLES)
    folders = [path for path in paths if path.is_dir()]
    if folders and not is_source:
        raise ReadError(
            f"{folders[0]}: a folder among {len(paths)} paths; accepted is one folder, one table, "
            "or files. Pass the files, as in folder/*.edf."
        )
    # those that could not be read are listed at the end, with what fails later
    told_elsewhere = "could not be read" if labels_wanted else "(could not be read|have no stages)"
    with ignored(RecordingWarning, f"[0-9]+ of [0-9]+ nights {told_elsewhere}"):
        return read_cohort(
            paths[0] if is_source else list(paths),
            metadata=getattr(options, "metadata", None),
            on=getattr(options, "on", None),
            modalities=getattr(options, "modalities", None),
            verbose=_verbose(),
        )


def _refuse_sources(paths: Sequence[Path], out: Path) -> None:
    """Refuse to write into a folder of recordings, where results would be read as nights."""
    inside = [
        path for path in paths if path.is_dir() and out.resolve().is_relative_to(path.resolve())
    ]
    if inside:
        raise ValueError(
            f"--out {out} is in the folder {inside[0]}, whose reader would take it for a recording "
            "or for labels the next time. Choose a place outside."
        )


def _failures_of(cohort: Cohort) -> dict[str, str]:
    return dict(cohort.failures.itertuples(index=False))


def _tell(failures: Mapping[str, str], n_nights: int, path: Path | None = None) -> int:
    """Say what failed and list it in a file; the exit code."""
    if path is not None:
        path.unlink(missing_ok=True)
    if not failures:
        return _SUCCESS
    for name, reason in list(failures.items())[:_FAILURES_TOLD]:
        say(f"failed: {reason if name in reason else f'{name}: {reason}'}")
    if path is not None:
        write_csv(path, [{"recording": name, "reason": why} for name, why in failures.items()])
    listed = "" if path is None else f", listed in {path}"
    say(f"{len(failures)} of {n_nights} nights failed{listed}")
    return _FAILURE


def _tell_resumed(n_done: int, n_nights: int, what: str) -> None:
    if n_done:
        say(f"{n_done} of {n_nights} nights were {what} before and are kept")


def _write_or_print(table: pd.DataFrame, text: str, path: Path | None) -> None:
    if path is None:
        print(text)
    else:
        write_csv(path, table)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}.{suffix}")


def _verbose() -> int:
    return int(sys.stderr.isatty())


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Show the library's warnings as lines without code, and no others."""

    def show(category: type[Warning], message: str) -> None:
        say(f"warning: {message}")

    with others_ignored(Warning), handled(show, Sleep2VecWarning):
        yield


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """End by SIGTERM, which batch systems send, as by Ctrl-C."""

    def interrupt(*args: Any) -> NoReturn:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
