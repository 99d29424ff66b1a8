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


def test_a_block_is_replaced_by_command_and_output():
    page = published(TEXT, "night", "python -m benchmarks.speed.night", "1.0 s \\1\n")
    assert "$ python -m benchmarks.speed.night\n1.0 s \\1\n```\nafter" in page
    assert "old" not in page
    assert "kept" in page


def test_replacing_twice_changes_nothing_more():
    once = published(TEXT, "encoder", "c", "out")
    assert published(once, "encoder", "c", "out") == once


def test_a_benchmark_without_a_block_is_refused():
    with pytest.raises(ValueError, match=r"0 blocks of 'cohort'"):
        published(TEXT, "cohort", "c", "out")


@pytest.mark.parametrize(
    "name",
    [
        "encoder",
        "night",
        "cohort",
        "grid_search",
        "import_time",
        "lost_sensors",
        "pretraining",
        "new_sensor",
        "store",
        "dash",
        "simulated_psg",
    ],
)
def test_the_page_has_a_block_of_every_benchmark(name):
    assert published(PAGE.read_text(), name, "c", "out") != PAGE.read_text()


def test_the_machine_is_named_by_its_processor_and_versions():
    assert "cores" in machine()
    assert "torch" in machine()
