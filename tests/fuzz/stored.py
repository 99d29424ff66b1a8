# SPDX-License-Identifier: BSD-3-Clause
"""Files of models and of what is made by them: checkpoints, estimators, tables, states, stores.

Bytes are damaged, and files are forged: a value, a key or a tensor is another one, and hashes and
checksums are made to fit it.
"""

from __future__ import annotations

import copy
import gzip
import hashlib
import json
from functools import cache
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save

from sleep2vec_sklearn import (
    EmbeddingTable,
    EpochSequence,
    PrecomputedEmbeddings,
    Sleep2VecClassifier,
    Sleep2VecCoxRegressor,
    Sleep2VecRegressor,
    Sleep2VecTransformer,
    load_checkpoint,
    make_sleep_cohort,
)
from sleep2vec_sklearn.encoding._disk_cache import _HEADER, DiskCache, _checksum, pack, token_key
from sleep2vec_sklearn.errors import Sleep2VecError
from sleep2vec_sklearn.finetuning import LoRA, _saving, load_finetuned
from sleep2vec_sklearn.model import checkpoint as checkpoints
from sleep2vec_sklearn.model import save_checkpoint
from sleep2vec_sklearn.model.encoder import EncodedModality
from sleep2vec_sklearn.pretraining import NightStore, contents_of, prepare_cohort
from tests.finetuned_golden import Case
from tests.fuzz.mutators import BYTES, TEXT, damage
from tests.fuzz.targets import Target
from tests.pretraining.nights import make_night, tiny_pretrainer

PARITY = Path(__file__).parents[1] / "data" / "parity"
VALUES = (
    None, True, False, 0, 1, -1, 2, 7, 10**6, 10**9, 10**18, 2**63, 0.5, 1e-9, 1e300, -0.0, "", "x",
    "../../x", "/tmp/x", "x" * 5000, [], {}, [1], {"a": 1}, [[]], ["a", "b"], [1, 2], [-1, 10**12],
    {"tuple": []}, {"array": "x"}, "nan", "eeg", "night", "float64", [None, None], "a\0b",
)  # fmt: skip


def change(rng, document):
    """Replace, delete, repeat or rename one value of nested lists and dicts, in place."""
    place, key = document, None
    while isinstance(place, dict | list) and place:
        keys = list(place) if isinstance(place, dict) else range(len(place))
        parent, key = place, keys[int(rng.integers(len(keys)))]
        place = parent[key]
        if rng.random() < 0.15:
            break
    if key is None:
        return
    kind = rng.random()
    if kind < 0.7:
        parent[key] = copy.deepcopy(VALUES[int(rng.integers(len(VALUES)))])
    elif kind < 0.8:
        del parent[key]
    elif isinstance(parent, list):
        parent.append(copy.deepcopy(place))
    else:
        parent[f"{key}_"] = parent.pop(key)


def change_tensor(rng, tensors):
    """Another shape, type or value of one tensor, or another name."""
    names = sorted(tensors)
    name = names[int(rng.integers(len(names)))]
    old = tensors.pop(name)
    changed = [
        lambda: old.to(torch.float64), lambda: old.to(torch.int8), lambda: old.reshape(-1)[:1],
        lambda: torch.full_like(old, torch.nan) if old.is_floating_point() else old,
        lambda: old * 1e38, lambda: old[None], lambda: torch.zeros(0), lambda: old.bool(),
        lambda: torch.zeros(0, 2**40), lambda: -old if old.dtype != torch.bool else old,
    ]  # fmt: skip
    kind = int(rng.integers(len(changed) + 2))
    if kind < len(changed):
        tensors[name] = changed[kind]().contiguous()
    elif kind == len(changed):
        tensors[f"{name}x"] = old


def forged(path):
    """Mark an input whose content is meant to be another one."""
    path.with_name("forged").touch()


def is_forged(path):
    return path.with_name("forged").exists()


@cache
def nights():
    kinds = ["ibi", "spo2"]
    return make_sleep_cohort(3, hours=0.25, modalities=kinds, missing=0, random_state=0)


def _open(path, key):
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        return tensors, json.loads(file.metadata()[key])


def make_checkpoints(folder):
    folder.mkdir(parents=True)
    tiny = tiny_pretrainer().fit([make_night(k) for k in range(8)]).checkpoint()
    for dtype in ("float32", "float16"):
        save_checkpoint(folder / f"{dtype}.safetensors", tiny.state, tiny.config, dtype=dtype)
    return sorted(folder.iterdir())


def forge_checkpoint(rng, path):
    if rng.random() < 0.3:
        damage(rng, path, BYTES)
        return
    forged(path)
    tensors, document = _open(path, "sleep2vec_sklearn")
    for _ in range(int(rng.integers(1, 3))):
        if rng.random() < 0.8:
            change(rng, document.get("config", document) if rng.random() < 0.8 else document)
        else:
            change_tensor(rng, tensors)
    if isinstance(document, dict) and "config" in document and rng.random() < 0.9:
        document["sha256"] = checkpoints._hash_of(tensors, document["config"])
    _write(path, tensors, "sleep2vec_sklearn", document)


def _write(path, tensors, key, document):
    text = json.dumps(document)
    path.write_bytes(save(tensors, metadata={key: text}))


def check_checkpoint(path):
    found = load_checkpoint(path)
    rows = Sleep2VecTransformer(path, cache=None).fit_transform(nights())
    problems = [] if np.isfinite(rows).all() else ["rows are not finite"]
    sha256 = checkpoints.recognise_hash(found.state, found.config, found.sha256)
    return problems if sha256 == found.sha256 or is_forged(path) else ["the hash is not its own"]


def make_upstream(folder):
    folder.mkdir(parents=True)
    for tag in ("linear", "cls"):
        document = json.loads((PARITY / f"{tag}.json").read_text())
        with np.load(PARITY / f"{tag}.npz") as arrays:
            names = [name for name in arrays.files if name.startswith("state/")]
            state = {n.removeprefix("state/"): torch.from_numpy(arrays[n]) for n in names}
        content = {"epoch": 1, "state_dict": state, "model_config": document["model"]}
        torch.save(content, folder / f"{tag}.ckpt", _use_new_zipfile_serialization=tag != "cls")
    torch.save({"state_dict": state}, folder / "beside.ckpt")
    (folder / "beside.yaml").write_text(yaml.safe_dump(document))
    for name in ("stage5_layermix", "age_lstm", "stage5_lora"):
        Case.load(name).write(folder / f"{name}.ckpt")
    return sorted(path for path in folder.iterdir() if path.suffix == ".ckpt")


def forge_upstream(rng, path):
    configuration = path.with_suffix(".yaml")
    if configuration.exists() and rng.random() < 0.7:
        damage(rng, configuration, TEXT)
        return
    if rng.random() < 0.25:
        damage(rng, path, BYTES)
        return
    content = torch.load(path, weights_only=True)
    for _ in range(int(rng.integers(1, 3))):
        if rng.random() < 0.7:
            part = {k: v for k, v in content.items() if k != "state_dict"}
            change(rng, part)
            content = {"state_dict": content["state_dict"], **part}
        else:
            change_tensor(rng, content["state_dict"])
    if rng.random() < 0.3:
        name = sorted(content["state_dict"])[0]
        tensor = content["state_dict"][name]
        odd = [lambda: tensor[..., :1].expand(*tensor.shape[:-1], 10**9), tensor.to_sparse,
               lambda: torch.empty(tensor.shape, device="meta"),
               lambda: torch.quantize_per_tensor(tensor.float(), 0.1, 0, torch.qint8)]  # fmt: skip
        content["state_dict"][name] = odd[int(rng.integers(len(odd)))]()
    if rng.random() < 0.1:
        bomb = ("a",) * 10
        for _ in range(9):
            bomb = (bomb,) * 10
        content[("model_config", "extra")[int(rng.integers(2))]] = {"name": bomb}
    torch.save(content, path, _use_new_zipfile_serialization=rng.random() < 0.7)


def check_upstream(path):
    found = load_checkpoint(path)
    rows = Sleep2VecTransformer(path, cache=None).fit_transform(nights())
    if "_" in path.stem:
        network = load_finetuned(path, missing="ignore")
        network.predict(EpochSequence(nights()) if network.unit_ == "epoch" else nights())
    exact = checkpoints.recognise_hash(found.state, found.config, found.sha256)
    return [] if exact == found.sha256 and np.isfinite(rows).all() else ["rows or hash"]


def make_estimators(folder):
    folder.mkdir(parents=True)
    X, y = EpochSequence(nights()), np.arange(3) % 2
    quick = {"max_epochs": 1, "random_state": 0, "verbose": 0}
    tiny = tiny_pretrainer().fit([make_night(k) for k in range(8)]).checkpoint()
    Sleep2VecClassifier(**quick).fit(X, np.arange(len(X)) % 3).save(folder / "clf.safetensors")
    several = np.array([[0, 1], [1, 0], [1, 1]])
    Sleep2VecClassifier(tiny, finetune=LoRA(rank=2), **quick).fit(nights(), several).save(
        folder / "lora.safetensors"
    )
    Sleep2VecRegressor(tiny, covariates=("age", "sex"), **quick).fit(nights(), y).save(
        folder / "reg.safetensors"
    )
    outcome = np.array([(True, 1.0), (False, 2.0), (True, 3.0)], [("event", "?"), ("time", "f8")])
    Sleep2VecCoxRegressor(tiny, **quick).fit(nights(), outcome).save(folder / "cox.safetensors")
    return sorted(folder.iterdir())


BUNDLED_HASH = checkpoints.BUNDLED["sleep2vec-mini"]
CLASSES = {
    "clf": Sleep2VecClassifier, "lora": Sleep2VecClassifier, "reg": Sleep2VecRegressor,
    "cox": Sleep2VecCoxRegressor,
}  # fmt: skip


def forge_estimator(rng, path):
    if rng.random() < 0.2:
        damage(rng, path, BYTES)
        return
    tensors, document = _open(path, _saving._METADATA_KEY)
    document.pop("sha256")
    for _ in range(int(rng.integers(1, 3))):
        kind = rng.random()
        if kind < 0.6:
            part = ("parameters", "fitted", "encoder", "history")[int(rng.integers(4))]
            change(rng, document.get(part, document))
        elif kind < 0.7:
            document["encoder"] = {**document["encoder"], "sha256": BUNDLED_HASH}
        elif kind < 0.8:
            name = ("cache", "device", "predict", "_rows_at_fit", "net_", "checkpoint")
            part = ("parameters", "fitted")[int(rng.integers(2))]
            if isinstance(document.get(part), dict):
                document[part][name[int(rng.integers(len(name)))]] = "/tmp/chosen-by-the-file"
        else:
            change_tensor(rng, tensors)
    document["sha256"] = _saving._digest(tensors, document)
    _write(path, tensors, _saving._METADATA_KEY, document)


def check_estimator(path):
    model = CLASSES[path.stem].load(path)
    X = EpochSequence(nights()) if model.unit_ == "epoch" else nights()
    model.set_params(cache=None).predict(X)
    encoder = model._load_fitted_checkpoint()
    exact = checkpoints.recognise_hash(encoder.state, encoder.config, encoder.sha256)
    problems = [] if exact == encoder.sha256 else ["the encoder's hash is not its own"]
    return problems + (["it wrote a file"] if Path("/tmp/chosen-by-the-file").exists() else [])


def make_embeddings(folder):
    folder.mkdir(parents=True)
    transformer = Sleep2VecTransformer(center="night", cache=None).fit(EpochSequence(nights()))
    transformer.embed(EpochSequence(nights())).save(folder / "epochs.npz")
    table = Sleep2VecTransformer(cache=None).fit(nights()).embed(nights())
    table.save(folder / "nights.npz")
    table.save(folder / "nights.parquet")
    with np.load(folder / "nights.npz") as arrays:
        np.savez_compressed(folder / "packed.npz", **arrays)
    return sorted(folder.iterdir())


def forge_embeddings(rng, path):
    if path.suffix == ".parquet" or rng.random() < 0.4:
        damage(rng, path, BYTES)
        return
    forged(path)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    for _ in range(int(rng.integers(1, 3))):
        name = sorted(arrays)[int(rng.integers(len(arrays)))]
        old = arrays[name]
        if name == "provenance" and old.dtype.kind == "U" and old.ndim == 0:
            document = json.loads(str(old))
            change(rng, document)
            arrays[name] = np.array(json.dumps(document))
            continue
        arrays[name] = _other_array(rng, old)
        if arrays[name] is None:
            del arrays[name]
    np.savez(path, **arrays)


def _other_array(rng, old):
    """An array of another shape, type or content; None for none."""
    changes = [
        lambda: old[:1] if old.ndim else old, lambda: old[..., None], lambda: np.zeros(3),
        lambda: np.array("[" * 9999), lambda: np.full(old.shape, -5), lambda: np.array("null"),
        lambda: np.full(old.shape, 2**40), lambda: np.full(old.shape, np.inf),
        lambda: old.astype(str), lambda: np.zeros((0, 2**40)), lambda: None,
        lambda: old.astype("c8") if old.dtype.kind == "f" else old,
    ]  # fmt: skip
    return changes[int(rng.integers(len(changes)))]()


_sound: dict[str, EmbeddingTable] = {}


def check_embeddings(path):
    table = EmbeddingTable.load(path)
    assert repr(table)
    table.to_frame(), table.coverage, table._repr_html_()
    X = EpochSequence(nights()) if path.stem == "epochs" else nights()
    PrecomputedEmbeddings(path).fit(X).transform(X)
    sound = _sound.setdefault(path.stem, table)
    same = np.array_equal(table.values, sound.values, equal_nan=True)
    return [] if is_forged(path) or same else ["values differ"]


def make_states(folder):
    nested = folder / "run"
    nested.mkdir(parents=True)
    tiny_pretrainer(state_dir=nested).fit(_training())
    state = torch.load(nested / "state.pt", weights_only=True)
    history = json.dumps(json.loads(state["history"])[:1])
    state |= {"epoch": 1, "step": 3, "finished": False, "history": history}
    torch.save(state, nested / "state.pt")
    return [nested]


@cache
def _training():
    contents = contents_of(modalities=["effort", "spo2", "ibi"])
    return NightStore.from_recordings([make_night(k) for k in range(8)], contents)


def forge_state(rng, folder):
    path = folder / "state.pt"
    if rng.random() < 0.2:
        damage(rng, path, BYTES)
        return
    state = torch.load(path, weights_only=True)
    for _ in range(int(rng.integers(1, 3))):
        kind = rng.random()
        if kind < 0.3:
            name = sorted(state)[int(rng.integers(len(state)))]
            state[name] = copy.deepcopy(VALUES[int(rng.integers(len(VALUES)))])
        elif kind < 0.5 and isinstance(state.get("optimizer"), dict):
            change(rng, state["optimizer"])
        elif kind < 0.7 and repr(state.get("history")).startswith("'["):
            history = json.loads(state["history"])
            change(rng, history)
            state["history"] = json.dumps(history)
        else:
            part = state.get(("module", "average")[int(rng.integers(2))])
            if isinstance(part, dict) and part:
                change_tensor(rng, part)
    torch.save(state, path, _use_new_zipfile_serialization=rng.random() < 0.8)


def check_state(folder):
    net = tiny_pretrainer(state_dir=folder).fit(_training())
    return [] if net.net_.step_ >= 3 or net.net_.finished_ else ["it did not go on"]


def make_stores(folder):
    folder.mkdir(parents=True)
    prepare_cohort(nights(), folder / "store", modalities=["ibi", "spo2"])
    key = token_key("x")
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(12, 8)).astype(np.float32)
    entry = EncodedModality(tokens, np.ones(12, dtype=bool), tokens[0])
    path = folder / "cache" / "tokens-v1" / key[:2] / f"{key}.tokens"
    path.parent.mkdir(parents=True)
    path.write_bytes(pack(key, entry))
    return sorted(folder.iterdir())


def forge_store(rng, folder):
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    path = paths[int(rng.integers(len(paths)))]
    if rng.random() < 0.3:
        damage(rng, path, BYTES)
    elif path.suffix == ".gz":
        document = json.loads(gzip.decompress(path.read_bytes()))
        change(rng, document)
        path.write_bytes(gzip.compress(json.dumps(document).encode()))
    elif path.suffix == ".json":
        document = json.loads(path.read_text())
        change(rng, document)
        path.write_text(json.dumps(document))
    elif path.suffix == ".safetensors":
        tensors, document = _open(path, "sleep2vec_sklearn")
        change(rng, document) if rng.random() < 0.5 else change_tensor(rng, tensors)
        _write(path, tensors, "sleep2vec_sklearn", document)
    else:
        _forge_entry(rng, path)


def _forge_entry(rng, path):
    from safetensors.torch import load

    forged(path.parents[2])
    data = path.read_bytes()
    tensors = load(data[_HEADER.size :])
    change_tensor(rng, tensors)
    body, raw = save(tensors), bytes.fromhex(path.stem)
    magic, version, *_ = _HEADER.unpack_from(data)
    path.write_bytes(_HEADER.pack(magic, version, raw, _checksum(raw, body)) + body)


def check_store(folder):
    if folder.name == "cache":
        key = token_key("x")
        entry = DiskCache(folder).get(key)
        sound = hashlib.sha256(np.random.default_rng(0).normal(size=(12, 8)).astype("f4").tobytes())
        same = entry is None or hashlib.sha256(entry.tokens.tobytes()).digest() == sound.digest()
        return [] if same or is_forged(folder) else ["other tokens"]
    store = NightStore.open(folder)
    damaged = set(store.verify()["recording"])
    for night, name in enumerate(store.table.index):
        for modality in store.contents:
            try:
                window = store.window(night, modality, 0, 4)
            except Sleep2VecError:
                assert name in damaged or not Path(store._nights[night].path).exists()
            else:
                assert window.shape[1] == store.contents[modality].width
    return []


CHECKPOINTS = Target(make_checkpoints, forge_checkpoint, check_checkpoint)
UPSTREAM = Target(make_upstream, forge_upstream, check_upstream)
ESTIMATORS = Target(make_estimators, forge_estimator, check_estimator)
EMBEDDINGS = Target(make_embeddings, forge_embeddings, check_embeddings)
STATES = Target(make_states, forge_state, check_state, n_slice=6)
STORES = Target(make_stores, forge_store, check_store)
