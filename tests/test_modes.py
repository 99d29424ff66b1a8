# SPDX-License-Identifier: BSD-3-Clause
"""What a notebook has set does not change results, and is as it was afterwards."""

import multiprocessing
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from sleep2vec_sklearn import (
    EpochSequence,
    Sleep2VecClassifier,
    Sleep2VecTransformer,
    make_sleep_cohort,
)
from sleep2vec_sklearn._torch import building, own_modes

NIGHTS = make_sleep_cohort(2, hours=0.25, modalities=["ibi"], missing=0, random_state=0)
X = EpochSequence(NIGHTS)
Y = np.arange(len(X)) % 2


def rows():
    return Sleep2VecTransformer(cache=None).fit_transform(NIGHTS)


def probabilities():
    return Sleep2VecClassifier(max_epochs=1, random_state=0).fit(X, Y).predict_proba(X)


@contextmanager
def default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        yield
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


MODES = {
    "float64": default_dtype, "no_grad": torch.no_grad, "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16), "deterministic": deterministic,
    "errstate": lambda: np.errstate(all="raise"),
}  # fmt: skip


@pytest.fixture(scope="module")
def expected():
    return rows(), probabilities()


def state():
    torch_state = torch.get_num_threads(), torch.get_rng_state().tolist(), torch.is_grad_enabled()
    return *torch_state, np.geterr(), list(warnings.filters)


@pytest.mark.parametrize("mode", MODES)
def test_modes_change_no_result(mode, expected):
    with MODES[mode]():
        before = state()
        found = rows(), probabilities()
        assert state() == before
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_threads_change_no_result(expected):
    before = state()
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(call) for call in (rows, probabilities) * 4]
        for i, call in enumerate(calls):
            np.testing.assert_allclose(call.result(), expected[i % 2], rtol=1e-5, atol=1e-6)
    assert state() == before


def test_modes_return_after_errors():
    before = state()
    with pytest.raises(ZeroDivisionError), torch.inference_mode(), own_modes():
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), building(3):
        raise ZeroDivisionError
    assert state() == before


def _send(queue):
    queue.put((probabilities(), torch.get_num_threads()))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_forked_processes_train(expected):
    # the threads of OpenMP, which are not forked, are started first
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch.randn(2000, 2000) @ torch.randn(2000, 2000)
        probabilities()
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            process = context.Process(target=_send, args=(queue,), daemon=True)
            process.start()
        found, n_threads = queue.get(timeout=60)
        process.join()
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(found, expected[1], rtol=1e-5, atol=1e-6)
    assert n_threads == 2
