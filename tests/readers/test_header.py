# SPDX-License-Identifier: BSD-3-Clause
"""Headers of EDF files: clocks, people, counts, and damage at every field."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.errors import ReadError
from sleep2vec_sklearn.readers import EdfSource
from sleep2vec_sklearn.readers._edf_header import _parse_patient, _parse_start, read_header

MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
SIGNALS = 256  # where the fields of the signals begin


@pytest.fixture
def patched(write_edf):
    """Function of (place, bytes): a written file with these bytes there."""

    def patch(place, new, **kwargs):
        path = write_edf(**kwargs)
        data = bytearray(path.read_bytes())
        data[place : place + len(new)] = new
        path.write_bytes(data)
        return path

    return patch


def start_of(recording=b"", date=b"01.01.85", clock=b"22.30.00"):
    fixed = b" " * 88 + recording.ljust(80) + date.ljust(8) + clock.ljust(8)
    found = _parse_start(fixed.ljust(256))
    return found and found.isoformat()


@given(st.dates(), st.times())
def test_the_long_date_goes_before_the_short_one(day, clock):
    text = f"Startdate {day.day:02}-{MONTHS[day.month - 1]}-{day.year:04} X X X".encode()
    told = start_of(text, b"09.09.99", clock.strftime("%H.%M.%S").encode())
    assert told == f"{day.isoformat()}T{clock.strftime('%H:%M:%S')}"


@pytest.mark.parametrize(
    ("date", "year"), [(b"01.02.85", 1985), (b"01.02.99", 1999), (b"01.02.00", 2000),
                       (b"01.02.84", 2084), (b"01/02/24", 2024), (b"01-02-24", 2024)],
)  # fmt: skip
def test_two_digits_of_a_year_turn_over_at_1985(date, year):
    assert start_of(date=date) == f"{year}-02-01T22:30:00"


@pytest.mark.parametrize(
    "odd",
    [{"clock": b"24.00.00"}, {"clock": b"22.30"}, {"date": b"31.02.99"}, {"date": b"1.2.1999"},
     {"recording": b"Startdate 31-FEB-1999"}, {"date": b"", "recording": b"Startdate X"}],
)  # fmt: skip
def test_a_start_that_no_clock_shows_is_none(odd):
    assert start_of(**odd) is None


def test_a_month_of_another_language_falls_back_to_the_short_date():
    assert start_of(b"Startdate 02-MAI-1999", b"02.05.99") == "1999-05-02T22:30:00"


@pytest.mark.parametrize(
    ("born", "age"), [("01-JAN-1950", 35), ("02-JAN-1950", 34), ("31-DEC-1949", 35)]
)
def test_a_birthday_counts_from_its_day_on(born, age):
    import datetime

    start = datetime.datetime(1985, 1, 1, 22, 30)
    assert _parse_patient(f"X F {born} X", start) == {"sex": "F", "age": age}
    assert _parse_patient(f"X F {born} X", None) == {"sex": "F"}


@pytest.mark.parametrize(
    ("field", "known"),
    [
        ("X M X X 41yr", {"sex": "M", "age": 41}),
        ("X X X X 41 years", {"age": 41}),
        ("X F 01-JAN-1950 X 36y", {"sex": "F", "age": 36}),
        ("X F 01-MAI-1950 X", {"sex": "F"}),
        ("X F X 7yeast", {"sex": "F"}),
        ("12yr F", {"sex": "F"}),
        ("X m X X", {}),
        ("F", {}),
    ],
)
def test_an_age_stated_goes_before_one_computed(field, known):
    import datetime

    assert _parse_patient(field, datetime.datetime(1985, 1, 1)) == known


def test_the_layout_of_the_file_is_told(write_edf):
    header = read_header(write_edf(channels={"C4-M1": 128, "SpO2": (1, "%")}, seconds=90))
    assert [c.label for c in header.signals] == ["C4-M1", "SpO2"]
    assert [c.samples_per_record for c in header.signals] == [128, 1]
    assert [c.dimension for c in header.signals] == ["uV", "%"]
    assert (header.n_records, header.record_seconds, header.sample_bytes) == (90, 1.0, 2)
    assert header.data_offset == 256 * (1 + len(header.channels))
    assert header.signals[0].physical == (-500, 500)
    assert header.signals[0].digital == (-32768, 32767)
    assert not header.discontinuous


@pytest.mark.parametrize(
    ("declared", "cut", "n_records", "told"),
    [
        (120, 0, 120, None),
        (-1, 0, 120, "the recording was never closed; its 120 whole records are read"),
        (-1, 1, 119, "the recording was never closed; its 119 whole records are read"),
        (120, 1, 119, "the last of 120 records is cut short and was dropped"),
        (100, 0, 120, "the header counts 100 records, the file holds 120: all are read"),
        (121, 1, None, "truncated: expected"),
        (121, 0, None, "truncated: expected"),
        (122, 0, None, "truncated: expected"),
    ],
)
def test_records_are_counted_in_the_file(write_edf, declared, cut, n_records, told):
    path = write_edf(seconds=120)
    data = path.read_bytes()
    path.write_bytes(data[:236] + str(declared).ljust(8).encode() + data[244 : len(data) - cut])
    if n_records is None:
        with pytest.raises(ReadError, match=told):
            read_header(path)
    else:
        header = read_header(path)
        assert header.n_records == n_records
        assert header.notes == (() if told is None else (told,))


@pytest.mark.parametrize(
    ("place", "new", "words"),
    [
        (0, b"1       ", "does not begin with the version 0 or BIOSEMI"),
        (236, b"12x     ", "the number of records in the header is not a number"),
        (244, b"-1      ", "a record -1 s; accepted is a positive length"),
        (244, b"nan     ", "the length of a record in the header is not a number"),
        (252, b"9999", "announces 9999 signals; accepted are 1 to 4096"),
        (252, b"0   ", "announces 0 signals; accepted are 1 to 4096"),
        (SIGNALS + 3 * 104, b"low     ", "the scale of signal 1 in the header is not a number"),
        (SIGNALS + 3 * 216, b"x       ", "the sample count of signal 1 in the header is not a"),
        (SIGNALS + 3 * 216, b"-5      ", "signal 1 has -5 samples per record"),
    ],
)
def test_damage_is_named_by_its_field_with_a_way_out(patched, place, new, words):
    path = patched(place, new, annotations=[(0.0, None, "x")])
    with pytest.raises(ReadError) as caught:
        read_header(path)
    told = str(caught.value)
    assert told.startswith(f"{path}: ")
    assert words in told
    assert told.endswith(
        ("Copy or download it again, or leave it out.", "convert the file to EDF.")
    )


def test_decimal_commas_of_a_header_are_understood(patched):
    assert read_header(patched(244, b"1,0     ")).record_seconds == 1.0


def test_a_folder_is_not_a_file(tmp_path):
    with pytest.raises(ReadError, match=r"cannot be opened \("):
        read_header(tmp_path)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(record=st.sampled_from([1, 2, 5, 0.5]), rate=st.sampled_from([64, 128]))
def test_rates_are_samples_per_record_over_its_length(write_edf, record, rate):
    source = EdfSource(write_edf(channels={"C4-M1": rate}, seconds=30, record=record))
    assert source.layout["eeg"].rate == rate
    assert source.layout["eeg"].n_samples == 30 * rate
    assert source.header.record_seconds == record
