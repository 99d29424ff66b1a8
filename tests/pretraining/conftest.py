# SPDX-License-Identifier: BSD-3-Clause
import pytest

from tests.pretraining.nights import make_night, tiny_pretrainer


@pytest.fixture(scope="session")
def montages():
    """Eight nights of four subjects, 24 epochs or fewer; three sensors, of which some are lost."""
    return [make_night(k) for k in range(8)]


@pytest.fixture(scope="session")
def montage_store(montages):
    from sleep2vec_sklearn.pretraining import NightStore, contents_of

    return NightStore.from_recordings(montages, contents_of(modalities=["effort", "spo2", "ibi"]))


@pytest.fixture
def pretrainer():
    """Function of (**parameters): a pretrainer of a tiny encoder, two epochs of three steps."""
    return tiny_pretrainer
