# SPDX-License-Identifier: BSD-3-Clause
"""The arithmetic of a cohort on a cluster, against a network and files of its sizes."""

import sys

import numpy as np
import pytest

from benchmarks.speed import cluster
from sleep2vec_sklearn import EpochSequence, Sleep2VecTransformer, load_checkpoint
from sleep2vec_sklearn.encoding._disk_cache import pack, token_key
from sleep2vec_sklearn.encoding._sleep2vec import as_encoder
from sleep2vec_sklearn.model.encoder import EncodedModality

PAPER = ("eeg", "eog", "emg", "ecg", "airflow", "effort", "spo2", "ibi", "resp")


def cells(lines):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_workers_share_the_hours():
    rows = cells(cluster.durations(nights=7200, seconds=2.0, workers=[1, 4], file_mb=100))
    assert rows == [["1", "4", "50 MB/s"], ["4", "1", "200 MB/s"]]
    widths = as_encoder(load_checkpoint("sleep2vec-mini")).widths
    assert sum(widths[name] for name in (*PAPER, "time")) == cluster.TOKENS
    nights = [{"ibi": np.ones(120)}]
    assert Sleep2VecTransformer().fit(nights).n_features_out_ == cluster.NIGHT_WIDTH
    epochs = EpochSequence(nights)
    assert Sleep2VecTransformer().fit(epochs).n_features_out_ == cluster.EPOCH_WIDTH
    assert cluster.EPOCHS == cluster.HOURS * 120


def test_sizes_match_written_files():
    tokens = np.zeros((cluster.EPOCHS, cluster.TOKENS), np.float32)
    entry = pack(token_key("a"), EncodedModality(tokens, np.ones(cluster.EPOCHS, bool)))
    rows = {name: (one, all_of_them) for name, one, all_of_them in cells(cluster.sizes(1000, 94))}
    assert rows["EDF files, 8 h"] == ("94 MB", "94 GB")
    assert rows["a row per night"] == ("2.4 kB", "2.4 MB")
    assert rows["a row per epoch (960 x 423 x 4 bytes)"] == ("1.62 MB", "1.62 GB")
    megabytes = float(rows["cache: tokens of 9 modalities"][0].removesuffix(" MB"))
    assert 1e6 * megabytes == pytest.approx(len(entry), rel=0.01)


@pytest.mark.parametrize(
    ("size", "text"), [(999, "999 bytes"), (1000, "1 kB"), (4.43e6, "4.43 MB"), (2e15, "2e+03 TB")]
)
def test_bytes_have_a_unit(size, text):
    assert cluster._bytes(size) == text


def test_both_tables_are_printed(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["cluster", "--seconds", "2", "--workers", "3"])
    cluster.main()
    shown = capsys.readouterr().out
    assert shown.splitlines()[2] == "| 3 | 7.8 | 141 MB/s |"
    assert "| | one night | 42,000 nights |" in shown
