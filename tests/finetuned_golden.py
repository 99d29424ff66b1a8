# SPDX-License-Identifier: BSD-3-Clause
"""Fine-tuned networks of the authors, on random weights: logits that ours have to give.

``python -m tests.finetuned_golden FOLDER`` compares with all that is in a folder of theirs, prints
the largest difference of each case, and writes what the tests need.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
import yaml

from sleep2vec_sklearn.finetuning.network import FineTuned
from sleep2vec_sklearn.finetuning.upstream import load_finetuned

CASES = ("stage5", "sex_cls", "age_attn", "stage5_layermix", "stage5_lora")


def write_ckpt(path, state, document):
    """A file as Lightning writes it after fine-tuning."""
    names = {f"model.{key}": torch.as_tensor(value) for key, value in state.items()}
    twice = {k.removeprefix("model."): v for k, v in names.items() if k.startswith("model.backb")}
    content = {"state_dict": {**names, **twice}, "finetune_config": document["finetune"]}
    torch.save({**content, "model_config": document["model"], "epoch": 1}, path)
    return path


def logits(network: FineTuned, inputs: dict[str, torch.Tensor], length: torch.Tensor):
    """Outputs with all modalities present, and which of them are of no padding."""
    n_epochs = next(iter(inputs.values())).shape[1]
    valid = torch.arange(n_epochs) < length[:, None]
    present = valid[..., None].expand(-1, -1, len(network.head.config.modalities))
    with torch.no_grad():
        return network(inputs, present, valid), valid


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    stored = np.load(folder / "small_cls.inputs.npz")
    channels = {"ibi": "heartbeat", "resp": "breath", "eeg": "eeg_original"}
    inputs = {k: torch.from_numpy(stored[f"tokens/{v}"]) for k, v in channels.items()}
    length = torch.from_numpy(stored["length"])
    expected = np.load(folder / "ft_outputs.npz")
    for case in CASES:
        document = yaml.safe_load((folder / f"ft_{case}.config.yaml").read_text())
        state = dict(np.load(folder / f"ft_{case}.state_dict.npz"))
        path = write_ckpt(f"/tmp/ft_{case}.ckpt", state, document)
        found, valid = logits(load_finetuned(path), inputs, length)
        wanted = torch.from_numpy(expected[f"{case}/logits"])
        difference = (found - wanted).abs()
        if found.ndim == 3:
            print(case, "padding", float(difference[~valid].max()))
            difference = difference[valid]
        print(case, float(difference.max()), "of", float(wanted.abs().max()))
