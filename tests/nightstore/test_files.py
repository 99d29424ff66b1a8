# SPDX-License-Identifier: BSD-3-Clause
"""Files of a store that are damaged, foreign, old or gone."""

import gzip
import json
import shutil
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from sleep2vec_sklearn.errors import ReadError
from sleep2vec_sklearn.pretraining import NightStore

# written by the commit before manifests were .npz
OLD_STORE = Path(__file__).parent / "old_store"


def night_file(folder, index):
    """File of one of the nights n0, n1, ..."""
    night = NightStore.open(folder)._nights[index]
    return Path(night.path), night


def rewrite(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_window_reads_its_bytes_alone(folder):
    store = NightStore.open(folder)
    expected = store.window(2, "ibi", 4, 3)
    path, night = night_file(folder, 2)
    row = store.contents["ibi"].width * 2
    first = night.offsets[list(store.contents).index("ibi")] + 4 * row
    data = bytearray(path.read_bytes())
    data[:first] = b"\xff" * first
    path.write_bytes(data[: first + 3 * row])
    np.testing.assert_array_equal(store.window(2, "ibi", 4, 3), expected)
    with pytest.raises(ReadError, match="shorter than it was written"):
        store.window(2, "ibi", 5, 3)


def test_foreign_folder_is_refused(tmp_path):
    with pytest.raises(ReadError, match="is no store of nights"):
        NightStore.open(tmp_path)
    (tmp_path / "store.json").write_text("{")
    with pytest.raises(ReadError, match="cannot be read"):
        NightStore.open(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"format_version": 99}, r"format 99.*Upgrade"),
     ({"revision": 0}, r"revision 0 of the conditioning.*another folder")],
)  # fmt: skip
def test_other_version_is_refused(folder, nights, prepare, change, message):
    rewrite(folder / "store.json", **change)
    for refused in (NightStore.open, partial(prepare, nights)):
        with pytest.raises(ReadError, match=message):
            refused(folder)


def test_damaged_manifest_is_named(folder, nights, prepare, assert_same):
    (path,) = folder.glob("manifest*")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ReadError, match=r"manifest-.*damaged.*run prepare_cohort again"):
        NightStore.open(folder)
    path.unlink()
    with pytest.raises(ReadError, match="no preparation of this store has ended"):
        NightStore.open(folder)
    assert_same(prepare(nights, folder), NightStore.open(folder))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 1])
def test_flipped_manifest_bit_is_noticed(folder, share):
    (path,) = folder.glob("manifest-*")
    data = bytearray(path.read_bytes())
    data[int(share * (len(data) - 1))] ^= 1
    path.write_bytes(data)
    with pytest.raises(ReadError, match="damaged"):
        NightStore.open(folder)


def test_flipped_night_bit_is_found(folder, nights, prepare):
    path, night = night_file(folder, 1)
    data = bytearray(path.read_bytes())
    data[night.offsets[0] + 5] ^= 1
    path.write_bytes(data)
    store = NightStore.open(folder)
    ((name, reason),) = store.verify().to_numpy()
    assert (name, reason) == ("n1", f"{path}: wrong checksum of spo2")
    assert store.take([0, 2]).verify().empty
    with pytest.raises(ReadError, match=r"1 of 5 nights are damaged.*The first: .*wrong checksum"):
        NightStore.open(folder, verify=True)
    path.unlink()
    assert store.verify()["recording"].tolist() == ["n1"]
    prepare(nights, folder)
    assert NightStore.open(folder, verify=True).verify().empty


def test_old_store_is_read(monkeypatch):
    pytest.importorskip("pyarrow")
    store = NightStore.open(OLD_STORE, verify=True)
    assert store.table.index.tolist() == ["n0", "n1"]
    assert store.table["subject"].tolist() == ["s0", None]
    assert store.table["age"].tolist()[0] == 50
    assert store.table["coverage_ibi"].tolist() == [10, 0]
    assert store.failures["recording"].tolist() == ["flat"]
    assert store.window(0, "ibi", 0, 12).any()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"sleep2vec-sklearn\[parquet\].*delete manifest-"):
        NightStore.open(OLD_STORE)


def test_old_nights_are_found(nights, prepare, tmp_path):
    pytest.importorskip("pyarrow")
    shutil.copytree(OLD_STORE, tmp_path / "store")
    store = prepare(nights[:2], tmp_path / "store")
    assert len(list((tmp_path / "store").glob("nights/??/*"))) == 3
    assert [path.suffix for path in (tmp_path / "store").glob("manifest-*")] == [".gz"]
    assert NightStore.open(tmp_path / "store").identify() == store.identify()


def test_nights_without_checksums(folder, nights, prepare):
    for path in folder.glob("nights/??/*"):
        with safe_open(path, "numpy") as file:
            metadata = json.loads(file.metadata()["sleep2vec_sklearn"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        del metadata["crc32"]
        save_file(tensors, path, {"sleep2vec_sklearn": json.dumps(metadata)})
    prepare(nights, folder)
    store = NightStore.open(folder, verify=True)
    assert store.identify() == [[night.key] for night in store._nights]


def forge_manifest(folder, change):
    (path,) = folder.glob("manifest-*.json.gz")
    document = json.loads(gzip.decompress(path.read_bytes()))
    change(document["nights"][0], document)
    path.write_bytes(gzip.compress(json.dumps(document).encode()))


@pytest.mark.parametrize(
    "change",
    [lambda night, _: night.__setitem__(0, "../../../etc/passwd"),
     lambda night, _: night.__setitem__(1, 10**9), lambda night, _: night.__setitem__(1, 1.5),
     lambda night, _: night.__setitem__(2, "ff"), lambda night, _: night[3].append(0),
     lambda night, _: night[4].__setitem__(0, "x"),
     lambda _, document: document["subjects"]["recording"].__setitem__(0, []),
     lambda _, document: document["subjects"]["subject"].__setitem__(0, {})],
)  # fmt: skip
def test_forged_manifests_are_refused(folder, change):
    forge_manifest(folder, change)
    with pytest.raises(ReadError, match=r"manifest-.*damaged"):
        NightStore.open(folder)


def test_growing_manifests_are_refused(folder, monkeypatch):
    monkeypatch.setattr("sleep2vec_sklearn.nightstore._files.LONGEST_MANIFEST", 100)
    with pytest.raises(ReadError, match="more than 100 bytes"):
        NightStore.open(folder)


def test_offsets_beyond_the_file(folder):
    forge_manifest(folder, lambda night, _: night[3].__setitem__(0, 2**40))
    store = NightStore.open(folder)
    with pytest.raises(ReadError, match="shorter than it was written"):
        store.window(0, next(iter(store.contents)), 0, 4)


def test_widths_fit_the_conditioning(folder):
    contents = json.loads((folder / "store.json").read_text())["contents"]
    contents["ibi"]["width"] = 10**9
    rewrite(folder / "store.json", contents=contents)
    with pytest.raises(ReadError, match="of this width"):
        NightStore.open(folder)
