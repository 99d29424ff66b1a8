# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleep2vec_sklearn.model import Sleep2Vec
from sleep2vec_sklearn.pretraining._optimization import decay_groups, rate_factor


def test_the_rate_rises_to_its_peak_and_falls_to_the_floor():
    factors = [rate_factor(step, 100, 0.1, 0.2) for step in range(100)]
    np.testing.assert_allclose(factors[:10], np.arange(1, 11) / 10)
    assert factors[10] == 1
    assert (np.diff(factors[10:]) < 0).all()
    assert rate_factor(55, 100, 0.1, 0.2) == pytest.approx(0.6)
    assert rate_factor(100, 100, 0.1, 0.2) == rate_factor(500, 100, 0.1, 0.2) == pytest.approx(0.2)


@given(
    step=st.integers(0, 50), total=st.integers(1, 40), warmup=st.floats(0, 1), floor=st.floats(0, 1)
)
def test_the_rate_is_positive_and_never_above_its_peak(step, total, warmup, floor):
    assert 0 <= rate_factor(step, total, warmup, floor) <= 1 + 1e-12
    assert rate_factor(0, total, warmup, floor) > 0


def test_matrices_alone_decay(small_config):
    network = Sleep2Vec.from_seed(small_config, 0)
    decayed, kept = decay_groups(network.named_parameters(), 0.3)
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.3, 0)
    assert all(p.ndim == 2 for p in decayed["params"])
    names = {id(p): name for name, p in network.named_parameters()}
    not_decayed = {names[id(p)] for p in kept["params"]}
    assert {"cls_token", "masks.ibi", "encoder.norm.weight", "input_projection.bias"} <= not_decayed
    assert len(decayed["params"]) + len(kept["params"]) == len(names)
