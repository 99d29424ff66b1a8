# SPDX-License-Identifier: BSD-3-Clause
import re
from pathlib import Path

import matplotlib as mpl
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "events.md"


@pytest.mark.slow
def test_the_code_of_the_page_runs():
    mpl.use("Agg")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    names: dict = {}
    for block in blocks:
        exec(block, names)
    assert names["detector"].predict(names["nights"]).shape == (3,)
    assert names["found"]
