# SPDX-License-Identifier: BSD-3-Clause
"""The page on fine-tuning: its code runs, and its defaults are those of the estimators."""

import inspect
import re
from pathlib import Path

import pytest

from sleep2vec_sklearn import Sleep2VecClassifier, Sleep2VecRegressor
from sleep2vec_sklearn.finetuning._base import FineTuningEstimator

PAGE = (Path(__file__).parents[2] / "docs" / "fine_tuning.md").read_text(encoding="utf-8")


def test_the_blocks_of_the_page_run_in_order():
    names = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, names)
    assert names["search"].best_params_["head"] in ("linear", "mlp")
    assert names["path"].exists()


@pytest.mark.parametrize("kind", [Sleep2VecClassifier, Sleep2VecRegressor])
def test_the_estimators_share_their_defaults(kind):
    shared = inspect.signature(FineTuningEstimator).parameters
    own = inspect.signature(kind).parameters
    assert {name: own[name].default for name in shared} == {
        name: parameter.default for name, parameter in shared.items()
    }


def test_every_parameter_is_described():
    own = set(inspect.signature(Sleep2VecClassifier).parameters)
    described = re.findall(r"^    ([a-z_, ]+) : ", Sleep2VecClassifier.__doc__, re.MULTILINE)
    assert own <= {name.strip() for entry in described for name in entry.split(",")}
