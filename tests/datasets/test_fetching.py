# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import hashlib
import io
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sleep2vec_sklearn.datasets import (
    fetch_mmash,
    fetch_sleep_accel,
    fetch_sleep_edf,
    fetch_ucddb,
)
from sleep2vec_sklearn.datasets import (
    physionet as downloading,
)
from sleep2vec_sklearn.datasets import (
    physionet as fetching,
)
from sleep2vec_sklearn.errors import ReadError, RecordingWarning

pytest.importorskip("pooch")


def watch_files(name):
    """A simulated night in the layout of sleep-accel."""
    labels = "".join(f"{30 * i} {i % 6}\n" for i in range(8))
    rates = "".join(f"{t},60\n" for t in range(0, 240, 5))
    return {
        f"labels/{name}_labeled_sleep.txt": labels.encode(),
        f"heart_rate/{name}_heartrate.txt": rates.encode(),
    }


class Mirror:
    """A server on this computer, which counts requests and can cut answers short."""

    def __init__(self, slug, files):
        self.files = {f"/{slug}/1.0.0/{name}": data for name, data in files.items()}
        sums = [f"{hashlib.sha256(data).hexdigest()} {name}" for name, data in files.items()]
        self.sums = f"/{slug}/1.0.0/SHA256SUMS.txt"
        self.files[self.sums] = ("\n".join(sums) + "\n").encode()
        self.asked, self.cut = [], {}
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _handler(mirror):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                wanted = self.headers.get("Range")
                mirror.asked.append((self.path, wanted))
                data = mirror.files.get(self.path)
                if data is None:
                    self.send_error(404)
                    return
                first = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
                self.send_response(206 if wanted else 200)
                self.send_header("Content-Length", str(len(data) - first))
                self.end_headers()
                self.wfile.write(data[first : mirror.cut.pop(self.path, None)])

            def log_message(self, *args):
                pass

        return Handler

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    mirrors = []

    def start(slug, files):
        mirrors.append(Mirror(slug, files))
        return mirrors[-1]

    yield start
    for mirror in mirrors:
        mirror.close()


@pytest.fixture
def watches(serve, tmp_path):
    mirror = serve(
        "sleep-accel", {**watch_files("46343"), **watch_files("8"), "motion/8.txt": b"0"}
    )
    return mirror, {"data_home": tmp_path, "mirror": mirror.address, "verbose": 0}


def test_a_data_set_is_fetched_once_and_without_what_is_not_read(watches):
    mirror, options = watches
    cohort = fetch_sleep_accel(**options)
    assert [night.id for night in cohort] == ["8", "46343"]
    n_asked = len(mirror.asked)
    assert n_asked == 5
    assert not [path for path, _ in mirror.asked if "motion" in path]
    assert len(fetch_sleep_accel(**options)) == 2
    assert len(mirror.asked) == n_asked


def test_only_the_records_asked_for_are_fetched_and_loaded(watches):
    mirror, options = watches
    assert [night.id for night in fetch_sleep_accel(records=["463"], **options)] == ["46343"]
    assert len(mirror.asked) == 3
    fetch_sleep_accel(**options)
    assert [night.id for night in fetch_sleep_accel(records="8", **options)] == ["8"]
    with pytest.raises(ReadError, match="has no record '9'"):
        fetch_sleep_accel(records=["8", "9"], **options)


@pytest.mark.parametrize("record", ["SC4001", "SC4001E0", "SC4001EC-Hypnogram"])
def test_a_night_is_fetched_with_its_hypnogram_however_it_is_named(tmp_path, record):
    folder = tmp_path / "sleep-edfx" / "1.0.0"
    folder.mkdir(parents=True)
    sums = {**fetching._DATASETS["sleep-edfx"].pinned, "sleep-cassette/SC4011E0-PSG.edf": "0" * 64}
    lines = [f"{sha256} {name}" for name, sha256 in sums.items()]
    (folder / "SHA256SUMS.txt").write_text("\n".join(lines))
    both = "SC4001E0-PSG.edf, sleep-cassette/SC4001EC-Hypnogram.edf missing"
    with pytest.raises(ReadError, match=both):
        fetch_sleep_edf(records=record, data_home=tmp_path, download_if_missing=False, verbose=0)


def test_an_address_without_its_scheme_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(downloading, "_RETRIES", 0)
    with pytest.raises(ReadError, match=r"physionet.org/files.* gave MissingSchema"):
        fetch_sleep_accel(data_home=tmp_path, mirror="physionet.org/files", verbose=0)


def test_what_is_here_works_without_a_network(watches):
    mirror, options = watches
    fetch_sleep_accel(**options)
    mirror.close()
    assert len(fetch_sleep_accel(download_if_missing=False, **options)) == 2
    assert len(fetch_sleep_accel(**options)) == 2


def test_without_a_network_the_way_out_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(downloading, "_RETRIES", 0)
    with pytest.raises(ReadError, match=r"download_if_missing is False.*wget -r"):
        fetch_sleep_accel(data_home=tmp_path, download_if_missing=False, verbose=0)
    with pytest.raises(ReadError, match=r"SHA256SUMS.txt missing, and http://127.*wget -r"):
        fetch_sleep_accel(data_home=tmp_path, mirror="http://127.0.0.1:9", verbose=0)


def test_a_missing_record_is_told_without_a_network(watches):
    _, options = watches
    fetch_sleep_accel(records=["8"], **options)
    with pytest.raises(ReadError, match=r"46343_heartrate.txt, labels/46343.*missing"):
        fetch_sleep_accel(download_if_missing=False, **options)


def test_a_download_goes_on_where_it_was_cut_off(watches, monkeypatch):
    monkeypatch.setattr(downloading, "_CHUNK_BYTES", 10)
    mirror, options = watches
    path = "/sleep-accel/1.0.0/heart_rate/8_heartrate.txt"
    mirror.cut[path] = 100
    assert len(fetch_sleep_accel(**options)) == 2
    assert [wanted for asked, wanted in mirror.asked if asked == path] == [None, "bytes=100-"]


def test_a_session_that_was_killed_is_resumed(watches, tmp_path):
    mirror, options = watches
    part = tmp_path / "sleep-accel" / "1.0.0" / "labels" / "8_labeled_sleep.txt.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(watch_files("8")["labels/8_labeled_sleep.txt"][:10])
    fetch_sleep_accel(**options)
    assert ("/sleep-accel/1.0.0/labels/8_labeled_sleep.txt", "bytes=10-") in mirror.asked
    assert not part.exists()


def test_a_part_of_another_version_is_not_kept(watches, tmp_path):
    _, options = watches
    part = tmp_path / "sleep-accel" / "1.0.0" / "labels" / "8_labeled_sleep.txt.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 10)
    assert len(fetch_sleep_accel(**options)) == 2


def test_a_file_that_is_not_what_its_hash_says_is_refused(watches):
    mirror, options = watches
    mirror.files["/sleep-accel/1.0.0/labels/8_labeled_sleep.txt"] = b"0 0\n"
    with pytest.raises(ReadError, match=r"8_labeled_sleep.txt: its sha256 is not"):
        fetch_sleep_accel(**options)


def test_a_file_damaged_on_this_computer_is_fetched_again(watches, tmp_path):
    _, options = watches
    fetch_sleep_accel(**options)
    path = tmp_path / "sleep-accel" / "1.0.0" / "labels" / "8_labeled_sleep.txt"
    path.write_bytes(b"0 0\n")
    with pytest.raises(ReadError, match="damaged"):
        fetch_sleep_accel(download_if_missing=False, **options)
    fetch_sleep_accel(**options)
    assert path.read_bytes() == watch_files("8")["labels/8_labeled_sleep.txt"]


@pytest.mark.parametrize(
    ("sums", "reason"),
    [
        (b"<html>log in</html>", "no sha256 sums"),
        (b"0" * 64 + b"  ../../evil.txt\n", "outside of its folder"),
        (b"0" * 64 + b"  README.md\n", "holds no heart_rate"),
    ],
)
def test_a_list_that_cannot_be_right_is_refused(watches, sums, reason):
    mirror, options = watches
    mirror.files[mirror.sums] = sums
    with pytest.raises(ReadError, match=reason):
        fetch_sleep_accel(**options)


def test_a_list_that_contradicts_a_known_hash_is_refused(serve, tmp_path):
    mirror = serve("sleep-edfx", {"sleep-cassette/SC4001E0-PSG.edf": b"not that night"})
    with pytest.raises(ReadError, match=r"SHA256SUMS.txt has sha256 .* published"):
        fetch_sleep_edf(data_home=tmp_path, mirror=mirror.address, verbose=0)


def test_acceleration_is_fetched_only_where_it_is_wanted(watches):
    mirror, options = watches
    name = "motion/8_acceleration.txt"
    sums = mirror.files[mirror.sums].decode()
    motion = "".join(f"{t / 50} 0.0 0.0 1.0\n" for t in range(240 * 50)).encode()
    mirror.files[f"/sleep-accel/1.0.0/{name}"] = motion
    mirror.files[mirror.sums] = f"{sums}{hashlib.sha256(motion).hexdigest()} {name}\n".encode()
    assert fetch_sleep_accel(**options)[0].modalities == ("ibi",)
    assert fetch_sleep_accel(motion=True, **options)[0].modalities == ("ibi", "actigraphy")


def test_whole_polysomnograms_are_fetched_without_the_second_recorder(serve, tmp_path):
    files = {"ucddb002.rec": b"", "ucddb002_stage.txt": b"0\n", "ucddb002_lifecard.edf": b"big"}
    mirror = serve("ucddb", {**files, "SubjectDetails.xls": b"", "ucddb002_respevt.txt": b""})
    with pytest.warns(RecordingWarning), pytest.raises(ReadError, match=r"ucddb002\.rec.*empty"):
        fetch_ucddb(data_home=tmp_path, mirror=mirror.address, verbose=0)
    assert not [path for path, _ in mirror.asked if "lifecard" in path]
    assert (tmp_path / "ucddb" / "1.0.0" / "SubjectDetails.xls").is_file()


def test_an_archive_is_unpacked(serve, tmp_path):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        clock = [f"1,22:{i // 60:02d}:{i % 60:02d}" for i in range(120)]
        file.writestr(
            "DataPaper/user_1/RR.csv",
            ",ibi_s,day,time\n" + "".join(f"{i},1.0,{t}\n" for i, t in enumerate(clock)),
        )
        file.writestr(
            "DataPaper/user_1/Actigraph.csv",
            ",Vector Magnitude,day,time\n" + "".join(f"{i},7,{t}\n" for i, t in enumerate(clock)),
        )
        file.writestr(
            "DataPaper/user_1/sleep.csv",
            ",In Bed Date,In Bed Time,Out Bed Date,Out Bed Time,Total Sleep Time (TST)\n",
        )
    mirror = serve("mmash", {"MMASH.zip": archive.getvalue()})
    for _ in range(2):
        (day,) = fetch_mmash(data_home=tmp_path, mirror=mirror.address, verbose=0)
        assert day.n_epochs == 4
        beats = next(tmp_path.rglob("user_1/RR.csv"))
        assert len(beats.read_text().splitlines()) == 121
        # as a session leaves it that is killed while it unpacks
        beats.write_text(",ibi_s,day,time\n0,1.0,1,22:00:00\n")


def test_without_pooch_the_way_out_is_told(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r"pip install 'sleep2vec-sklearn\[fetch\]'"):
        fetch_sleep_accel(data_home=tmp_path)


def test_progress_is_shown_when_asked_for(watches, capsys):
    _, options = watches
    fetch_sleep_accel(**{**options, "verbose": 1})
    assert "sleep-accel: 100%" in capsys.readouterr().err
