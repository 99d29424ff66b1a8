# SPDX-License-Identifier: BSD-3-Clause
import matplotlib as mpl
import pytest

mpl.use("Agg")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture
def subplots():
    """A figure and two axes."""
    import matplotlib.pyplot as plt

    return plt.subplots(2)
