# SPDX-License-Identifier: BSD-3-Clause
"""The authors' dense size on one night, against the same network through transformers.

``python -m benchmarks.speed.encoder [--repeats 3] [--threads 2] [--layers 12]``

Twelve layers of 768 with random weights, nine modalities of 960 epochs, from conditioned samples to
hidden states. The baseline is ``transformers.RoFormerModel`` with eager attention in float32, one
modality at a time, with the same tokenizers before it. Variants take turns, so that a change of the
machine's speed meets all of them; the peak is the machine's own large matrix product.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch

from sleep2vec_sklearn._torch import resolve_precision, single_threaded
from sleep2vec_sklearn.encoding._sleep2vec import Sleep2VecEncoder, as_encoder
from sleep2vec_sklearn.model.checkpoint import Checkpoint
from sleep2vec_sklearn.model.config import EncoderConfig, ModalityConfig, TokenizerConfig
from sleep2vec_sklearn.model.network import Sleep2Vec
from sleep2vec_sklearn.recordings import MODALITIES
from sleep2vec_sklearn.recordings._conditioning import ConditionedSignal

NINE = ("eeg", "eog", "emg", "ecg", "airflow", "effort", "spo2", "ibi", "resp")
N_EPOCHS = 960
SIZE, HEADS, INNER = 768, 16, 3072
PEAK_SIZE = 4096


def dense_config(n_layers: int) -> EncoderConfig:
    """The authors' dense size over the paper's nine modalities."""
    return EncoderConfig(
        modalities=tuple(
            ModalityConfig(name, MODALITIES[name].conditioning, TokenizerConfig("sundial", SIZE))
            for name in NINE
        ),
        hidden_size=SIZE,
        n_layers=n_layers,
        n_heads=HEADS,
        intermediate_size=INNER,
        context_epochs=N_EPOCHS,
    )


class Baseline:
    """The same weights in ``transformers.RoFormerModel``, attention written out."""

    def __init__(self, network: Sleep2Vec):
        self.network = network
        self.model = roformer_twin(network).eval()

    @torch.inference_mode()
    def encode(self, night: dict[str, ConditionedSignal]) -> dict[str, np.ndarray]:
        """Hidden states of each modality."""
        hidden = {}
        for name, signal in night.items():
            tokens = self.network.tokenize(name, torch.from_numpy(signal.epochs)[None])
            embeddings = self.network.input_projection(tokens)
            mask = torch.from_numpy(signal.valid)[None]
            outputs = self.model(inputs_embeds=embeddings, attention_mask=mask)
            hidden[name] = outputs.last_hidden_state[0].numpy()
        return hidden


def roformer_twin(network: Sleep2Vec):
    """``transformers.RoFormerModel`` with the encoder's weights, without dropout."""
    from transformers import RoFormerConfig, RoFormerModel

    sizes = network.config
    config = RoFormerConfig(
        vocab_size=1, hidden_size=sizes.hidden_size, num_hidden_layers=sizes.n_layers,
        num_attention_heads=sizes.n_heads, intermediate_size=sizes.intermediate_size,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, attn_implementation="eager",
    )  # fmt: skip
    model = RoFormerModel(config)
    # a vocabulary of one word and a table of sines are the only parts we have no twin of
    model.load_state_dict(_roformer_state(network.encoder), strict=False)
    return model


def _roformer_state(encoder) -> dict[str, torch.Tensor]:
    names = {
        "attention.query": "attention.self.query", "attention.key": "attention.self.key",
        "attention.value": "attention.self.value", "attention.output": "attention.output.dense",
        "attention_norm": "attention.output.LayerNorm", "feed_in": "intermediate.dense",
        "feed_out": "output.dense", "feed_norm": "output.LayerNorm",
    }  # fmt: skip
    state = {}
    for key, value in encoder.state_dict().items():
        if key.startswith("blocks."):
            _, number, rest = key.split(".", 2)
            part, kind = rest.rsplit(".", 1)
            state[f"encoder.layer.{number}.{names[part]}.{kind}"] = value
        elif key == "token_type":
            state["embeddings.token_type_embeddings.weight"] = torch.stack([value, value])
        else:
            state[f"embeddings.LayerNorm.{key.removeprefix('norm.')}"] = value
    return state


def random_night() -> dict[str, ConditionedSignal]:
    """Nine modalities of conditioned noise; what the samples are does not change the time."""
    random = np.random.default_rng(0)
    valid = np.ones(N_EPOCHS, dtype=bool)
    return {
        name: ConditionedSignal(
            random.standard_normal((N_EPOCHS, MODALITIES[name].conditioning.width), np.float32),
            valid,
        )
        for name in NINE
    }


def flops(network: Sleep2Vec) -> float:
    """Multiplications and additions of one night's matrix products."""
    linear = sum(
        m.weight.numel()
        for m in (network.encoder, network.input_projection)
        for m in m.modules()
        if isinstance(m, torch.nn.Linear)
    )
    tokenizers = sum(
        m.weight.numel() for m in network.tokenizers.modules() if isinstance(m, torch.nn.Linear)
    )
    attention = network.config.n_layers * 2 * N_EPOCHS * SIZE
    return 2.0 * N_EPOCHS * (len(NINE) * (linear + attention) + tokenizers)


def peak_flops(dtype: torch.dtype, device: str = "cpu") -> float:
    """The machine's own best at one large matrix product, per second."""
    left, right = (torch.randn(PEAK_SIZE, PEAK_SIZE).to(device, dtype) for _ in range(2))

    def multiply():
        # reading a number waits for a GPU to be done
        (left @ right)[0, 0].item()

    seconds = [_seconds(multiply) for _ in range(4)]
    return 2.0 * PEAK_SIZE**3 / min(seconds[1:])


def _seconds(call: Callable) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def measure(n_layers: int, repeats: int) -> pd.DataFrame:
    """Median seconds of each variant, taking turns, with ratio, share of peak and difference."""
    config = dense_config(n_layers)
    network = Sleep2Vec.from_seed(config, 0).eval()
    checkpoint = Checkpoint(config, network.state_dict(), {}, "random", "dense, random weights")
    night = random_night()
    variants = {"transformers, eager, float32": Baseline(network).encode}
    for asked in ("float32", "bfloat16", "auto"):
        precision = resolve_precision(asked, "cpu")
        encoder = as_encoder(checkpoint, "last", precision, "cpu")
        variants[f"this library, {asked}"] = _encoder_of(encoder)
    results = {name: encode(night) for name, encode in variants.items()}
    seconds = {name: [] for name in variants}
    peaks = {torch.float32: [], torch.bfloat16: []}
    for _ in range(repeats):
        for name, encode in variants.items():
            seconds[name].append(_seconds(lambda encode=encode: encode(night)))
        for dtype, values in peaks.items():
            values.append(peak_flops(dtype))
    rows, reference = [], next(iter(variants))
    for name in variants:
        half = "bfloat16" in name or resolve_precision(name.rsplit(" ", 1)[1], "cpu") == "bfloat16"
        peak = max(peaks[torch.bfloat16 if half else torch.float32])
        ratios = np.array(seconds[reference]) / np.array(seconds[name])
        rows.append(
            {
                "variant": name,
                "seconds": np.median(seconds[name]),
                "times as fast": np.median(ratios),
                "share of peak": flops(network) / np.median(seconds[name]) / peak,
                "peak, TFLOP/s": peak / 1e12,
                "largest difference": _largest_difference(results[name], results[reference]),
                "lowest cosine": _lowest_cosine(results[name], results[reference]),
            }
        )
    return pd.DataFrame(rows)


def _encoder_of(encoder: Sleep2VecEncoder) -> Callable:
    def encode(night):
        with single_threaded(torch.get_num_threads()) as cores:
            encoded = cores.map(encoder.encode_signal, night, night.values())
            return {name: item.tokens for name, item in zip(night, encoded, strict=True)}

    return encode


def _largest_difference(first: dict, second: dict) -> float:
    return max(float(np.abs(first[name] - second[name]).max()) for name in NINE)


def _lowest_cosine(first: dict, second: dict) -> float:
    lowest = 1.0
    for name in NINE:
        a, b = (v[name] / np.linalg.norm(v[name], axis=1, keepdims=True) for v in (first, second))
        lowest = min(lowest, float((a * b).sum(axis=1).min()))
    return lowest


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--layers", type=int, default=12)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{options.threads} threads, {len(NINE)} modalities, {N_EPOCHS} epochs")
    print(measure(options.layers, options.repeats).round(5).to_string(index=False))


if __name__ == "__main__":
    main()
