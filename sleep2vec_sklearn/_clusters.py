# SPDX-License-Identifier: BSD-3-Clause
"""Workers and schedulers that are lost while tasks of joblib run on them."""

from __future__ import annotations

import sys
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool


def lost_worker_errors() -> tuple[type[BaseException], ...]:
    """What joblib, and dask if it is used, raise then."""
    dask = sys.modules.get("distributed")
    own = () if dask is None else (dask.KilledWorker, dask.comm.CommClosedError)
    return (BrokenProcessPool, CancelledError, *own)


def how_to_resume(error: BaseException, finished: str) -> str:
    """What to do after such an error, or where a scheduler is not found any more."""
    reason = " ".join(str(error).split())
    text = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
    return (
        f"the scheduler of the cluster, or its workers, were lost ({text}). Start the cluster "
        f"again, connect a new Client, and call again: {finished}."
    )
