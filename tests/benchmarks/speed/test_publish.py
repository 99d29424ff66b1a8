# SPDX-License-Identifier: BSD-3-Clause
import pytest

from benchmarks.speed.publish import PAGE, machine, published

TEXT = """# Page
<!-- benchmarks.speed.night -->
```console
old
```
after
<!-- benchmarks.speed.encoder -->
```console
kept
```
"""


def test_block_is_replaced():
    page = published(TEXT, "speed.night", "python -m benchmarks.speed.night", "1.0 s \\1\n")
    assert "$ python -m benchmarks.speed.night\n1.0 s \\1\n```\nafter" in page
    assert "old" not in page
    assert "kept" in page


def test_replacing_and_its_errors():
    once = published(TEXT, "speed.encoder", "c", "out")
    assert published(once, "speed.encoder", "c", "out") == once
    with pytest.raises(ValueError, match=r"0 blocks of 'speed.cohort'"):
        published(TEXT, "speed.cohort", "c", "out")
    assert "cores" in machine()
    assert "torch" in machine()


@pytest.mark.parametrize(
    "name",
    ["speed.encoder", "speed.night", "speed.cohort", "speed.grid_search", "speed.import_time",
     "speed.pretraining", "speed.scale", "speed.store"],
)  # fmt: skip
def test_page_has_every_block(name):
    assert published(PAGE.read_text(), name, "c", "out") != PAGE.read_text()
