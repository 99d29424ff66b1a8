# SPDX-License-Identifier: BSD-3-Clause
"""Encoders from a server on this computer that speaks the protocol of the Hugging Face hub."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sleep2vec_sklearn import Sleep2VecTransformer, load_checkpoint, save_checkpoint, stage_night
from sleep2vec_sklearn.errors import CheckpointError, CheckpointWarning
from sleep2vec_sklearn.finetuning import load_finetuned
from sleep2vec_sklearn.model import SeqSleepNet, Sleep2Vec, convert_checkpoint
from tests.finetuned_golden import Case
from tests.hub import Hub
from tests.seqsleepnet import named_night, noise, random_state

ROOT = Path(__file__).parents[2]
LICENSED = {"README.md": b"---\nlicense: mit\n---\n# mine\n"}
FOLDER = "shhs_ckpt/s2v-medium-stage5-eeg"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub without repositories, and an empty cache."""
    pytest.importorskip("huggingface_hub", "1.26", reason="needs huggingface_hub")
    server = Hub()
    use_cache(monkeypatch, tmp_path / "cache")
    template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.address)
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    yield server
    server.close()


def use_cache(monkeypatch, folder):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))


@pytest.fixture
def no_waiting(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)


@pytest.fixture
def files(tmp_path, small_config):
    """Function of a seed: what save_checkpoint writes in a folder."""

    def make(seed, **card):
        folder = tmp_path / f"seed{seed}"
        save_checkpoint(folder, Sleep2Vec.from_seed(small_config, seed), small_config, card=card)
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    return make


@pytest.fixture(scope="module")
def authors(tmp_path_factory):
    """A fine-tuned network as its authors publish it: weights, and a YAML file next to them."""
    yaml = pytest.importorskip("yaml")
    case = Case.load("stage5_lora")
    path = case.write(tmp_path_factory.mktemp("authors") / "best.ckpt")
    content = torch.load(path, weights_only=True)
    config = {kind: content.pop(f"{kind}_config") for kind in ("model", "finetune")}
    torch.save(content, path)
    described = {f"{FOLDER}/s2v.yaml": yaml.safe_dump(config).encode(), "README.md": b"# s2v\n"}
    return case, {f"{FOLDER}/best.ckpt": path.read_bytes(), **described}


def as_bytes(content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def test_authors_checkpoint_loads(hub, authors):
    case, content = authors
    commit = hub.push("zrjin/s2v_stage5", content)
    with pytest.warns(CheckpointWarning, match="zrjin/s2v_stage5 states no licence"):
        encoder = load_checkpoint("hf://zrjin/s2v_stage5")
    address = f"hf://zrjin/s2v_stage5@{commit}/{FOLDER}/best.ckpt"
    assert (encoder.card["address"], encoder.card["licence"]) == (address, "not stated")
    assert encoder.name == "zrjin/s2v_stage5/best"
    assert set(encoder.config.names) == {"eeg", "ibi", "resp"}
    # said once
    for again in (address, f"hf://zrjin/s2v_stage5@main/{FOLDER}"):
        assert load_checkpoint(again) is encoder
        assert case.of_network(load_finetuned(again)) < 1e-4
    assert sorted(name for name, _ in hub.asked) == sorted([".gitattributes", *content])


def test_hub_checkpoint_is_converted(hub, authors, tmp_path):
    hub.push("a/converted", {**authors[1], **LICENSED})
    sha256 = convert_checkpoint("hf://a/converted", tmp_path / "mine.safetensors")
    assert load_checkpoint("hf://a/converted").sha256 == sha256


def test_saved_folder_loads(hub, files):
    commit = hub.push("a/saved", files(1, licence="CC0-1.0", name="mine"))
    encoder = load_checkpoint("hf://a/saved")
    address = f"hf://a/saved@{commit}/model.safetensors"
    assert encoder.card == {"licence": "CC0-1.0", "name": "mine", "address": address}
    assert encoder.name == "a/saved"
    hub.push("a/deep", {f"small/{name}": data for name, data in files(1).items()} | LICENSED)
    assert load_checkpoint("hf://a/deep/small").name == "a/deep/small"
    assert load_checkpoint("hf://a/deep").card["licence"] == "mit"


@pytest.mark.parametrize(
    ("content", "licence"),
    [({"README.md": b"---\nlicense: other\nlicense_name: ours\n---\n"}, "ours"),
     ({"LICENSE.txt": b"Use it."}, "see its LICENSE.txt"),
     ({"README.md": b"---\nlicense: [\n---\n", "COPYING": b""}, "see its COPYING")],
)  # fmt: skip
def test_licences_are_found(hub, files, content, licence):
    weights = {"x.safetensors": files(1)["model.safetensors"]}
    hub.push("a/licensed", {**weights, **content})
    assert load_checkpoint("hf://a/licensed").card["licence"] == licence


def test_stages_by_address(hub):
    state = {f"nn.{name}": tensor for name, tensor in random_state().items()}
    hub.push("a/stager", {"eeg.ckpt": as_bytes({"state_dict": state}), **LICENSED})
    night = named_night({"C4-A1": noise(30)})
    found = stage_night(night, stager="hf://a/stager")
    expected = stage_night(night, stager=SeqSleepNet(random_state()))
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)
    assert found.card["address"].startswith("hf://a/stager@")


def test_pickles_keep_their_commit(hub, files, cohort, monkeypatch, tmp_path):
    first = hub.push("a/changed", files(1, licence="mit"))
    fitted = Sleep2VecTransformer("hf://a/changed", cache=None).fit(cohort[:2])
    rows = fitted.transform(cohort[:2])
    second = hub.push("a/changed", files(2, licence="mit"))
    assert second in load_checkpoint("hf://a/changed").card["address"]
    assert np.array_equal(fitted.transform(cohort[:2]), rows)
    copy = pickle.loads(pickle.dumps(fitted))
    assert copy.checkpoint == f"hf://a/changed@{first}/model.safetensors"
    assert fitted.checkpoint == "hf://a/changed"
    assert np.array_equal(copy.transform(cohort[:2]), rows)
    use_cache(monkeypatch, tmp_path / "empty")
    del hub.commits["a/changed"][first]
    with pytest.raises(CheckpointError, match=f"no revision '{first}', or no more"):
        copy.transform(cohort[:2])


def test_changed_commit_is_noticed(hub, files, cohort, monkeypatch, tmp_path):
    commit = hub.push("a/forged", files(1, licence="mit"))
    fitted = Sleep2VecTransformer("hf://a/forged", store_weights_in_pickle=True).fit(cohort[:2])
    whole = pickle.loads(pickle.dumps(fitted))
    hub.commits["a/forged"][commit] = files(2, licence="mit")
    use_cache(monkeypatch, tmp_path / "empty")
    with pytest.raises(CheckpointError, match=r"has sha256 .* was fitted with"):
        fitted.transform(cohort[:2])
    assert whole.transform(cohort[:2]).shape == (2, fitted.n_features_out_)


def test_broken_downloads_continue(hub, files, no_waiting, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    hub.cut["model.safetensors"] = [5000, 9000]
    hub.push("a/broken", files(1, licence="mit"))
    load_checkpoint("hf://a/broken")
    firsts = [first for name, first in hub.asked if name == "model.safetensors"]
    assert firsts == [0, 5000, 14000]


def test_failed_downloads_leave_nothing(hub, files, no_waiting):
    hub.cut["model.safetensors"] = [0] * 20
    hub.push("a/failing", files(1, licence="mit"))
    with pytest.raises(CheckpointError, match=r"a/failing: the download failed.*Try again, or"):
        load_checkpoint("hf://a/failing")
    hub.cut.clear()
    assert load_checkpoint("hf://a/failing").name == "a/failing"


@pytest.mark.parametrize(
    ("address", "words"),
    [("hf://a/none", "there is no repository a/none.*hf auth login"),
     ("hf://a/there@v9", "no revision 'v9'"),
     ("hf://a/there@feature/x", "no revision 'feature'.*%2F for a slash in its name"),
     (Path("hf://a/there"), r"text with two slashes, and no path. Pass 'hf://a/there'"),
     ("hf:/a/there", "text with two slashes"),
     ("hf://a/there/x.ckpt", r"no file or folder 'x\.ckpt'.*It has 1\.ckpt, 2\.ckpt"),
     ("hf://a/there", r"several checkpoints: 1\.ckpt, 2\.ckpt.*hf://a/there/1\.ckpt"),
     ("hf://a/there/1.ckpt", r"hf://a/there@\w+/1\.ckpt: .*loading them could run code"),
     ("hf://a/there/2.ckpt", r"hf://a/there@\w+/2\.ckpt: .*truncated or damaged"),
     ("hf://a/there/docs", "folder without a checkpoint"),
     ("hf://a/gated", "a gated repository.*/a/gated, then log in"),
     ("hf://a", "no address of the hub.*hf://owner/repository"),
     ("hf://datasets/a/there", "address of a dataset")],
)  # fmt: skip
def test_unusable_addresses_are_explained(hub, address, words):
    content = {"1.ckpt": as_bytes({"state_dict": {"a": torch.ones(2)}, "code": Path("x")})}
    content["2.ckpt"] = as_bytes({"state_dict": {"a": torch.ones(999)}})[:900]
    hub.push("a/there", {**content, "docs/page.txt": b"", **LICENSED})
    hub.push("a/gated", content)
    hub.gated.add("a/gated")
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(address)


def test_cache_serves_without_server(hub, files, monkeypatch):
    hub.push("a/cached", files(1, licence="mit"))
    encoder = load_checkpoint("hf://a/cached")
    hub.close()
    assert load_checkpoint("hf://a/cached") is encoder
    with pytest.raises(CheckpointError, match=r"the hub cannot be reached \(ConnectError"):
        load_checkpoint("hf://a/other")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match=r"HF_HUB_OFFLINE permits no download\. Unset it"):
        load_checkpoint("hf://a/cached@v2")


def test_refusals_leave_the_cache(hub, files):
    hub.push("a/refusing", files(1, licence="mit"))
    encoder = load_checkpoint("hf://a/refusing")
    hub.refused |= {"a/refusing", "a/unseen"}
    assert load_checkpoint("hf://a/refusing") is encoder
    with pytest.raises(CheckpointError, match=r"a/unseen: the download failed \(.*403"):
        load_checkpoint("hf://a/unseen")


@pytest.mark.parametrize("name", ["best.pt", "best.PTH", "best.CKPT"])
def test_torch_files_of_any_name(authors, tmp_path, name):
    case, content = authors
    (tmp_path / name).write_bytes(content[f"{FOLDER}/best.ckpt"])
    (tmp_path / "config.yaml").write_bytes(content[f"{FOLDER}/s2v.yaml"])
    assert set(load_checkpoint(tmp_path).config.names) == {"eeg", "ibi", "resp"}
    assert case.of_network(load_finetuned(tmp_path)) < 1e-4


def test_folders_are_read_below(authors, tmp_path):
    for name, data in authors[1].items():
        path = tmp_path / "snap" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    assert load_checkpoint(tmp_path / "snap").name == "best"
    assert load_finetuned(tmp_path / "snap").name == "best"


def test_missing_yaml_is_explained(hub, authors):
    weights = authors[1][f"{FOLDER}/best.ckpt"]
    commit = hub.push("a/plain", {"best.ckpt": weights, "a.yaml": b"", "b.yaml": b"", **LICENSED})
    address = rf"hf://a/plain@{commit}/best\.ckpt"
    with pytest.raises(CheckpointError, match=rf"^{address}: .*there: a\.yaml, b\.yaml"):
        load_finetuned("hf://a/plain")


def test_one_commit_is_read(hub, authors, monkeypatch):
    from huggingface_hub import HfApi

    hub.push("a/asked", {**authors[1], **LICENSED})
    asked, resolve = [], HfApi.resolve_revision

    def resolve_and_note(api, *names, revision=None, **options):
        asked.append(revision)
        return resolve(api, *names, revision=revision, **options)

    monkeypatch.setattr(HfApi, "resolve_revision", resolve_and_note)
    names = [load("hf://a/asked").name for load in (load_finetuned, load_checkpoint)]
    assert names == ["a/asked/best"] * 2
    assert asked.count(None) == 2


def test_cache_of_other_programs(hub, files, monkeypatch):
    from huggingface_hub import hf_hub_download

    hub.push("a/elsewhere", files(1))
    hf_hub_download("a/elsewhere", "model.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert load_checkpoint("hf://a/elsewhere").card["licence"] == "not known"


def test_model_card_is_optional_offline(hub, files, monkeypatch):
    from huggingface_hub import snapshot_download

    hub.push("a/bare", files(1))
    snapshot_download("a/bare", allow_patterns="*.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert load_checkpoint("hf://a/bare").card["licence"] == "not known"


def test_hub_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"pip install 'sleep2vec-sklearn\[hub\]'"):
        load_checkpoint("hf://a/there")


def fresh(program, hub, folder, **environment):
    """What a program prints as JSON, run in a new process with this hub."""
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {
        **os.environ, "PYTHONPATH": paths, "HF_ENDPOINT": hub.address,
        "HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_PROGRESS_BARS": "1", **environment,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


FIT = """
import json, pickle, warnings
import numpy as np
from sleep2vec_sklearn import Recording, Sleep2VecTransformer, load_checkpoint
night = Recording({"ibi": (0.9 + 0.05 * np.sin(np.arange(1200) / 9), 4)})
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    fitted = Sleep2VecTransformer("hf://a/fresh", cache=None).fit([night])
    load_checkpoint("hf://a/fresh")
rows = fitted.transform([night])
with open("fitted.pickle", "wb") as file:
    pickle.dump((fitted, night, rows), file)
address = load_checkpoint("hf://a/fresh").card["address"]
said = [str(warning.message) for warning in caught if "licence" in str(warning.message)]
print(json.dumps([address, fitted.checkpoint_sha256_, said]))
"""
AGAIN = """
import json, pickle
import numpy as np
from sleep2vec_sklearn import load_checkpoint
with open("fitted.pickle", "rb") as file:
    fitted, night, rows = pickle.load(file)
same = np.array_equal(fitted.transform([night]), rows)
print(json.dumps([fitted.checkpoint, load_checkpoint("hf://a/fresh").sha256, bool(same)]))
"""


def test_fresh_processes_agree(hub, files, tmp_path):
    commit = hub.push("a/fresh", {"model.safetensors": files(1)["model.safetensors"]})
    address, sha256, said = fresh(FIT, hub, tmp_path)
    assert address == f"hf://a/fresh@{commit}/model.safetensors"
    assert len(said) == 1
    hub.close()
    offline = {"HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    assert fresh(AGAIN, hub, tmp_path, **offline) == [address, sha256, True]


def test_authors_network_stages(hub, authors, tmp_path):
    hub.push("a/network", {**authors[1], **LICENSED})
    rates = {"ibi": 4, "resp": 4, "eeg": 128}
    rng = np.random.default_rng(0)
    night = {n: (rng.normal(0.9, 0.1, 300 * r), r) for n, r in rates.items()}
    found = stage_night(night, stager="hf://a/network")
    for name, data in authors[1].items():
        (tmp_path / Path(name).name).write_bytes(data)
    expected = stage_night(night, stager=tmp_path / "best.ckpt")
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)
    assert found.card["address"].startswith("hf://a/network@")
