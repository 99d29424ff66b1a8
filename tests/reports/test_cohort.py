# SPDX-License-Identifier: BSD-3-Clause
import re
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn import Recording, make_sleep_cohort
from sleep2vec_sklearn.datasets import write_edf_cohort
from sleep2vec_sklearn.errors import InvalidRecordingError
from sleep2vec_sklearn.recordings import Cohort
from sleep2vec_sklearn.reports import cohort_report
from tests.reports.pages import check_page

BERLIN = ZoneInfo("Europe/Berlin")
START = datetime(2024, 5, 1, 22, 30)


def make(index=0, spo2=96.0, unit="%", start=START, hours=5, **described):
    """A night of a slow saturation that moves; the seventh is of subject s7 and so on."""
    values = spo2 * (1 + 0.01 * np.sin(np.arange(int(hours * 3600)) / 7 + index))
    start = None if start is None else start + timedelta(days=index)
    described = {"id": f"n{index}", "subject": f"s{index}", **described}
    return Recording({"spo2": (values, 1)}, units={"spo2": unit}, start=start, **described)


def report(*nights, metadata=None, failures=(), **options):
    metadata = pd.DataFrame(index=range(len(nights))) if metadata is None else metadata
    return check_page(cohort_report(Cohort(nights, metadata, failures), **options))


def outliers(page):
    """Rows of the table of outliers, by night."""
    table = page.html.partition("Nights to look at")[2].partition("</table>")[0]
    page = type(page)(f"<table>{table}</table>")
    return [row for row in page.cells if row and row[0] != "Night"]


def test_page_has_every_part(tmp_path):
    write_edf_cohort(
        make_sleep_cohort(
            2, hours=0.5, modalities=["eeg", "spo2"], missing=0, random_state=0,
            site_kinds=["laboratory"],
        ),
        tmp_path / "study",
    )  # fmt: skip
    (tmp_path / "study" / "broken.edf").write_bytes(b"0" * 300)
    (tmp_path / "study" / "metadata.csv").unlink(missing_ok=True)
    target = tmp_path / "report.html"
    page = check_page(cohort_report(tmp_path / "study", target))
    assert target.read_text(encoding="utf-8") == page.html
    assert re.findall("<h2>(.*?)</h2>", page.html)[0] == "Failures"
    assert any("broken.edf" in row[0] for row in page.cells if row)
    assert page.row("eeg") == ["2", "100"]
    assert "2 nights of 2 subjects" in page.text


def test_table_one_by_group():
    metadata = pd.DataFrame({"age": [50.0, 60, 70, 80], "arm": ["a", "a", "b", "b"]})
    page = report(*map(make, range(4)), metadata=metadata, by="arm")
    assert page.row("age, mean (SD)")[1:4] == ["65.0 (12.9)", "55.0 (7.1)", "75.0 (7.1)"]


def test_names_in_tables_stay_out():
    metadata = pd.DataFrame({"Last Name": ["Roe", "Doe"], "age": [50, 60]})
    page = report(make(0), make(1), metadata=metadata)
    assert "Roe" not in page.html
    assert "age" in page.html


def test_coverage_and_stages():
    stages = [0] * 300 + [2] * 300
    page = report(make(0, stages=stages), make(1, spo2=95.0))
    assert ["spo2", "2", "5.00 (5.00 to 5.00)", "0"] in page.cells
    assert page.row("N2") == ["50.0 (50.0 to 50.0)", "0"]
    assert "1 of 2 nights are scored" in page.text


@pytest.mark.parametrize(
    ("night", "what", "found"),
    [
        ({"spo2": 0.96}, "spo2", "a fraction taken as %"),
        ({"spo2": 45.0}, "spo2", "median below 50 %"),
        ({"start": START.replace(hour=12)}, "start", "begins in the day"),
        ({"start": None}, "start", "no start in the file"),
        ({"start": datetime(1985, 1, 1, 22)}, "date", "anonymised"),
        ({"start": datetime(2199, 1, 1, 22)}, "date", "future"),
        ({"hours": 3.5}, "duration", "below 4 h"),
        ({"hours": 12.5}, "duration", "above 12 h"),
        ({"lights": (900, 600)}, "lights", "reversed"),
    ],
)
def test_outliers_in_clocks_and_units(night, what, found):
    ((name, kind, _, rule),) = outliers(report(make(0, **night)))
    assert (name, kind) == ("n0", what)
    assert found in rule


def test_ordinary_nights_are_none():
    page = report(*(make(i, spo2=95 + 0.1 * i) for i in range(12)))
    assert "No night is an outlier" in page.text


def test_wrong_units_are_named():
    rng = np.random.default_rng(0)
    eeg = Recording({"eeg": (rng.normal(0, 3e-5, 64 * 16000), 64)}, id="volts", start=START)
    ibi = Recording({"ibi": (rng.normal(900, 9, 64000), 4)}, id="ms", start=START)
    rows = {row[0]: row[3] for row in outliers(report(eeg, ibi))}
    assert "V taken as uV" in rows["volts"]
    assert rows["ms"] == "ms taken as s"


def test_amplitude_unlike_other_nights():
    rng = np.random.default_rng(0)
    nights = [
        Recording({"airflow": (rng.normal(0, size, 4 * 16000), 4)}, id=f"n{i}", start=START)
        for i, size in enumerate([*np.linspace(0.9, 1.1, 11), 40])
    ]
    ((name, sensor, _, rule),) = outliers(report(*nights))
    assert (name, sensor) == ("n11", "airflow")
    assert "robust z" in rule


def test_overlapping_nights_are_listed():
    later = make(0, id="again", start=START + timedelta(hours=1))
    (row,) = outliers(report(make(0), later))
    assert (row[0], row[3]) == ("again", "overlaps with n0")
    # 22:30 to 04:30, as the clock is set forward
    zoned = [make(id=name, subject="s", start=datetime(2024, 3, *clock, tzinfo=BERLIN))
             for name, clock in (("first", (30, 22, 30)), ("second", (31, 4)))]  # fmt: skip
    assert "overlaps with first" in [row[3] for row in outliers(report(*zoned))]


def test_bad_night_is_a_failure(counting_source):
    class Failing(counting_source):
        def read(self, names):
            raise OSError("disk error")

    bad = Recording.from_source(Failing({"spo2": (np.ones(18000), 1, "%")}), id="bad", start=START)
    page = report(make(1), bad, failures=[("x.edf", "truncated")])
    assert page.row("bad") == ["OSError: disk error"]
    assert page.row("x.edf") == ["truncated"]
    assert "2 could not be read" in page.text


def test_signals_are_read_once(counting_source):
    source = counting_source({"spo2": (np.linspace(90, 99, 18000), 1, "%")})
    report(Recording.from_source(source, id="n", start=START))
    assert source.reads == [("spo2",)]
    report(Recording.from_source(source, id="n", start=START), coverage=False)
    assert len(source.reads) == 1


def test_many_nights_are_binned():
    nights = [make(i, hours=0.1) for i in range(450)]
    page = report(*nights)
    assert "a row is the mean of 3 nights" in page.text
    assert "The first 300 of 450 nights" in page.text
    assert len(page.html) < 1_000_000


def test_failures_without_nights():
    page = report(failures=[("<b>a</b>.edf", "truncated")])
    assert page.row("&lt;b&gt;a&lt;/b&gt;.edf") == ["truncated"]
    with pytest.raises(InvalidRecordingError, match="cohort is empty"):
        report()


def test_list_of_recordings():
    page = check_page(cohort_report([make(0), make(1)]))
    assert "2 nights of 2 subjects" in page.text


def test_unknown_arguments_are_refused():
    with pytest.raises(InvalidRecordingError, match="no column 'arm' to split by"):
        report(make(0), by="arm")
    with pytest.raises(InvalidRecordingError, match="use night_report"):
        cohort_report(make(0))


def test_requirements_come_first(no_matplotlib):
    with pytest.raises(ImportError, match=r"sleep2vec-sklearn\[plot\]"):
        report(make(0))


def test_refused_path_is_named(refused, tmp_path):
    with pytest.raises(PermissionError, match=r"report\.html: not saved"):
        report(make(0), path=tmp_path / "report.html")
