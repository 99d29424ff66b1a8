# SPDX-License-Identifier: BSD-3-Clause
"""SleepFM's networks of torch's own layers with random weights, and nights of many channels."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from sleep2vec_sklearn import Recording
from sleep2vec_sklearn.recordings import Signal, SignalLayout

WIDTH, HEADS = 16, 8
CONFIG = {
    "in_channels": 1, "patch_size": 640, "embed_dim": WIDTH, "num_heads": 4, "num_layers": 2,
    "pooling_head": 8, "dropout": 0.3,
}  # fmt: skip


class Pooling(nn.Module):
    def __init__(self, heads):
        super().__init__()
        self.transformer_layer = nn.TransformerEncoderLayer(WIDTH, heads, batch_first=True)

    def forward(self, items, missing=None):
        if items.shape[1] == 1:
            return items[:, 0]
        states = self.transformer_layer(items, src_key_padding_mask=missing)
        weights = torch.ones(items.shape[:2]) if missing is None else (~missing).float()
        return (states * weights[..., None]).sum(1) / weights.sum(1)[:, None]


class Positions(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.register_buffer("pe", torch.randn(1, n, WIDTH))


class PlainNetwork(nn.Module):
    """The encoder, one chunk at a time."""

    def __init__(self):
        super().__init__()
        layers, sizes = [], [1, 4, 8, 16, 32, 64, 128]
        for i, (n_in, n_out) in enumerate(pairwise(sizes)):
            layers += [nn.Conv1d(n_in, n_out, 5, 2, 2), nn.BatchNorm1d(n_out), nn.ELU()]
            layers += [nn.LayerNorm([n_out, 320 // 2**i])]
        layers += [nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(128, WIDTH)]
        self.patch_embedding = nn.ModuleDict({"tokenizer": nn.Sequential(*layers)})
        self.spatial_pooling, self.temporal_pooling = Pooling(HEADS), Pooling(HEADS)
        self.positional_encoding, self.layer_norm = Positions(128), nn.LayerNorm(WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, batch_first=True, norm_first=True)
        self.transformer_encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    @torch.no_grad()
    def forward(self, chunk, missing=None):
        """(n_channels, n_samples) to (n_patches, width), and (width,)."""
        patches = torch.as_tensor(np.asarray(chunk, dtype=np.float32)).reshape(-1, 1, 640)
        tokens = self.patch_embedding["tokenizer"](patches).view(len(chunk), -1, WIDTH)
        if missing is not None:
            missing = torch.as_tensor(missing).expand(tokens.shape[1], -1)
        pooled = self.spatial_pooling(tokens.transpose(0, 1), missing)[None]
        states = self.layer_norm(pooled + self.positional_encoding.pe[:, : pooled.shape[1]])
        states = self.transformer_encoder(states)
        return states[0].numpy(), self.temporal_pooling(states)[0].numpy()


class PlainStager(nn.Module):
    """The head, one night at a time."""

    def __init__(self):
        super().__init__()
        self.spatial_pooling, self.layer_norm = Pooling(4), nn.LayerNorm(WIDTH)
        self.positional_encoding = Positions(8196)
        layer = nn.TransformerEncoderLayer(WIDTH, 4, batch_first=True, norm_first=True)
        self.transformer_encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.lstm = nn.LSTM(WIDTH, WIDTH // 2, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(WIDTH, 5)

    @torch.no_grad()
    def forward(self, embeddings, missing):
        """(n_groups, time, width) and (n_groups, time) to (time, 5)."""
        groups = torch.as_tensor(embeddings).transpose(0, 1)
        pooled = self.spatial_pooling(groups, torch.as_tensor(missing).T)[None]
        states = self.layer_norm(pooled + self.positional_encoding.pe[:, : pooled.shape[1]])
        return self.fc(self.lstm(self.transformer_encoder(states))[0])[0].numpy()


def plain(kind, seed=0):
    """One of the networks with random weights, in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = kind().eval()
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point() and "pe" not in name:
                spread = 0.1 * torch.randn(tensor.shape)
                tensor.copy_(tensor + (spread.abs() if "running_var" in name else spread))
    return network


def write_sleepfm(folder):
    """The original's files of random weights, as they lie in its repository."""
    for name, kind in (
        ("model_base/best.pt", PlainNetwork),
        ("model_sleep_staging/best.pth", PlainStager),
    ):
        path = folder / name
        path.parent.mkdir()
        state = {f"module.{key}": tensor for key, tensor in plain(kind).state_dict().items()}
        torch.save({"epoch": 3, "state_dict": state} if path.suffix == ".pt" else state, path)
    (folder / "model_base" / "config.json").write_text(json.dumps(CONFIG))


class Channels:
    """A source of several channels of each modality, (values, rate) each."""

    derivation_mode = "all"

    def __init__(self, **channels):
        self.channels = channels
        self.derivations = {n: tuple(f"{n}{i}" for i in range(len(c))) for n, c in channels.items()}
        self.layout = {
            name: SignalLayout(rate, "%" if name == "spo2" else "uV", len(values))
            for name, ((values, rate), *_) in channels.items()
        }

    def read(self, names):
        return {name: self.read_derivation(name, 0) for name in names}

    def read_derivation(self, name, index):
        values, rate = self.channels[name][index]
        return Signal(np.asarray(values), rate, self.layout[name].unit)

    def signal_fingerprint(self, name, derivation=0):
        return repr(self.channels[name][derivation][0].tobytes())

    def fingerprint(self):
        return repr(sorted(self.channels))


def channel(n_epochs, rate=128, seed=0):
    """Noise around 90, which any sensor may read, and its rate."""
    noise = np.random.default_rng(seed).standard_normal(round(n_epochs * 30 * rate))
    return (90 + 10 * noise).astype(np.float32), rate


def night_of(**channels):
    """A night of several channels of each modality."""
    return Recording.from_source(Channels(**channels), id="n1")
