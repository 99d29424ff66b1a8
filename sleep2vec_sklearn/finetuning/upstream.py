# SPDX-License-Identifier: BSD-3-Clause
"""Fine-tuned networks of the paper's authors, encoder and head."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._torch import building, own_modes
from .._untrusted import only_errors, shown
from ..errors import CheckpointError
from ..model.upstream.layout import read_number, read_section
from .config import ACTIVATIONS, TEMPORAL_HEADS, HeadConfig

# torch takes seconds to import, so what needs it is imported where it is used
if TYPE_CHECKING:
    from torch import Tensor

    from ..model._hub import CheckpointFile
    from ..model.upstream.checkpoint import UpstreamCheckpoint
    from ._upstream_network import Task, UpstreamNetwork

__all__ = ["load_finetuned"]

_HEADS = {
    "classification": "mlp",
    **{name: name for name in ("regression", "temporal_conv", "temporal_transformer")},
}
_AGGREGATIONS = {"mean": "mean", "concat": "concat", "gated_scalar": "gated"}
_POOLINGS = {"mean": "mean", "attn": "attention", "lstm": "lstm"}
_ACTIVATIONS = dict.fromkeys(ACTIVATIONS)
_CLS_USES = dict.fromkeys(("tokens", "cls"))
_TASKS = {
    "classification": "classes", "regression": "numbers", "survival": "risks",
    "multilabel_classification": "outcomes", "ahi": "seconds", "arousal": "seconds",
}  # fmt: skip
_HEAD_KEYS = ("name", "hidden_dim", "dropout", "act", "channel_agg", "temporal_agg", "kwargs")
# options of each kind of head and pooling: "num_heads" of a head and "temp" are read, all others
# show in the parameters and have to say the same, and dropout is for training
_HEAD_OPTIONS = {
    "mlp": ("num_layers", "dropout"), "regression": ("num_layers", "dropout"),
    "temporal_conv": ("num_layers", "kernel_size", "dropout"),
    "temporal_transformer": ("num_layers", "num_heads", "dropout"),
}  # fmt: skip
_POOLING_OPTIONS = {
    "mean": (), "attention": ("num_heads", "heads", "temp", "temperature", "dropout"),
    "lstm": ("num_layers", "bidirectional", "dropout"),
}  # fmt: skip
_MIX_KEYS = ("enabled", "layer_indices", "shared_across_modalities")
_N_HEADS = 8
_SECONDS = 30
_AROUSALS = ("res", "spont", "limb", "plm")  # for each second in turn

_FILTERS = "head.blocks.0.depthwise.weight"
_FEED = "head.encoder.layers.0.linear1.weight"
_POSITIONS = "head.pos_emb.weight"
_QUERIES = "temporal_agg.pool.q"
_PROJECTION = "head.proj_in.weight"
_MIX = "layer_mix.weight"
_AGE = ("survival_age_embedding.weight", "survival_age_embedding.bias")
_SEX = ("survival_sex_embedding.weight",)
_KEYS = {
    "head.fusion.aggregator.gates": "aggregation.gates",
    "temporal_agg.pool.q": "pooling.query",
    "temporal_agg.pool.W.weight": "pooling.key.weight",
    "temporal_agg.pool.W.bias": "pooling.key.bias",
    _MIX: _MIX,
}
# parameters by whose shapes the sizes are known, and their least number of dimensions
_SHAPED = {
    **dict.fromkeys((_FILTERS, _FEED, _POSITIONS, _AGE[0], *_SEX, "head.classifier.weight"), 2),
    _MIX: 2, _QUERIES: 1,
}  # fmt: skip
_LAYER = re.compile(r"head\.(?:mlp|regressor)\.(\d+)\.(weight|bias)")
_BLOCK = re.compile(r"head\.(?:blocks|encoder\.layers)\.(\d+)\..*")
_LSTM_LAYER = re.compile(r"temporal_agg\.lstm\.weight_ih_l(\d+)")
_OF_THE_LOSS = re.compile(r"_?\w*loss\.\w+")


def load_finetuned(
    path: str | os.PathLike, *, missing: str = "raise", **options: Any
) -> UpstreamNetwork:
    """Read a fine-tuned Lightning checkpoint of the authors: encoder and head, ready to predict.

    Parameters
    ----------
    path : path-like
        A ``.ckpt`` file of fine-tuning, a folder with one, or an address of the hub. A YAML file
        next to it is read for what it does not say itself: the window of training,
        ``data.max_tokens``, as a rule.
    missing : {"raise", "ignore"}
        What happens where a recording lacks a modality that the network reads, which its authors'
        code never does without: an error, or a prediction from the others.
    **options
        ``config``, ``weights``, ``adapter``, ``alpha``, ``conditioning``, ``context_epochs`` of
        :func:`~sleep2vec_sklearn.model.read_upstream_checkpoint`.

    Returns
    -------
    UpstreamNetwork
        ``predict`` and ``predict_proba`` take recordings, ``logits`` the network input of the
        authors' code; a torch module in eval mode, its adapters merged.

    Raises
    ------
    CheckpointError
        If the file is damaged, of another network, of pretraining, or its head is of a kind, or
        has an option, that this library does not have.
    ImportError
        If a configuration is YAML and pyyaml is not installed.

    See Also
    --------
    sleep2vec_sklearn.load_checkpoint : The encoder alone.

    Examples
    --------
    >>> from sleep2vec_sklearn import EpochSequence, stage_night
    >>> from sleep2vec_sklearn.finetuning import load_finetuned
    >>> network = load_finetuned("s2v-medium-stage5-eeg/best.ckpt")  # doctest: +SKIP
    >>> network.modalities_, network.unit_, network.classes_  # doctest: +SKIP
    (('eeg',), 'epoch', array([0, 1, 2, 3, 4], dtype=int8))
    >>> network.predict_proba(EpochSequence(nights))  # doctest: +SKIP
    >>> network.logits({"eeg": tokens}, length)  # doctest: +SKIP
    """
    from ..model.upstream._files import locate, section_beside
    from ..model.upstream.checkpoint import EACH, read_upstream_checkpoint

    file = locate(path)
    # an address with its commit, which is not asked for again
    source = file.address or file.path
    if missing not in ("raise", "ignore"):
        raise ValueError(f"missing must be 'raise' or 'ignore', got {missing!r}.")
    options = {"adapter": EACH, **options}
    try:
        with only_errors(CheckpointError, file.path), own_modes():
            if options.get("config") is None and options.get("context_epochs") is None:
                options["context_epochs"] = section_beside(file.path, "data").get("max_tokens")
            return _build(read_upstream_checkpoint(source, **options), missing)
    except ValueError as error:
        # where the cache is says nothing to who gave an address
        text = str(error).replace(str(file.path), str(source))
        text = text if str(source) in text else f"{source}: {text}"
        if text == str(error):
            raise
        raise CheckpointError(text) from error


def open_stager(file: CheckpointFile) -> Any:
    """The network of a stager's file, of the authors or SeqSleepNet's; else what the file holds.

    The last few are remembered, as nights are staged one by one.
    """
    from ..model.checkpoint import load_checkpoint
    from ..model.upstream._files import configuration_files, is_torch_file

    # links are kept: the hub's cache has files of other names behind them, without a YAML
    path = file.path.absolute()
    named = file.address or path
    with only_errors(CheckpointError, path):
        if not is_torch_file(path):
            return load_checkpoint(named)
        files = [path, *configuration_files(path)]
        stamps = tuple((f, f.stat().st_mtime_ns, f.stat().st_size) for f in files)
        return _open_once(named, path, stamps)


@lru_cache(maxsize=2)
def _open_once(source: str | Path, path: Path, stamps: tuple) -> Any:
    """``stamps`` only tell a file's versions apart."""
    from ..model.checkpoint import load_checkpoint
    from ..model.external.seqsleepnet import is_seqsleepnet
    from ..model.external.sleepfm import is_sleepfm
    from ..model.upstream._files import load_torch_file, state_in

    state = state_in(path, load_torch_file(path))
    if is_seqsleepnet(state) or is_sleepfm(state):
        return load_checkpoint(source)
    return load_finetuned(source)


def _build(checkpoint: UpstreamCheckpoint, missing: str) -> UpstreamNetwork:
    import torch

    from ._upstream_network import UpstreamNetwork

    if not checkpoint.head:
        raise CheckpointError(
            "a checkpoint of pretraining, which has no head. Read it with load_checkpoint, or "
            "fine-tune it first."
        )
    state = {k: v for k, v in checkpoint.head.items() if not _OF_THE_LOSS.fullmatch(k)}
    _check_dimensions(state)
    layers, per_modality = _mixed_layers(checkpoint, state)
    state, demographics, covariates = _split_demographics(checkpoint, state)
    config = _head_config(checkpoint, state, len(layers), per_modality, sum(demographics))
    encoder, task = checkpoint.build(), _read_task(checkpoint, config)
    # sizes are compared with the tensors before any is made
    with building(), torch.device("meta"):
        network = UpstreamNetwork(
            encoder, config, task, layers=layers, demographics=demographics,
            adapted=checkpoint.build_adapted(encoder), missing=missing, card=_card_of(checkpoint),
        )  # fmt: skip
        if _PROJECTION in state and config.head in TEMPORAL_HEADS:
            # there may be one that changes no width
            projection = torch.nn.Linear(config.input_size, config.head_size or 0)
            network.head.predictor.proj_in = projection
    _load_head(network, _translate_keys(state, config) | covariates)
    return network.float().eval()


def _card_of(checkpoint: UpstreamCheckpoint) -> dict:
    """What is known of the network; the encoder's own card says that its head is left out."""
    from ..model.upstream.checkpoint import HEAD_LEFT_OUT

    card = {key: value for key, value in checkpoint.card.items() if key != "left_out"}
    return card | {"notes": [note for note in card["notes"] if note != HEAD_LEFT_OUT]}


def _head_config(
    checkpoint: UpstreamCheckpoint, state: Mapping[str, Tensor], n_layers: int, per_modality: bool,
    n_covariates: int,
) -> HeadConfig:  # fmt: skip
    model, names = checkpoint.model_config, checkpoint.config.names
    section = read_section(model, "head")
    _refuse_keys("head", section, _HEAD_KEYS)
    is_seq = _task_section(checkpoint)["is_seq"]
    head = _translate("head", section, _HEADS, "classification")
    channels = read_section(section, "channel_agg")
    aggregation = _translate("channel_agg", channels, _AGGREGATIONS, "mean")
    _refuse_options("channel_agg", channels)
    _translate("act", {"name": section.get("act")}, _ACTIVATIONS, "elu")
    _refuse_options("head", section, _HEAD_OPTIONS[head])
    linear = _linear_layers(state)
    return HeadConfig(
        checkpoint.config.hidden_size,
        names,
        n_outputs=len(linear[-1]),
        unit="epoch" if is_seq else "night",
        head=head,
        # a single channel is not combined with others
        aggregation=aggregation if len(names) > 1 else "mean",
        n_layers=n_layers,
        layer_mix_per_modality=per_modality,
        n_covariates=n_covariates,
        dropout=read_number(section, "dropout", 0.0),
        activation=section.get("act") or "elu",
        **({} if is_seq else _pooling_of(model, state)),
        **_sizes_of(section, head, state, linear),
    )


def _task_section(checkpoint: UpstreamCheckpoint) -> Mapping:
    task = read_section(checkpoint.finetune_config or {}, "task")
    if not isinstance(task.get("is_seq"), bool):
        raise CheckpointError(
            "nothing says whether its outputs are of epochs or of nights: task.is_seq of the "
            f"finetune_config is {shown(task.get('is_seq'))}; accepted are true and false. "
            "Pass config= with the YAML of fine-tuning."
        )
    return task


def _read_task(checkpoint: UpstreamCheckpoint, config: HeadConfig) -> Task:
    from ._upstream_network import Task

    task = _task_section(checkpoint)
    if task.get("output_dim") not in (None, config.n_outputs):
        raise CheckpointError(
            f"task.output_dim is {task['output_dim']}, and its head has {config.n_outputs} outputs."
        )
    default = "regression" if config.head == "regression" else "classification"
    kind = _translate("task.type", {"name": task.get("type")}, _TASKS, default)
    by_second = config.unit == "epoch" and config.n_outputs in (_SECONDS, _SECONDS * len(_AROUSALS))
    if by_second and kind in ("classes", "outcomes"):
        kind = "seconds"
    if kind != "seconds":
        return Task(kind)
    of_arousals = config.n_outputs == _SECONDS * len(_AROUSALS)
    name = "arousal_eval_thresholds" if of_arousals else "ahi_eval_threshold"
    found = checkpoint.extras.get(name)
    return Task(kind, _thresholds(name, found, len(_AROUSALS) if of_arousals else 1))


def _thresholds(name: str, found: Any, n_kinds: int) -> tuple[float, ...]:
    """By kind of event; 0.5 where the file states none."""
    if found is None:
        return (0.5,) * n_kinds
    values = found
    if isinstance(found, Mapping):
        lower = {str(key).lower(): value for key, value in found.items()}
        # names that are not known keep their order
        values = [lower[k] for k in _AROUSALS] if set(lower) == {*_AROUSALS} else lower.values()
    values = _plain(values)
    values = [*map(_plain, values)] if isinstance(values, Iterable) else [values]
    numbers = [v[0] if isinstance(v, list) and len(v) == 1 else v for v in values]
    are_numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in numbers)
    if not are_numbers or len(numbers) != n_kinds or not all(0 <= v <= 1 for v in numbers):
        raise CheckpointError(
            f"{name} is {shown(found)}; accepted is a probability for each of {n_kinds} kinds of "
            "event."
        )
    return tuple(map(float, numbers))


def _plain(value: Any) -> Any:
    """A tensor as numbers or lists."""
    return value.tolist() if hasattr(value, "tolist") else value


def _pooling_of(model: Mapping, state: Mapping[str, Tensor]) -> dict[str, Any]:
    use = {"name": read_section(model, "cls").get("downstream")}
    _translate("cls.downstream", use, _CLS_USES, "tokens")
    if use["name"] == "cls":
        return {"pooling": "cls"}
    section = read_section(read_section(model, "head"), "temporal_agg")
    pooling = _translate("temporal_agg", section, _POOLINGS, "mean")
    _refuse_options("temporal_agg", section, _POOLING_OPTIONS[pooling])
    options = read_section(section, "kwargs")
    found: dict[str, Any] = {"pooling": pooling}
    if pooling == "attention" and _QUERIES in state:
        found["n_queries"] = state[_QUERIES].reshape(-1, state[_QUERIES].shape[-1]).shape[0]
        for name in ("num_heads", "heads"):
            _check_option("temporal_agg", name, options.get(name), found["n_queries"])
        stated = options.get("temp", options.get("temperature"))
        found["temperature"] = 1.0 if stated is None else stated
    if pooling == "lstm":
        found["lstm_layers"] = max(1, sum(map(bool, map(_LSTM_LAYER.fullmatch, state))))
        _check_option("temporal_agg", "num_layers", options.get("num_layers"), found["lstm_layers"])
        both_ways = "temporal_agg.lstm.weight_ih_l0_reverse" in state
        _check_option("temporal_agg", "bidirectional", options.get("bidirectional"), both_ways)
    return found


def _sizes_of(
    section: Mapping, head: str, state: Mapping[str, Tensor], linear: Sequence[Tensor]
) -> dict[str, Any]:
    """Sizes by the shapes of the parameters, and of options, which have to say the same."""
    blocks = {m[1] for m in map(_BLOCK.fullmatch, state) if m}
    sizes: dict[str, Any] = {"head_size": linear[-1].shape[1], "depth": len(blocks) or len(linear)}
    options = read_section(section, "kwargs")
    _check_option("head", "num_layers", options.get("num_layers"), sizes["depth"])
    if head in TEMPORAL_HEADS or sizes["depth"] > 1:
        _check_option("head", "hidden_dim", section.get("hidden_dim"), sizes["head_size"])
    if head == "temporal_conv" and _FILTERS in state:
        sizes["kernel_size"] = state[_FILTERS].shape[-1]
        _check_option("head", "kernel_size", options.get("kernel_size"), sizes["kernel_size"])
    if head == "temporal_transformer" and {_FEED, _POSITIONS} <= set(state):
        sizes["n_heads"] = options.get("num_heads") or _N_HEADS
        sizes["feed_size"], sizes["n_positions"] = len(state[_FEED]), len(state[_POSITIONS])
        heads = sizes["n_heads"]
        if not isinstance(heads, int) or heads < 1 or sizes["head_size"] % heads:
            raise CheckpointError(
                f"num_heads of its head is {shown(heads)}; accepted are divisors of its "
                f"{sizes['head_size']} features."
            )
    return sizes


def _check_option(what: str, name: str, stated: Any, found: int) -> None:
    if stated not in (None, found):
        raise CheckpointError(
            f"{name} of its {what} is {shown(stated)} in the configuration and {found} by the "
            "shapes of its parameters; is the configuration that of another run?"
        )


def _refuse_options(what: str, section: Mapping, known: Sequence[str] = ()) -> None:
    options = read_section(section, "kwargs")
    unknown = sorted(set(options) - set(known))
    if unknown:
        stated = ", ".join(f"{name}={shown(options[name])}" for name in unknown)
        raise CheckpointError(
            f"options of its {what} not supported: {', '.join(unknown)} ({stated}); accepted: "
            f"{', '.join(known) or 'none'}."
        )


def _refuse_keys(what: str, section: Mapping, known: Sequence[str]) -> None:
    unknown = sorted(set(section) - set(known))
    if unknown:
        raise CheckpointError(
            f"entries of {what} not supported: "
            f"{', '.join(f'{key}: {shown(section[key])}' for key in unknown)}; accepted: "
            f"{', '.join(known)}."
        )


def _check_dimensions(state: Mapping[str, Tensor]) -> None:
    linear = {m[0]: 2 for m in map(_LAYER.fullmatch, state) if m and m[2] == "weight"}
    if empty := sorted(key for key, tensor in state.items() if not tensor.numel()):
        raise CheckpointError(f"{empty[0]} of its head has no numbers.")
    for key, least in {**_SHAPED, **linear}.items():
        if key in state and state[key].ndim < least:
            shape = tuple(state[key].shape)
            raise CheckpointError(
                f"{key} has shape {shape}, no {'matrix' if least > 1 else 'row'}."
            )


def _mixed_layers(
    checkpoint: UpstreamCheckpoint, state: Mapping[str, Tensor]
) -> tuple[tuple[int, ...], bool]:
    """Blocks that are mixed, and whether each modality has weights of its own."""
    mix = read_section(checkpoint.finetune_config or {}, "layer_mix")
    n_layers = checkpoint.config.n_layers
    _refuse_keys("layer_mix", mix, _MIX_KEYS)
    blocks, is_mixed = [*range(1, n_layers + 1)], mix.get("enabled", bool(mix))
    layers = (mix.get("layer_indices") or blocks) if is_mixed else [n_layers]
    known = isinstance(layers, list | tuple) and all(layer in blocks for layer in layers)
    if not known or len(layers) > n_layers:
        raise CheckpointError(
            f"layer_mix.layer_indices is {shown(layers)}; accepted are the blocks 1 to {n_layers}."
        )
    if _MIX in state:
        _check_option("layer_mix", "number of blocks", len(layers), state[_MIX].shape[-1])
    return tuple(layers), not (is_mixed and mix.get("shared_across_modalities"))


def _split_demographics(
    checkpoint: UpstreamCheckpoint, state: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], tuple[int, int], dict[str, Tensor]]:
    """The rest of a state, the widths of the columns of age and sex, and their parameters."""
    sections = {"model": checkpoint.model_config, "finetune": checkpoint.finetune_config or {}}
    fusion = _find("covariate_fusion", sections) or "feature_concat"
    if fusion != "feature_concat":
        raise CheckpointError(
            f"covariate_fusion {shown(fusion)}; supported: 'feature_concat', which appends age "
            "and sex to the features."
        )
    rest = dict(state)
    found: dict[str, Tensor] = {}
    if set(_AGE) <= set(rest):
        found |= {f"demographics.age.{key.rpartition('.')[2]}": rest.pop(key) for key in _AGE}
    if set(_SEX) <= set(rest):
        found["demographics.sex.weight"] = rest.pop(_SEX[0])
    sizes = [len(found.get("demographics.age.weight", ()))]
    sizes.append(found["demographics.sex.weight"].shape[-1] if set(_SEX) <= set(state) else 0)
    return rest, (sizes[0], sizes[1]), found


def _find(name: str, section: Mapping) -> Any:
    """The value of a key, at whatever depth it stands."""
    if name in section:
        return section[name]
    inner = (_find(name, value) for value in section.values() if isinstance(value, Mapping))
    return next((value for value in inner if value is not None), None)


def _translate(what: str, section: Mapping, names: Mapping[str, Any], default: str) -> Any:
    name = section.get("name") or default
    if not isinstance(name, str) or name not in names:
        raise CheckpointError(f"{what} {shown(name)}; supported: {', '.join(map(repr, names))}.")
    return names[name]


def _linear_layers(state: Mapping[str, Tensor]) -> list[Tensor]:
    """Weights of the layers from features to outputs, in order."""
    matches = [m for m in map(_LAYER.fullmatch, state) if m and m[2] == "weight"]
    layers = [state[m[0]] for m in sorted(matches, key=lambda m: int(m[1]))]
    if not layers and "head.classifier.weight" not in state:
        raise CheckpointError(f"a head of unknown layout; its keys are {', '.join(sorted(state))}.")
    return layers or [state["head.classifier.weight"]]


def _translate_keys(state: Mapping[str, Tensor], config: HeadConfig) -> dict[str, Tensor]:
    """The head's parameters in our names; those that nothing reads are left out."""
    numbers = sorted({int(m[1]) for m in map(_LAYER.fullmatch, state) if m})
    pools = config.unit == "night" and config.pooling != "cls"
    renamed = {}
    for key, tensor in state.items():
        match = _LAYER.fullmatch(key)
        if match:
            renamed[f"predictor.layers.{numbers.index(int(match[1]))}.{match[2]}"] = tensor
        elif key in _KEYS:
            renamed[_KEYS[key]] = tensor
        else:
            key = re.sub(r"^temporal_agg\.", "pooling.", key)
            renamed[re.sub(r"^head\.", "predictor.", key)] = tensor
    if not pools:
        # epochs, and summaries of nights, are not pooled
        renamed = {key: t for key, t in renamed.items() if not key.startswith("pooling.")}
    if "pooling.query" in renamed and config.n_queries == 1:
        renamed["pooling.query"] = renamed["pooling.query"].reshape(-1)
    if config.n_layers == 1:
        # the mean of one layer
        renamed.pop(_MIX, None)
    return renamed


def _load_head(network: UpstreamNetwork, state: Mapping[str, Tensor]) -> None:
    parts = {"demographics": network.demographics, "": network.head}
    expected = {
        ".".join(filter(None, (part, key))): tensor
        for part, module in parts.items()
        for key, tensor in module.state_dict().items()
    }
    problems = [f"missing {key}" for key in sorted(set(expected) - set(state))]
    problems += [f"unknown {key}" for key in sorted(set(state) - set(expected))]
    problems += [
        f"{key} has shape {tuple(state[key].shape)}, expected {tuple(tensor.shape)}"
        for key, tensor in expected.items()
        if key in state and state[key].shape != tensor.shape
    ]
    problems += [
        f"{key} has NaN or infinite values"
        for key in sorted(set(expected) & set(state))
        if not state[key].isfinite().all()
    ]
    if problems:
        raise CheckpointError(f"a head that this library does not have: {'; '.join(problems)}.")
    for part, module in parts.items():
        prefix = f"{part}." if part else ""
        mine = {key: state[prefix + key] for key in module.state_dict()}
        module.load_state_dict(mine, assign=True)
