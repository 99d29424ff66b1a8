# SPDX-License-Identifier: BSD-3-Clause
import threading

import pytest

from sleep2vec_sklearn.pretraining._net import draw_ahead


@pytest.mark.parametrize("n_workers", [0, 1, 3])
def test_batches_come_in_order(n_workers):
    assert list(draw_ahead(lambda number: -number, range(4, 40), n_workers)) == list(
        range(-4, -40, -1)
    )


def test_workers_draw_before_they_are_asked():
    second = threading.Event()

    def draw(number):
        if number == 1:
            second.set()
        return number

    batches = draw_ahead(draw, range(9), 1)
    next(batches)
    assert second.wait(10)
    batches.close()


@pytest.mark.parametrize("n_workers", [0, 2])
def test_an_error_of_a_draw_comes_where_its_batch_would(n_workers):
    batches = draw_ahead(lambda number: 1 // (3 - number), range(9), n_workers)
    assert [next(batches) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(batches)
