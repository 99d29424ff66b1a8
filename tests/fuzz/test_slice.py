# SPDX-License-Identifier: BSD-3-Clause
"""A share of the damaged inputs of every kind; all of them by ``python -m tests.fuzz``."""

import json

import mne
import numpy as np
import pytest

from sleep2vec_sklearn.readers import EdfSource
from tests.fuzz import edf, kills, runner
from tests.fuzz.targets import MODULES, Target, load_target, make_input, run_input


@pytest.mark.parametrize("kind", MODULES)
def test_damaged_inputs_are_refused(kind, tmp_path):
    target = load_target(kind)
    corpus = target.make_corpus(tmp_path / "corpus")
    faults = []
    for index in range(target.n_slice):
        outcome = run_input(target, make_input(target, corpus, 0, index, tmp_path / "input"))
        if outcome.kind not in ("read", "refused"):
            faults.append((index, outcome))
    assert faults == []


def test_mne_agrees_on_sound_files(tmp_path):
    per_volt = {"uV": 1e6, "mV": 1e3}
    for path in edf.make_corpus(tmp_path / "corpus"):
        if path.name in ("gaps.edf", "twice.edf"):
            continue  # MNE leaves gaps out, and renames what is there twice
        read = mne.io.read_raw_bdf if path.suffix == ".bdf" else mne.io.read_raw_edf
        _, expected = edf.read_independently(path)
        header = EdfSource(path).header
        own = header.read_digital(path, header.signals)
        for signal, digital, (label, values) in zip(header.signals, own, expected, strict=True):
            # alone, as MNE resamples to the highest rate
            raw = read(path, include=[label], verbose="error").get_data()[0]
            np.testing.assert_allclose(raw * per_volt.get(signal.dimension, 1), values, 1e-9, 1e-9)
            np.testing.assert_allclose(signal.to_physical(digital), values, 1e-5, 1e-3)


def make_numbers(folder):
    folder.mkdir(parents=True)
    (folder / "number").write_text("1")
    return [folder / "number"]


def test_runs_go_on(tmp_path, monkeypatch):
    done = []

    def run_child(kind, n, seed, outcomes, keep):
        first = next(index for index in range(n) if index not in outcomes)
        done.append(first)
        keep({"index": first, "outcome": "read"})

    monkeypatch.setattr(runner, "_run_child", run_child)
    runner.run("npz", 2, 0, tmp_path)
    with (tmp_path / "npz-0.jsonl").open("a") as log:
        log.write('{"index": 2, "outc')
    log = tmp_path / "npz-0.jsonl"
    assert sorted(runner.read_log(log)) == [0, 1]
    assert sorted(runner.run("npz", 3, 0, tmp_path)) == [0, 1, 2]
    assert done == [0, 1, 2]


@pytest.mark.parametrize(
    ("check", "kind"),
    [(lambda path: [], "read"), (lambda path: ["a"], "different"),
     (lambda path: 1 / 0, "foreign")],
)  # fmt: skip
def test_ends_are_told_apart(tmp_path, check, kind):
    target = Target(make_numbers, lambda rng, path: path.write_text("2"), check)
    corpus = target.make_corpus(tmp_path / "corpus")
    path = make_input(target, corpus, 0, 0, tmp_path / "input")
    assert run_input(target, path).kind == kind
    assert corpus[0].read_text() == "1"


@pytest.mark.parametrize(
    ("left", "problem"),
    [({"stages.csv": b"epoch,on"}, "stages.csv is neither the old nor the new one"),
     ({"more.txt": b""}, "more.txt is left"), ({"../b.csv": b""}, "b.csv is outside")],
)  # fmt: skip
def test_traces_of_kills_are_found(tmp_path, monkeypatch, left, problem):
    written = {"stages.csv": b"epoch,onset"}

    def write(folder, variant):
        for name, data in written.items():
            (folder / name).write_bytes(data)

    monkeypatch.setitem(kills.OPERATIONS, "staged", kills.Operation(write))
    monkeypatch.setattr(kills, "sound_of", lambda name: kills.Sound(written, 1, 0.1))
    path = tmp_path / "staged"
    (path / "work").mkdir(parents=True)
    assert kills.check(path) == []
    for name, data in left.items():
        (path / "work" / name).write_bytes(data)
    assert problem in kills.check(path)


def test_kills_come_at_all_places(tmp_path, monkeypatch):
    def write(folder, variant):
        for _ in range(9):
            with (folder / "a").open("ab") as file:
                file.write(b"1")

    monkeypatch.setitem(kills.OPERATIONS, "staged", kills.Operation(write, replaces=False))
    monkeypatch.setattr(kills, "sound_of", lambda name: kills.Sound({"a": b"1" * 9}, 9, 0.01))
    sizes = set()
    for seed in range(12):
        path = tmp_path / str(seed) / "staged"
        (path / "work").mkdir(parents=True)
        kills.kill(np.random.default_rng(seed), path)
        sizes.add(len(kills.contents_of(path / "work").get("a", b"")))
    assert len(sizes) >= 4


def test_child_reports_each_input(tmp_path, capsys):
    outcomes = runner.run("npz", 3, 0, tmp_path)
    assert {line["outcome"] for line in outcomes.values()} <= {"read", "refused"}
    assert all(line["seconds"] < 10 for line in outcomes.values())
    assert len(json.loads((tmp_path / "npz-0.jsonl").read_text().splitlines()[0])) == 5
