# SPDX-License-Identifier: BSD-3-Clause
"""Fine-tuned networks of the authors, on random weights: logits that ours have to give.

``python -m tests.finetuned_golden FOLDER`` compares with whole checkpoints in a folder of theirs,
prints the largest difference of each case, and writes the files anew. Two networks are whole:
``stage5_lora`` in ``lora.npz``, and ``stage5_lora_sep``, an adapter for each channel. The other
cases share an encoder, of which its states are kept: made by this library, whose encoder is
compared elsewhere, from the authors' weights.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

HEADS = ("stage5", "sex_cls", "age_attn", "stage5_layermix", "age_lstm", "stage5_ttrans")
WHOLE = {"stage5_lora": "lora.npz", "stage5_lora_sep": "lora_sep.npz"}
PARITY = Path(__file__).parent / "data" / "parity"
_CHANNELS = {"ibi": "heartbeat", "resp": "breath", "eeg": "eeg_original"}
_BACKBONE = "backbone."
_OF_HEADS = ("head.", "temporal_agg.", "layer_mix.", "survival_")
_POSITIONS = "head.pos_emb.weight"


class Case:
    """One network of the authors, and what it makes of four sequences."""

    def __init__(self, state, document, logits):
        with np.load(PARITY / "lora.npz") as arrays:
            found = {name: arrays[f"inputs/tokens/{key}"] for name, key in _CHANNELS.items()}
            self.length = torch.from_numpy(arrays["inputs/length"])
        self.inputs = {name: torch.from_numpy(values) for name, values in found.items()}
        self.state = {key: torch.from_numpy(np.array(value)) for key, value in state.items()}
        self.document = document
        self.logits = torch.from_numpy(logits)
        self.valid = torch.arange(12) < self.length[:, None]
        self.present = self.valid[..., None].expand(-1, -1, 3)

    @classmethod
    def load(cls, name: str) -> Case:
        """From the test data; where its network is not whole, the encoder is of ``stage5_lora``."""
        file = PARITY / WHOLE.get(name, "lora.npz")
        with np.load(file) as lora, np.load(PARITY / "finetuned.npz") as own:
            state = {k.removeprefix("state/"): lora[k] for k in lora.files if k[:6] == "state/"}
            recipe = json.loads((PARITY / "finetuned.json").read_text())[name]
            if name not in WHOLE:
                state = {k: v for k, v in state.items() if k.startswith(_BACKBONE)}
                state |= {key: own[place] for key, place in recipe["head"].items()}
            document = json.loads((PARITY / "lora.json").read_text())
            document["model"] |= recipe["model"]
            document["finetune"] |= recipe["finetune"]
            return cls(state, document, own[f"{name}/logits"])

    def with_head(self, state, **section) -> Case:
        """With another head: its parameters by the authors' names, and its configuration."""
        kept = {k: v for k, v in self.state.items() if not k.startswith(_OF_HEADS)}
        self.state = {**kept, **{key: value.detach() for key, value in state.items()}}
        self.document["model"]["head"] = section
        return self

    def with_task(self, **task) -> Case:
        """With other entries of its task."""
        self.document["finetune"]["task"] |= task
        return self

    def with_eeg_alone(self) -> Case:
        """With one channel."""
        others = [key for name, key in _CHANNELS.items() if name != "eeg"]
        channels = self.document["model"]["channels"]
        self.document["model"]["channels"] = [c for c in channels if c["name"] not in others]
        self.state = {k: v for k, v in self.state.items() if not any(o in k for o in others)}
        self.state.pop("head.fusion.aggregator.gates", None)
        self.inputs = {"eeg": self.inputs["eeg"]}
        self.present = self.present[..., :1]
        return self

    def write(self, path: Path) -> Path:
        """As Lightning writes it after fine-tuning."""
        names = {f"model.{key}": value for key, value in self.state.items()}
        twice = {key: self.state[key] for key in self.state if key.startswith(_BACKBONE)}
        content = {"state_dict": {**names, **twice}, "epoch": 1, "loops": {}}
        kinds = [kind for kind in ("model", "finetune") if kind in self.document]
        document = {f"{kind}_config": self.document[kind] for kind in kinds}
        torch.save({**content, **document}, path)
        return path

    def of_network(self, network) -> float:
        """Largest difference of a network's outputs, at what is no padding."""
        with torch.no_grad():
            return self._difference(network(self.inputs, self.present, self.valid))

    def of_logits(self, network) -> float:
        """Largest difference of what a network makes of its authors' tokens, padding included."""
        found = network.logits(self.inputs, self.length)
        return float((torch.from_numpy(found) - self.logits).abs().max())

    def of_head(self, head) -> float:
        """The same of a head on the stored states of the encoder."""
        with np.load(PARITY / "finetuned.npz") as own:
            states = torch.from_numpy(own["states"])
        states = states if head.config.n_layers > 1 else states[..., -1, :]
        with torch.no_grad():
            outputs = head(states[:, 1:], self.present, self.valid, cls=states[:, 0])
        return self._difference(outputs)

    def _difference(self, found) -> float:
        difference = (found - self.logits).abs()
        return float((difference[self.valid] if found.ndim == 3 else difference).max())


def _read(folder: Path, name: str) -> Case:
    import yaml

    with np.load(folder / f"ft_{name}.state_dict.npz") as arrays:
        state = dict(arrays)
    document = yaml.safe_load((folder / f"ft_{name}.config.yaml").read_text())
    return Case(state, document, np.load(folder / "ft_outputs.npz")[f"{name}/logits"])


def _encoder_states(network, case: Case) -> np.ndarray:
    with torch.no_grad():
        tokens, cls = network.encode(case.inputs, case.present, case.valid)
    return torch.cat([cls[:, None], tokens], dim=1).numpy()


def _write_data(cases: dict[str, Case], states: np.ndarray) -> None:
    arrays, recipes = {"states": states}, {}
    for name, case in cases.items():
        arrays[f"{name}/logits"] = case.logits.numpy()
        model = {key: case.document["model"][key] for key in ("cls", "head")}
        keys = ("task", "layer_mix", "lora")
        tuning = {key: case.document["finetune"][key] for key in keys}
        recipes[name] = {"model": model, "finetune": tuning, "head": {}}
        of_head = {k: v.numpy() for k, v in case.state.items() if not k.startswith(_BACKBONE)}
        del of_head["cls_embedding.cls_token"]
        if _POSITIONS in of_head:
            # nothing reads what is beyond the sequences
            of_head[_POSITIONS][case.valid.shape[1] :] = 0
        for key, value in of_head.items() if name not in WHOLE else ():
            same = (k for k, v in arrays.items() if k.endswith(key) and np.array_equal(v, value))
            place = recipes[name]["head"][key] = next(same, f"{name}/{key}")
            arrays[place] = value
    np.savez_compressed(PARITY / "finetuned.npz", **arrays)
    (PARITY / "finetuned.json").write_text(json.dumps(recipes) + "\n")
    own = cases["stage5_lora_sep"].state
    # as in lora.npz, without the projection
    whole = {f"state/{k}": v.numpy() for k, v in own.items() if "proj_head" not in k}
    np.savez_compressed(PARITY / WHOLE["stage5_lora_sep"], **whole)


if __name__ == "__main__":
    from sleep2vec_sklearn.finetuning import load_finetuned

    cases = {name: _read(Path(sys.argv[1]), name) for name in (*HEADS, *WHOLE)}
    states = None
    for name, case in cases.items():
        with tempfile.TemporaryDirectory() as place:
            network = load_finetuned(case.write(Path(place) / "best.ckpt"))
        found = case.of_network(network), case.of_logits(network), case.logits.abs().max()
        print("{:16} {:.1e}, with padding {:.1e}, of {:.2f}".format(name, *found))
        if name == "stage5_layermix":
            states = _encoder_states(network, case)
    _write_data(cases, states)
