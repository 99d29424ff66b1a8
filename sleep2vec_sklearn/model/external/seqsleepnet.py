# SPDX-License-Identifier: BSD-3-Clause
"""SeqSleepNet of PhysioEx: stages and states of the epochs of one EEG.

Phan et al. 2019, SeqSleepNet, IEEE Transactions on Neural Systems and Rehabilitation Engineering
27(3), https://doi.org/10.1109/TNSRE.2019.2896659. Written from a description of the network and of
its files; the weights are those of https://github.com/guidogagl/physioex (MIT), and not included.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ..._download import download, import_pooch
from ..._files import canonical_json, sha256, tensor_parts, write_atomic
from ..._torch import inference
from ..._warnings import warn
from ...errors import CacheWarning, CheckpointError, InvalidRecordingError, ModalityWarning
from ...recordings._conditioning import condition_derivation, read_conditioned
from ...recordings.modality import Conditioning
from ..encoder import Encoder, SignalInput
from ._weights import build_network

if TYPE_CHECKING:
    from ...recordings.recording import Recording

NAME = "seqsleepnet"
FILE = "seqsleepnet-EEG-L=21-test_acc=0.864.ckpt"
FILE_SHA256 = "31ba275153f61df9f282bbe7d0ce28dde4a8228fd79dfac0112878379e99b888"
ADDRESS = (
    "https://raw.githubusercontent.com/guidogagl/physioex/"
    "24d4974b408a7351b7d8c010a12ee9b2f037ab6c/physioex/train/models/backup/"
)
CARD = {
    "name": "SeqSleepNet of PhysioEx, one EEG",
    "source": ADDRESS + FILE,
    "licence": "MIT, copyright 2023 Guido Gagliardi",
    "training_data": "not stated by its authors",
    "reference": "https://doi.org/10.1109/TNSRE.2019.2896659",
}
_LICENSE = Path(__file__).with_name("seqsleepnet_LICENSE.txt")
_RETRIES = 3
# what the hash covers besides the weights: changed with the front end or the windows
_REVISION = 1

RATE, BAND = 100, (0.3, 40.0)
SEQUENCE = 21
# 0.05 s more for a night than windows that do not overlap, of which 4 to 6 % of the stages change
# where a recording begins a few epochs later; with 1 none do
STRIDE = 1
# epochs of twelve hours, and of ten
_LONGEST_NIGHT, _NIGHT = 1440, 1200
_TINY = 1e-6
_WINDOWS_AT_ONCE = 512
_N_FFT, _N_BINS, _N_FILTERS, _SIZE = 256, 129, 32, 64
# clipping would hide what an artefact does to the whole spectrum of its epoch
_CONDITIONING = Conditioning(RATE, min_rate=80.0, clip=np.inf)

_PREFIXES = ("epoch_encoder.", "sequence_encoder.")
_ELECTRODE = re.compile(r"(fp|af|fc|cp|ft|tp|po|f|c|p|o|t)(z|\d{1,2}?)(.*)")
_SIDES = {"c3": ("a2", "m2"), "c4": ("a1", "m1")}


class SequenceNetwork(nn.Module):
    """Filter bank, LSTM and attention within an epoch; GRU and a linear layer over epochs.

    Submodules are called as in the original's files, where the GRU is called LSTM.
    """

    def __init__(self) -> None:
        super().__init__()
        self.epoch_encoder = nn.ModuleDict(
            {
                "F2_filtbank": _parameters(W=(1, _N_BINS, _N_FILTERS), S=(1, _N_BINS, _N_FILTERS)),
                "F2_birnn": nn.LSTM(_N_FILTERS, _SIZE, batch_first=True, bidirectional=True),
                "F2_attention": _parameters(
                    W_omega=(2 * _SIZE, _N_FILTERS), b_omega=(_N_FILTERS,), u_omega=(_N_FILTERS,)
                ),
            }
        )
        self.sequence_encoder = nn.ModuleDict(
            {
                "LSTM": nn.GRU(2 * _SIZE, _SIZE, batch_first=True, bidirectional=True),
                "clf": nn.Linear(2 * _SIZE, len(SeqSleepNet.stages)),
            }
        )

    def epoch_vectors(self, spectrogram: Tensor) -> Tensor:
        """(..., frames, bins) to (..., 128): of each epoch by itself."""
        bank: Any = self.epoch_encoder["F2_filtbank"]
        attention: Any = self.epoch_encoder["F2_attention"]
        frames = spectrogram.reshape(-1, *spectrogram.shape[-2:])
        states = self.epoch_encoder["F2_birnn"](frames @ (bank.W.sigmoid() * bank.S))[0]
        scores = torch.tanh(states @ attention.W_omega + attention.b_omega) @ attention.u_omega
        vectors = (states * scores.softmax(dim=1)[..., None]).sum(dim=1)
        return vectors.reshape(*spectrogram.shape[:-2], -1)

    def sequence_states(self, vectors: Tensor) -> Tensor:
        """(n_sequences, n_epochs, 128) to the same shape: of each epoch among its neighbours."""
        return self.sequence_encoder["LSTM"](vectors)[0]

    def logits(self, states: Tensor) -> Tensor:
        """(..., 128) to (..., 5)."""
        return self.sequence_encoder["clf"](states)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Logits of sequences, (n_sequences, n_epochs, frames, bins) to (.., .., 5)."""
        return self.logits(self.sequence_states(self.epoch_vectors(spectrogram)))


def _parameters(**shapes: tuple[int, ...]) -> nn.ParameterDict:
    return nn.ParameterDict({name: torch.zeros(shape) for name, shape in shapes.items()})


class SeqSleepNet(Encoder):
    """SeqSleepNet for one EEG, trained by the authors of PhysioEx: an encoder, and a stager.

    It reads a central EEG against the other ear and gives one state of 128 numbers for each epoch;
    :meth:`predict_proba` gives stages. An epoch is seen in the windows of 21 epochs that hold it:
    states are averaged, log-probabilities too. Spectra are relative to the night's mean, so a
    recording should be one night. Of a recording read with ``derivations="all"`` the most central
    derivation is read; where it is not central, or its name is not known, a
    :class:`~sleep2vec_sklearn.errors.ModalityWarning` says so once.

    ``load_checkpoint("seqsleepnet")`` downloads the weights (1.6 MB, MIT licence); they are not
    included, as its authors do not say what they were trained on.

    Parameters
    ----------
    state : dict of str to Tensor
        Parameters by their names in the original's files, without ``nn.``.

    Attributes
    ----------
    stages : tuple of str
        Order of the probabilities.

    Raises
    ------
    CheckpointError
        If the tensors are those of another network, or not finite.

    References
    ----------
    Phan H. et al., SeqSleepNet: end-to-end hierarchical recurrent neural network for
    sequence-to-sequence automatic sleep staging, IEEE Trans Neural Syst Rehabil Eng 27(3), 2019.

    Examples
    --------
    >>> from sleep2vec_sklearn import load_checkpoint
    >>> from sleep2vec_sklearn.model import SeqSleepNet
    >>> SeqSleepNet.stages
    ('W', 'N1', 'N2', 'N3', 'R')
    >>> network = load_checkpoint("seqsleepnet")  # doctest: +SKIP
    >>> network.predict_proba(night)  # doctest: +SKIP
    """

    stages = ("W", "N1", "N2", "N3", "R")

    def __init__(self, state: Mapping[str, Tensor]):
        self.network = build_network(
            SequenceNetwork, state, "SeqSleepNet for one EEG",
            f"Get {FILE} of PhysioEx; its networks of several channels are others.",
        )  # fmt: skip
        settings = {"network": NAME, "revision": _REVISION, "stride": STRIDE}
        derivation = "central EEG against the other ear"
        conditioning = "0.3-40 Hz; log power, each frequency relative to the night"
        super().__init__(
            NAME, sha256(*tensor_parts(self.network.state_dict()), canonical_json(settings)),
            {"eeg": ("eeg",)}, {"eeg": 2 * _SIZE},
            (SignalInput("eeg", RATE, "uV", _CONDITIONING.min_rate, derivation, conditioning),),
            context_epochs=2 * SEQUENCE - 1, card=dict(CARD),
        )  # fmt: skip
        self._told: set[str | None] = set()

    def encode(self, recording: Recording, group: str) -> tuple[np.ndarray, np.ndarray]:
        """Sequence states, shape (n_epochs, 128), and which epochs have a signal."""
        states, _, valid = self.states_and_probabilities(recording)
        return states, valid

    def predict_proba(self, recording: Recording) -> np.ndarray:
        """Probabilities of the stages.

        Parameters
        ----------
        recording : Recording
            One night.

        Returns
        -------
        float64 ndarray of shape (n_epochs, 5)
            W, N1, N2, N3, R; NaN where the EEG has no signal.

        Raises
        ------
        InvalidRecordingError
            If there is no EEG.
        """
        return self.states_and_probabilities(recording)[1]

    def states_and_probabilities(
        self, recording: Recording
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the network makes of a recording, in one pass.

        Returns
        -------
        states : float32 ndarray of shape (n_epochs, 128)
        probabilities : float64 ndarray of shape (n_epochs, 5)
            As of :meth:`predict_proba`.
        valid : bool ndarray of shape (n_epochs,)
            Which epochs have a signal.
        """
        return self.read_and_stage(recording)[:3]

    def read_and_stage(
        self, recording: Recording
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, str | None]:
        """:meth:`states_and_probabilities`, and the label of the derivation that was read."""
        n_epochs = recording.n_epochs
        epochs, valid, label = self._read(recording)
        if not valid.any():
            states = np.zeros((n_epochs, 2 * _SIZE), dtype=np.float32)
            return states, np.full((n_epochs, len(self.stages)), np.nan), valid, label
        power = log_power(epochs)
        states, probabilities = self._stage(power, valid, valid)
        if n_epochs > _LONGEST_NIGHT:
            # mostly a day: relative to the ten hours with the most sleep, kappa .74 for .38
            asleep = np.where(valid, 1 - probabilities[:, 0] + _TINY, 0)
            asleep = np.cumsum(np.r_[0, asleep])
            start = int((asleep[_NIGHT:] - asleep[:-_NIGHT]).argmax())
            night = np.zeros_like(valid)
            night[start : start + _NIGHT] = True
            states, probabilities = self._stage(power, valid, valid & night)
        return states, np.where(valid[:, None], probabilities, np.nan), valid, label

    def _stage(
        self, power: np.ndarray, valid: np.ndarray, night: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        spectrogram = normalise(power, night)
        spectrogram[~valid] = 0
        with inference():
            vectors = self.network.epoch_vectors(torch.from_numpy(spectrogram))
            states, scores = _over_windows(self.network, vectors)
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        return states, odds / odds.sum(axis=1, keepdims=True)

    def logits(self, spectrogram: np.ndarray) -> np.ndarray:
        """Logits of sequences, each a window, from normalised spectrograms.

        Parameters
        ----------
        spectrogram : array of shape (n_sequences, n_epochs, 29, 129)
            Frames of 2 s by frequencies, of mean 0 and standard deviation 1.

        Returns
        -------
        float32 ndarray of shape (n_sequences, n_epochs, 5)
        """
        with inference():
            return self.network(torch.as_tensor(spectrogram, dtype=torch.float32)).numpy()

    def _read(self, recording: Recording) -> tuple[np.ndarray, np.ndarray, str | None]:
        """EEG at 100 Hz, shape (n_epochs, 3000), the valid epochs, and the derivation."""
        if "eeg" not in recording.modalities:
            raise InvalidRecordingError(
                f"the night has {', '.join(recording.modalities)}; "
                f"{self.name} reads a central EEG alone. Choose another encoder or stager for it."
            )
        labels, signal = recording.derivations.get("eeg", ()), None
        label: str | None
        if recording.derivation_mode == "all" and len(labels) > 1:
            for label in sorted(labels, key=rank_derivation):
                signal = condition_derivation(recording, "eeg", labels.index(label), _CONDITIONING)
                if signal is not None:
                    break
        else:
            ((_, condition),) = read_conditioned(recording, {"eeg": _CONDITIONING})
            signal = condition()
            # once it is read, the derivation that was on for longest
            label = next(iter(recording.derivations.get("eeg", ())), None)
        self._warn_of(recording, label)
        if signal is None:
            return np.empty((0, 0)), np.zeros(recording.n_epochs, dtype=bool), label
        return signal.epochs, signal.valid, label

    def _warn_of(self, recording: Recording, label: str | None) -> None:
        rank = 2 if label is None else rank_derivation(label)
        if rank < 2 or label in self._told:
            return
        self._told.add(label)
        where = "which is not central" if rank > 2 else "whose derivation is not known"
        name = "" if label is None else f", {label!r}"
        warn(
            f"{recording.id or 'the recording'} has an EEG{name}, {where}; {self.name} was trained "
            "on a central EEG against the other ear (C4-A1, C3-A2), and mistakes stages in others. "
            "Said once.",
            ModalityWarning,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_told": set()}


def rank_derivation(label: str) -> int:
    """0 central against the other ear, 1 central, 2 not known, 3 elsewhere."""
    words = re.sub(r"[^a-z0-9]|eeg", "", label.lower())
    if words == "sec":
        # the second lead of SHHS is C3-A2
        return 0
    match = _ELECTRODE.fullmatch(words)
    if match is None:
        return 2
    region, place, reference = match.groups()
    if region != "c" or _ELECTRODE.fullmatch(reference):
        return 3
    return int(reference not in _SIDES.get(region + place, ()))


def log_power(epochs: np.ndarray) -> np.ndarray:
    """Log power of an EEG at 100 Hz, (n_epochs, 3000) to (n_epochs, 29, 129).

    Filtered over the whole night; frames of 2 s, 1 s apart.
    """
    from scipy.signal import butter, filtfilt, spectrogram

    filtered = filtfilt(*butter(4, BAND, "band", fs=RATE), epochs.reshape(-1).astype(np.float64))
    _, _, power = spectrogram(
        filtered.reshape(epochs.shape), RATE, "hamming", 2 * RATE, RATE, _N_FFT
    )
    return (20 * np.log10(power.swapaxes(1, 2) + np.finfo(np.float64).eps)).astype(np.float32)


def normalise(power: np.ndarray, night: np.ndarray) -> np.ndarray:
    """Each frequency relative to its mean and deviation over the epochs of the night."""
    within = power[night]
    mean, std = (f(within, axis=(0, 1), dtype=np.float64) for f in (np.mean, np.std))
    return ((power - mean) / np.where(std > 0, std, 1)).astype(np.float32)


def _over_windows(network: SequenceNetwork, vectors: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Means of the states, and of the log-probabilities, over the windows that hold an epoch."""
    n_epochs = len(vectors)
    length = min(SEQUENCE, n_epochs)
    last = n_epochs - length
    starts = torch.tensor([*range(0, last, STRIDE), last])
    total, scores = vectors.new_zeros(n_epochs, 2 * _SIZE), vectors.new_zeros(n_epochs, 5)
    count = vectors.new_zeros(n_epochs, 1)
    for some in starts.split(_WINDOWS_AT_ONCE):
        index = some[:, None] + torch.arange(length)
        states = network.sequence_states(vectors[index])
        total.index_add_(0, index.flatten(), states.flatten(0, 1))
        logarithms = network.logits(states).log_softmax(dim=-1)
        scores.index_add_(0, index.flatten(), logarithms.flatten(0, 1))
        count.index_add_(0, index.flatten(), vectors.new_ones(index.numel(), 1))
    return (total / count).numpy(), (scores / count).double().numpy()


def is_seqsleepnet(state: Mapping[str, Any]) -> bool:
    """Whether the names of tensors are those of this family of networks."""
    return any(name.removeprefix("nn.").startswith(_PREFIXES) for name in state)


def read_state(path: Path, state: Mapping[str, Tensor]) -> SeqSleepNet:
    """The network of a file's tensors, called as in the original or without its ``nn.``."""
    named = {name.removeprefix("nn."): tensor for name, tensor in state.items()}
    try:
        encoder = SeqSleepNet({k: t for k, t in named.items() if k.startswith(_PREFIXES)})
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    encoder.card["file"] = path.name
    return encoder


def fetch_file() -> Path:
    """The original's file in the user's cache folder, downloaded if it is not there."""
    pooch = import_pooch(
        f"downloading {NAME}", f"download {ADDRESS}{FILE} by hand and pass its path."
    )
    path = _path_in_cache(pooch)
    folder = path.parent
    if path.exists():
        if pooch.file_hash(path) == FILE_SHA256:
            return path
        path.unlink()
        warn(f"{path}: its sha256 is not the expected one; deleted, to get it again.", CacheWarning)
    source = pooch.create(folder, ADDRESS, registry={FILE: FILE_SHA256}, retry_if_failed=_RETRIES)
    fix = f"Or get the file elsewhere and pass its path, load_checkpoint('{FILE}')."
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "LICENSE.txt", _LICENSE.read_bytes())
        download(source, FILE, verbose=1)
    except OSError as error:
        raise CheckpointError(
            f"{ADDRESS}{FILE} cannot be downloaded to {folder} ({type(error).__name__}: {error}). "
            f"Try again, an interrupted download is continued. {fix}"
        ) from error
    except ValueError as error:
        raise CheckpointError(
            f"{ADDRESS}{FILE} was cut off or has changed: its sha256 is not {FILE_SHA256[:12]}..., "
            f"so it was deleted. {fix}"
        ) from error
    return path


def find_file() -> Path | None:
    """The original's file if it was downloaded before, by :func:`fetch_file`."""
    try:
        import pooch
    except ImportError:
        return None
    path = _path_in_cache(pooch)
    return path if path.exists() and pooch.file_hash(path) == FILE_SHA256 else None


def _path_in_cache(pooch: Any) -> Path:
    return Path(pooch.os_cache("sleep2vec_sklearn")) / "encoders" / NAME / FILE
