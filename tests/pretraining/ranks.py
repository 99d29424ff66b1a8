# SPDX-License-Identifier: BSD-3-Clause
"""Processes that train together, started once for many tests, and what tests ask them to do."""

from __future__ import annotations

import os
import pickle
import traceback
from datetime import timedelta

import torch
import torch.multiprocessing as mp

from sleep2vec_sklearn.pretraining._distributed import process_group

_SECONDS = 240


class Ranks:
    """A group of processes of this machine, which meet in an empty folder."""

    def __init__(self, folder, n_ranks=2, backend="gloo"):
        context = mp.get_context("spawn")
        self.pipes, self.processes = [], []
        for rank in range(n_ranks):
            ours, theirs = context.Pipe()
            arguments = (theirs, f"file://{folder / 'meeting'}", rank, n_ranks, backend)
            process = context.Process(target=_serve, args=arguments, daemon=True)
            process.start()
            self.pipes.append(ours)
            self.processes.append(process)

    def __call__(self, task, *arguments):
        """What ``task(*arguments)`` returned on each rank; tasks are functions of a module."""
        for pipe in self.pipes:
            _send(pipe, (task, arguments))
        answers = []
        for rank, pipe in enumerate(self.pipes):
            if not pipe.poll(_SECONDS):
                raise TimeoutError(f"rank {rank} does not answer")
            answers.append(pickle.loads(pipe.recv_bytes()))
        broken = [answer for ok, answer in answers if not ok]
        if broken:
            raise RuntimeError("\n".join(broken))
        return [answer for _, answer in answers]

    def close(self):
        for pipe in self.pipes:
            _send(pipe, None)
        for process in self.processes:
            process.join(_SECONDS)


def _send(pipe, message):
    # pipes of torch would share a tensor's memory, and ranks would write into each other's
    pipe.send_bytes(pickle.dumps(message))


def _serve(pipe, meeting, rank, n_ranks, backend):
    torch.set_num_threads(1)
    # each has a GPU of its own, where the backend is that of GPUs
    os.environ["LOCAL_RANK"] = str(rank)
    options = {"init_method": meeting, "rank": rank, "world_size": n_ranks}
    with process_group(backend, timeout=timedelta(seconds=_SECONDS / 2), **options):
        while (request := pickle.loads(pipe.recv_bytes())) is not None:
            task, arguments = request
            try:
                _send(pipe, (True, task(*arguments)))
            except Exception:
                _send(pipe, (False, traceback.format_exc()))
