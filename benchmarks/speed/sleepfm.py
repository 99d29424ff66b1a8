# SPDX-License-Identifier: BSD-3-Clause
"""SleepFM's size on eight hours of channels, batched, against a plain loop over the same chunks.

``python -m benchmarks.speed.sleepfm [--channels 2 3 1 1] [--rounds 3] [--hours 8]``: random
weights, in turns, from conditioned samples; seconds of one core's time. The channels are of BAS,
RESP, EKG and EMG, by default one of each sensor. The plain loop calls torch's layers on one chunk
of one group after the other: padded to the most channels of the group, as the original does, and
as they are.
"""

from __future__ import annotations

import argparse
import resource
from time import process_time
from timeit import timeit

import numpy as np
import torch

from sleep2vec_sklearn.model import SleepFM
from sleep2vec_sklearn.model.external._sleepfm_network import PATCH, SleepFMNetwork
from sleep2vec_sklearn.model.external.sleepfm import LIMITS, RATE

SECONDS = 300
SIZES = {"width": 128, "n_heads": 8, "n_layers": 6, "n_pooling_heads": 8}


def plain_chunk(network: SleepFMNetwork, chunk: torch.Tensor, n_padded: int) -> list[torch.Tensor]:
    """Embeddings of one chunk (n_channels, n_samples), by torch's own calls."""
    missing = torch.arange(n_padded) >= len(chunk)
    chunk = torch.cat([chunk, chunk.new_zeros(n_padded - len(chunk), chunk.shape[1])]).float()
    tokens = network.patch_embedding.tokenizer(chunk.reshape(-1, 1, PATCH))
    tokens = tokens.view(n_padded, -1, SIZES["width"]).transpose(0, 1)
    if n_padded > 1:
        pooling = network.spatial_pooling.transformer_layer
        mask = missing.expand(len(tokens), -1) if missing.any() else None
        tokens = pooling(tokens, src_key_padding_mask=mask)
    pooled = tokens[:, ~missing].mean(dim=1)[None]
    states = network.layer_norm(pooled + network.positional_encoding.pe[:, : pooled.shape[1]])
    for layer in network.transformer_encoder.layers:
        states = layer(states)
    return [states, network.temporal_pooling.transformer_layer(states).mean(dim=1)]


def main() -> None:
    """Print seconds of the three, their ratios, and the memory that the batches take."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--channels", type=int, nargs=4, default=[2, 3, 1, 1])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hours", type=float, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sleepfm = SleepFM(SleepFMNetwork(**SIZES).state_dict())
    shape = (int(options.hours * 3600 / SECONDS), SECONDS * RATE)
    channels = dict(zip(LIMITS, options.channels, strict=True))
    groups = {g: torch.randn(shape[0], n, shape[1]).half() for g, n in channels.items() if n}

    def batched() -> None:
        for chunks in groups.values():
            sleepfm.embed(chunks)

    @torch.inference_mode()
    def plain(padded: bool) -> None:
        for group, chunks in groups.items():
            for chunk in chunks:
                plain_chunk(sleepfm.network, chunk, LIMITS[group] if padded else len(chunk))

    for group, chunks in groups.items():
        # a channel padded to two passes a layer that one alone does not
        n_padded = LIMITS[group] if channels[group] > 1 else 1
        with torch.inference_mode():
            expected = plain_chunk(sleepfm.network, chunks[0], n_padded)
        for found, other in zip(sleepfm.embed(chunks[:1]), expected, strict=True):
            np.testing.assert_allclose(found, other, atol=1e-4)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    batched()
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    calls = (batched, lambda: plain(True), lambda: plain(False))
    times = [
        [timeit(call, timer=process_time, number=1) for call in calls]
        for _ in range(options.rounds)
    ]
    ours, padded, bare = np.median(times, axis=0)
    print(
        f"batched {ours:.1f} s and {memory:.0f} MB; plain loop padded {padded:.1f} s, ratio "
        f"{padded / ours:.1f}; not padded {bare:.1f} s, ratio {bare / ours:.1f}"
    )


if __name__ == "__main__":
    main()
