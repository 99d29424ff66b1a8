# SPDX-License-Identifier: BSD-3-Clause
"""Headers of EDF files: clocks, people, counts, and damage at every field."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.errors import ReadError
from sleep2vec_sklearn.readers import EdfSource
from sleep2vec_sklearn.readers._edf_header import (
    _parse_patient,
    _parse_start,
    fingerprint_of,
    read_header,
)


def test_fingerprint_covers_order_and_settings(tmp_path):
    for name, content in (("a", b"1"), ("b", b"2"), ("c", b"1")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (tmp_path / name for name in "abc")
    prints = [fingerprint_of(f, s) for f, s in [([a], 1), ([a], 2), ([a, b], 1), ([b, a], 1)]]
    assert len(set(prints)) == 4
    assert fingerprint_of([c], 1) == prints[0]
    assert all(len(text) == 64 for text in prints)


@pytest.mark.parametrize(
    ("field", "start"),
    [(b"17.11.0303.27.00", "2003-11-17T03:27:00"), (b"01.01.8523.59.59", "1985-01-01T23:59:59"),
     (b"99.99.9999.99.99", None), (b"                ", None)],
)  # fmt: skip
def test_start_times_are_verbatim(write_edf, field, start):
    path = write_edf()
    data = path.read_bytes()
    path.write_bytes(data[:88] + b" " * 80 + field + data[184:])
    header = read_header(path)
    assert (header.start and header.start.isoformat()) == start
    assert bool(header.notes) == (start is None)


@pytest.mark.parametrize(
    ("patient", "known"),
    [(b"X F X Female_33yr", {"sex": "F", "age": 33}),
     (b"MCH-0234567 M 02-MAY-1951 Haagse_Harry", {"sex": "M"}),
     (b"excerpt3, man - 28/03/1957", {}), (b"X X X X", {}), (b"", {})],
)  # fmt: skip
def test_patient_keeps_sex_and_age(write_edf, patient, known):
    path = write_edf()
    data = path.read_bytes()
    path.write_bytes(data[:8] + patient.ljust(80) + data[88:])
    header = read_header(path)
    assert header.patient == known
    assert "Harry" not in repr(header)


MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]


SIGNALS = 256  # where the fields of the signals begin


@pytest.fixture
def patched(write_edf):
    """Function of (offset, bytes): a written file with these bytes there."""

    def patch(offset, new, **kwargs):
        path = write_edf(**kwargs)
        data = bytearray(path.read_bytes())
        data[offset : offset + len(new)] = new
        path.write_bytes(data)
        return path

    return patch


def start_of(recording=b"", date=b"01.01.85", clock=b"22.30.00"):
    fixed = b" " * 88 + recording.ljust(80) + date.ljust(8) + clock.ljust(8)
    start = _parse_start(fixed.ljust(256))
    return start and start.isoformat()


@given(st.dates(), st.times())
def test_long_date_takes_precedence(day, clock):
    text = f"Startdate {day.day:02}-{MONTHS[day.month - 1]}-{day.year:04} X X X".encode()
    text = start_of(text, b"09.09.99", clock.strftime("%H.%M.%S").encode())
    assert text == f"{day.isoformat()}T{clock.strftime('%H:%M:%S')}"


@pytest.mark.parametrize(
    ("date", "year"), [(b"01.02.85", 1985), (b"01.02.99", 1999), (b"01.02.00", 2000),
                       (b"01.02.84", 2084), (b"01/02/24", 2024), (b"01-02-24", 2024)],
)  # fmt: skip
def test_years_turn_at_1985(date, year):
    assert start_of(date=date) == f"{year}-02-01T22:30:00"


@pytest.mark.parametrize(
    "odd",
    [{"clock": b"24.00.00"}, {"clock": b"22.30"}, {"date": b"31.02.99"}, {"date": b"1.2.1999"},
     {"recording": b"Startdate 31-FEB-1999"}, {"date": b"", "recording": b"Startdate X"}],
)  # fmt: skip
def test_impossible_start_is_none(odd):
    assert start_of(**odd) is None


def test_foreign_month_uses_short_date():
    assert start_of(b"Startdate 02-MAI-1999", b"02.05.99") == "1999-05-02T22:30:00"


@pytest.mark.parametrize(
    ("born", "age"), [("01-JAN-1950", 35), ("02-JAN-1950", 34), ("31-DEC-1949", 35)]
)
def test_birthday_counts_from_its_day(born, age):
    import datetime

    start = datetime.datetime(1985, 1, 1, 22, 30)
    later, age = start.replace(year=2020), age + 35
    assert _parse_patient(f"X F {born} X", later) == ({"sex": "F", "age": age}, [])
    assert _parse_patient(f"X F {born} X", None) == ({"sex": "F"}, [])
    # a start that was moved when the file was made anonymous
    assert _parse_patient(f"X F {born} X", start)[0] == {"sex": "F"}


@pytest.mark.parametrize(
    ("patient", "word"),
    [("X F 02-MAR-2031 X", "-12 years"), ("X F 02-MAR-1801 X", "218 years"),
     ("X F X X 999yr", "999 years"), ("X F 01-JAN-1900 X", "a stand-in"),
     ("X F 30-DEC-1899 X", "a stand-in"), ("X F 31-FEB-1980 X", "no such birthday")],
)  # fmt: skip
def test_impossible_ages_are_noted(patient, word):
    import datetime

    known, (note,) = _parse_patient(patient, datetime.datetime(2020, 1, 2, 22))
    assert known == {"sex": "F"}
    assert note.startswith("age: not known from the header, as ")
    assert word in note
    assert "19" not in note


@pytest.mark.parametrize(
    ("field", "known"),
    [("X M X X 41yr", {"sex": "M", "age": 41}), ("X X X X 41 years", {"age": 41}),
     ("X F 01-JAN-1950 X 36y", {"sex": "F", "age": 36}), ("X F 01-MAI-1950 X", {"sex": "F"}),
     ("X F X 7yeast", {"sex": "F"}), ("12yr F", {"sex": "F"}), ("X m X X", {}), ("F", {})],
)  # fmt: skip
def test_stated_age_takes_precedence(field, known):
    import datetime

    assert _parse_patient(field, datetime.datetime(1985, 1, 1)) == (known, [])


def test_header_layout_is_parsed(write_edf):
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
    ("declared", "cut", "n_records", "text"),
    [(120, 0, 120, None),
     (-1, 0, 120, "the recording was never closed; its 120 whole records are read"),
     (-1, 1, 119, "the recording was never closed; its 119 whole records are read"),
     (120, 1, 119, "the last of 120 records is cut short and was dropped"),
     (100, 0, 120, "the header counts 100 records, the file holds 120: all are read"),
     (121, 1, None, "truncated: expected"), (121, 0, None, "truncated: expected"),
     (122, 0, None, "truncated: expected")],
)  # fmt: skip
def test_records_are_counted(write_edf, declared, cut, n_records, text):
    path = write_edf(seconds=120)
    data = path.read_bytes()
    path.write_bytes(data[:236] + str(declared).ljust(8).encode() + data[244 : len(data) - cut])
    if n_records is None:
        with pytest.raises(ReadError, match=text):
            read_header(path)
    else:
        header = read_header(path)
        assert header.n_records == n_records
        assert header.notes == (() if text is None else (text,))


@pytest.mark.parametrize(
    ("offset", "new", "words"),
    [(0, b"1       ", "does not begin with the version 0 or BIOSEMI"),
     (236, b"12x     ", "the number of records in the header is not a number"),
     (244, b"-1      ", "a record -1 s; accepted is a positive length"),
     (244, b"nan     ", "the length of a record in the header is not a number"),
     (252, b"9999", "announces 9999 signals; accepted are 1 to 4096"),
     (252, b"0   ", "announces 0 signals; accepted are 1 to 4096"),
     (SIGNALS + 3 * 104, b"low     ", "the scale of signal 1 in the header is not a number"),
     (SIGNALS + 3 * 216, b"x       ", "the sample count of signal 1 in the header is not a"),
     (SIGNALS + 3 * 216, b"-5      ", "signal 1 has -5 samples per record")],
)  # fmt: skip
def test_damage_names_the_field(patched, offset, new, words):
    path = patched(offset, new, annotations=[(0.0, None, "x")])
    with pytest.raises(ReadError) as caught:
        read_header(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert words in text
    assert text.endswith(
        ("Copy or download it again, or leave it out.", "convert the file to EDF.")
    )


def test_decimal_commas_are_understood(patched):
    assert read_header(patched(244, b"1,0     ")).record_seconds == 1.0


def test_folder_raises_an_error(tmp_path):
    with pytest.raises(ReadError, match="is a folder; accepted is a file"):
        read_header(tmp_path)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(record=st.sampled_from([1, 2, 5, 0.5]), rate=st.sampled_from([64, 128]))
def test_rate_is_samples_per_second(write_edf, record, rate):
    source = EdfSource(write_edf(channels={"C4-M1": rate}, seconds=30, record=record))
    assert source.layout["eeg"].rate == rate
    assert source.layout["eeg"].n_samples == 30 * rate
    assert source.header.record_seconds == record
