# SPDX-License-Identifier: BSD-3-Clause
"""Downloads from a server on this computer."""

from __future__ import annotations

import hashlib
import io
import sys
import zipfile

import pytest

from sleep2vec_sklearn.datasets import (
    fetch_bidsleep,
    fetch_mmash,
    fetch_sleep_accel,
    fetch_sleep_edf,
    fetch_ucddb,
    physionet,
)
from sleep2vec_sklearn.errors import ReadError, RecordingWarning
from tests.datasets.files import write_bidsleep
from tests.mirror import Mirror

pytest.importorskip("pooch")


def watch_files(name):
    """A simulated night in the layout of sleep-accel."""
    labels = "".join(f"{30 * i} {i % 6}\n" for i in range(8))
    rates = "".join(f"{t},60\n" for t in range(0, 240, 5))
    return {
        f"labels/{name}_labeled_sleep.txt": labels.encode(),
        f"heart_rate/{name}_heartrate.txt": rates.encode(),
    }


LABELS = "labels/8_labeled_sleep.txt"


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    mirrors = []

    def start(*args):
        mirrors.append(Mirror(*args))
        return mirrors[-1]

    yield start
    for mirror in mirrors:
        mirror.close()


@pytest.fixture
def watches(serve, tmp_path):
    files = {**watch_files("46343"), **watch_files("8"), "motion/8.txt": b"0"}
    mirror = serve("sleep-accel", files)
    return mirror, {"data_home": tmp_path, "mirror": mirror.address, "verbose": 0}


def test_files_are_downloaded_once(watches):
    mirror, options = watches
    cohort = fetch_sleep_accel(**options)
    assert [night.id for night in cohort] == ["8", "46343"]
    n_asked = len(mirror.asked)
    assert n_asked == 5
    assert not [path for path, _ in mirror.asked if "motion" in path]
    assert len(fetch_sleep_accel(**options)) == 2
    assert len(mirror.asked) == n_asked


def test_records_select_files(watches):
    mirror, options = watches
    assert [night.id for night in fetch_sleep_accel(records=["463"], **options)] == ["46343"]
    assert len(mirror.asked) == 3
    fetch_sleep_accel(**options)
    assert [night.id for night in fetch_sleep_accel(records="8", **options)] == ["8"]
    with pytest.raises(ReadError, match="has no record '9'"):
        fetch_sleep_accel(records=["8", "9"], **options)


@pytest.mark.parametrize("record", ["SC4001", "SC4001E0", "SC4001EC-Hypnogram"])
def test_night_includes_its_hypnogram(tmp_path, record):
    folder = tmp_path / "sleep-edfx" / "1.0.0"
    folder.mkdir(parents=True)
    sums = {**physionet._DATASETS["sleep-edfx"].pinned, "sleep-cassette/SC4011E0-PSG.edf": "0" * 64}
    lines = [f"{sha256} {name}" for name, sha256 in sums.items()]
    (folder / "SHA256SUMS.txt").write_text("\n".join(lines))
    both = "SC4001E0-PSG.edf, sleep-cassette/SC4001EC-Hypnogram.edf missing"
    with pytest.raises(ReadError, match=both):
        fetch_sleep_edf(records=record, data_home=tmp_path, download_if_missing=False, verbose=0)


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"download_if_missing": False}, "download_if_missing is False"),
     ({"mirror": "http://127.0.0.1:9"}, r"http://127.* gave Connect"),
     ({"mirror": "physionet.org/files"}, r"physionet.org/files.* gave MissingSchema")],
)  # fmt: skip
def test_missing_list_suggests_wget(tmp_path, monkeypatch, options, reason):
    monkeypatch.setattr(physionet, "_RETRIES", 0)
    with pytest.raises(ReadError, match=rf"SHA256SUMS.txt missing, and {reason}.*wget -r"):
        fetch_sleep_accel(data_home=tmp_path, verbose=0, **options)


def test_existing_files_need_no_network(watches):
    mirror, options = watches
    fetch_sleep_accel(**options)
    mirror.close()
    assert len(fetch_sleep_accel(download_if_missing=False, **options)) == 2
    assert len(fetch_sleep_accel(**options)) == 2


def test_interrupted_download_continues(watches, monkeypatch):
    monkeypatch.setattr("sleep2vec_sklearn._download._CHUNK_BYTES", 10)
    mirror, options = watches
    path = "/sleep-accel/1.0.0/heart_rate/8_heartrate.txt"
    mirror.cut[path] = 100
    assert len(fetch_sleep_accel(**options)) == 2
    assert [wanted for asked, wanted in mirror.asked if asked == path] == [None, "bytes=100-"]


@pytest.mark.parametrize("start", [watch_files("8")[LABELS][:10], b"x" * 10])
def test_killed_session_is_resumed(watches, start):
    """Whether its part belongs to this version or to another one."""
    mirror, options = watches
    part = options["data_home"] / "sleep-accel" / "1.0.0" / f"{LABELS}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(start)
    assert len(fetch_sleep_accel(**options)) == 2
    assert (f"/sleep-accel/1.0.0/{LABELS}", "bytes=10-") in mirror.asked
    assert not part.exists()


@pytest.mark.parametrize("status", [200, 416])
def test_unusable_ranges_are_survived(watches, status):
    mirror, options = watches
    mirror.range_status = status
    path = options["data_home"] / "sleep-accel" / "1.0.0" / LABELS
    path.parent.mkdir(parents=True)
    path.with_name(f"{path.name}.part").write_bytes(watch_files("8")[LABELS])
    assert len(fetch_sleep_accel(**options)) == 2
    assert path.read_bytes() == watch_files("8")[LABELS]


def test_wrong_hash_is_refused(watches):
    mirror, options = watches
    mirror.files[f"/sleep-accel/1.0.0/{LABELS}"] = b"0 0\n"
    with pytest.raises(ReadError, match=r"8_labeled_sleep.txt: its sha256 is not"):
        fetch_sleep_accel(**options)


def test_damaged_file_is_replaced(watches, tmp_path):
    _, options = watches
    fetch_sleep_accel(**options)
    path = tmp_path / "sleep-accel" / "1.0.0" / LABELS
    path.write_bytes(b"0 0\n")
    with pytest.raises(ReadError, match="damaged"):
        fetch_sleep_accel(download_if_missing=False, **options)
    fetch_sleep_accel(**options)
    assert path.read_bytes() == watch_files("8")[LABELS]


@pytest.mark.parametrize(
    ("sums", "reason"),
    [(b"<html>log in</html>", "no sha256 sums"),
     (b"0" * 64 + b"  ../../evil.txt\n", "outside of its folder"),
     (b"0" * 64 + b"  README.md\n", "holds no heart_rate")],
)  # fmt: skip
def test_invalid_list_is_refused(watches, sums, reason):
    mirror, options = watches
    mirror.files[mirror.sums] = sums
    with pytest.raises(ReadError, match=reason):
        fetch_sleep_accel(**options)


def test_pinned_hash_overrules_list(serve, tmp_path):
    mirror = serve("sleep-edfx", {"sleep-cassette/SC4001E0-PSG.edf": b"not that night"})
    with pytest.raises(ReadError, match=r"SHA256SUMS.txt has sha256 .* published"):
        fetch_sleep_edf(data_home=tmp_path, mirror=mirror.address, verbose=0)


def test_acceleration_is_optional(watches):
    mirror, options = watches
    name = "motion/8_acceleration.txt"
    sums = mirror.files[mirror.sums].decode()
    motion = "".join(f"{t / 50} 0.0 0.0 1.0\n" for t in range(240 * 50)).encode()
    mirror.files[f"/sleep-accel/1.0.0/{name}"] = motion
    mirror.files[mirror.sums] = f"{sums}{hashlib.sha256(motion).hexdigest()} {name}\n".encode()
    assert fetch_sleep_accel(**options)[0].modalities == ("ibi",)
    assert fetch_sleep_accel(motion=True, **options)[0].modalities == ("ibi", "actigraphy")


def test_records_in_folders(serve, tmp_path):
    write_bidsleep(tmp_path / "source", motion=False)
    write_bidsleep(tmp_path / "source", "Bidslab01", 3)
    paths = [path for path in (tmp_path / "source").rglob("*") if path.is_file()]
    files = {path.relative_to(tmp_path / "source").as_posix(): path.read_bytes() for path in paths}
    mirror = serve("bidsleep-dataset", files, "1.0.1")
    options = {"data_home": tmp_path, "mirror": mirror.address, "verbose": 0}
    (night,) = fetch_bidsleep(records="Bidslab01-3", **options)
    assert (night.id, night.modalities) == ("Bidslab01-3", ("ibi",))
    assert len(fetch_bidsleep(motion=True, **options)[1].modalities) == 2
    with pytest.raises(
        ReadError, match="has no record 'Bidslab02'; it has Bidslab00-1, Bidslab01-3"
    ):
        fetch_bidsleep(records="Bidslab02", **options)


def test_second_recorder_is_skipped(serve, tmp_path):
    files = {"ucddb002.rec": b"", "ucddb002_stage.txt": b"0\n", "ucddb002_lifecard.edf": b"big"}
    mirror = serve("ucddb", {**files, "SubjectDetails.xls": b"", "ucddb002_respevt.txt": b""})
    with pytest.warns(RecordingWarning), pytest.raises(ReadError, match=r"ucddb002\.rec.*empty"):
        fetch_ucddb(data_home=tmp_path, mirror=mirror.address, verbose=0)
    assert not [path for path, _ in mirror.asked if "lifecard" in path]
    assert (tmp_path / "ucddb" / "1.0.0" / "SubjectDetails.xls").is_file()


def test_archive_is_unpacked(serve, tmp_path):
    clock = [f"1,22:{i // 60:02d}:{i % 60:02d}" for i in range(120)]
    columns = {"RR": ("ibi_s", 1.0), "Actigraph": ("Vector Magnitude", 7)}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, (column, value) in columns.items():
            rows = "".join(f"{i},{value},{time}\n" for i, time in enumerate(clock))
            file.writestr(f"DataPaper/user_1/{name}.csv", f",{column},day,time\n{rows}")
        head = ",In Bed Date,In Bed Time,Out Bed Date,Out Bed Time,Total Sleep Time (TST)\n"
        file.writestr("DataPaper/user_1/sleep.csv", head)
    mirror = serve("mmash", {"MMASH.zip": archive.getvalue()})
    for _ in range(2):
        (day,) = fetch_mmash(data_home=tmp_path, mirror=mirror.address, verbose=0)
        assert day.n_epochs == 4
        beats = next(tmp_path.rglob("user_1/RR.csv"))
        assert len(beats.read_text().splitlines()) == 121
        # as a session leaves it that is killed while it unpacks
        beats.write_text(",ibi_s,day,time\n0,1.0,1,22:00:00\n")


def test_missing_pooch_suggests_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r"pip install 'sleep2vec-sklearn\[fetch\]'"):
        fetch_sleep_accel(data_home=tmp_path)


def test_verbose_shows_progress(watches, capsys):
    _, options = watches
    fetch_sleep_accel(**{**options, "verbose": 1})
    assert "sleep-accel: 100%" in capsys.readouterr().err
