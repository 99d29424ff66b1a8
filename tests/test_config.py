# SPDX-License-Identifier: BSD-3-Clause
import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from sleep2vec_sklearn import config, config_context, get_config, set_config, show_versions


@pytest.fixture(autouse=True)
def settings_as_before():
    with config_context():
        yield


def test_context_restores_settings():
    with config_context(leakage="ignore"):
        with config_context(cache_bytes=10):
            set_config(leakage="raise", cache_bytes=20)
            assert (get_config()["leakage"], get_config()["cache_bytes"]) == ("raise", 20)
        assert (get_config()["leakage"], get_config()["cache_bytes"]) == ("ignore", 512 * 2**20)
    assert get_config()["leakage"] == "warn"
    with pytest.raises(ZeroDivisionError), config_context(leakage="raise"):
        _ = 1 / 0
    assert get_config()["leakage"] == "warn"


def test_settings_change_one_by_one():
    get_config()["leakage"] = "raise"
    assert get_config()["leakage"] == "warn"
    assert get_config() == {"leakage": "warn", "cache_dir": None, "cache_bytes": 512 * 2**20}
    set_config(leakage="ignore")
    set_config(cache_bytes=5)
    assert get_config()["leakage"] == "ignore"


@pytest.mark.parametrize(
    ("settings", "accepted"),
    [({"leakage": "off"}, "warn, raise, ignore; got 'off'"),
     ({"cache_bytes": -1}, "0 or more; got -1"), ({"cache_bytes": True}, "0 or more; got True"),
     ({"cache_dir": 3}, "a folder or None; got 3"),
     ({"cache_dir": ""}, "a folder or None; got ''")],
)  # fmt: skip
def test_invalid_setting_is_refused(settings, accepted):
    before = get_config()
    with pytest.raises(ValueError, match=accepted):
        set_config(**settings)
    with pytest.raises(ValueError, match=accepted), config_context(**settings):
        pass
    assert get_config() == before


def test_relative_folder_becomes_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    set_config(cache_dir="tokens")
    assert get_config()["cache_dir"] == str(tmp_path / "tokens")
    with pytest.raises(TypeError, match="leak"):
        set_config(leak="warn")


def test_threads_follow_main_thread():
    with config_context(leakage="raise"), ThreadPoolExecutor(1) as pool:
        assert pool.submit(get_config).result()["leakage"] == "raise"
    config.import_settings({"leakage": "raise"})
    assert get_config()["leakage"] == "warn"


def test_thread_context_overlays_main_thread():
    def look():
        with config_context(leakage="ignore"):
            return get_config()

    with config_context(leakage="raise", cache_bytes=7), ThreadPoolExecutor(1) as pool:
        seen = pool.submit(look).result()
    assert (seen["leakage"], seen["cache_bytes"]) == ("ignore", 7)


def test_thread_contexts_are_independent():
    barrier, seen = threading.Barrier(2), {}

    def look(choice):
        with config_context(leakage=choice):
            barrier.wait()
            seen[choice] = get_config()["leakage"]
            barrier.wait()

    threads = [threading.Thread(target=look, args=(choice,)) for choice in ("raise", "ignore")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"raise": "raise", "ignore": "ignore"}
    assert get_config()["leakage"] == "warn"


@pytest.fixture
def worker(monkeypatch):
    """This process as if another had started it."""
    monkeypatch.setattr(multiprocessing, "parent_process", object)
    monkeypatch.setattr(config, "_inherited", {})


def test_worker_ranks_own_settings_higher(worker):
    config.import_settings({"leakage": "raise", "cache_bytes": 7})
    set_config(cache_bytes=8)
    assert (get_config()["leakage"], get_config()["cache_bytes"]) == ("raise", 8)
    assert config.export_settings() == {"leakage": "raise", "cache_bytes": 8}
    config.import_settings({})
    assert get_config()["leakage"] == "warn"


def test_copies_bring_no_settings_back(worker):
    config.import_settings({"leakage": "raise"})
    with config_context(leakage="ignore"):
        config.import_settings(config.export_settings())
    assert get_config()["leakage"] == "raise"


def test_versions_are_shown(capsys):
    show_versions()
    shown = capsys.readouterr().out
    for what in ("python", "sleep2vec-sklearn", "torch", "scikit-learn", "setting leakage: 'warn'"):
        assert what in shown
