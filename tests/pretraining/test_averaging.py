# SPDX-License-Identifier: BSD-3-Clause
import torch

from sleep2vec_sklearn.model import Sleep2Vec
from sleep2vec_sklearn.pretraining._optimization import MovingAverage


def moved(network, by):
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor += by
    return network


def test_parameters_and_batchnorm_buffers_are_averaged(small_config):
    network = Sleep2Vec.from_seed(small_config, 0)
    average = MovingAverage(network, 0.75)
    start = {k: v.clone() for k, v in network.state_dict().items()}
    average.update(moved(network, 1), step=1000)
    for name, value in average.network.state_dict().items():
        by = 0.25 if value.is_floating_point() else 1
        torch.testing.assert_close(value, start[name] + by, rtol=0, atol=1e-6)
    assert "projection.hidden_norm.running_var" in start


def test_the_first_steps_forget_the_random_start(small_config):
    network = Sleep2Vec.from_seed(small_config, 0)
    average = MovingAverage(network, 0.996)
    before = network.encoder.token_type.detach().clone()
    average.update(moved(network, 1), step=0)
    torch.testing.assert_close(average.network.encoder.token_type.data, before + 0.9)


def test_without_decay_the_average_is_the_network(small_config):
    network = Sleep2Vec.from_seed(small_config, 0)
    average = MovingAverage(network, 0)
    average.update(moved(network, 1), step=0)
    for name, value in average.network.state_dict().items():
        assert torch.equal(value, network.state_dict()[name])
    assert not average.network.training
