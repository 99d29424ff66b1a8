# SPDX-License-Identifier: BSD-3-Clause
"""Noise with a spectrum that changes over time, and short waveforms placed in a signal."""

from __future__ import annotations

import zlib

import numpy as np
from scipy.fft import irfft

__all__ = [
    "FRAME_SECONDS",
    "HOP_SECONDS",
    "frequencies",
    "place",
    "seed_from",
    "shaped_noise",
    "stream",
]

FRAME_SECONDS = 4
HOP_SECONDS = 2


def frequencies(rate: float, top: float) -> np.ndarray:
    """Frequencies of the synthesis grid up to ``top`` Hz and below Nyquist."""
    highest = min(top, rate / 2 - 1 / FRAME_SECONDS)
    return np.arange(0, int(highest * FRAME_SECONDS) + 1, dtype=np.float32) / FRAME_SECONDS


def shaped_noise(rng: np.random.Generator, density: np.ndarray, rate: float) -> np.ndarray:
    """Gaussian noise whose power spectral density is given every two seconds.

    Random spectra of 4-s frames are weighted with a sine window and overlap by half, so the
    variance at any time is that of the neighbouring frames. Frequencies are drawn in ascending
    order: the same stream at another rate, or with fewer frequencies, gives the same slow waves.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    density : ndarray of shape (n_frames, n_frequencies)
        One-sided density (units squared per Hz) on the grid of :func:`frequencies`; frame k is
        centred on 2 k seconds, the first on the start.
    rate : float
        Whole number of samples per second.

    Returns
    -------
    numpy.ndarray of shape ((n_frames - 1) * 2 * rate,), float32
    """
    n_frames, n_bins = density.shape
    size = round(FRAME_SECONDS * rate)
    hop = size // 2
    draws = rng.standard_normal((n_bins, 2, n_frames), dtype=np.float32)
    scale = np.sqrt(density, dtype=np.float32)
    scale *= np.float32(size / 2 / np.sqrt(FRAME_SECONDS))
    spectrum = np.empty((n_frames, n_bins), dtype=np.complex64)
    np.multiply(draws[:, 0].T, scale, out=spectrum.real)
    np.multiply(draws[:, 1].T, scale, out=spectrum.imag)
    frames = irfft(spectrum, n=size, axis=1, overwrite_x=True)
    frames *= np.sin(np.pi * (np.arange(size, dtype=np.float32) + 0.5) / size)
    blocks = frames[1:, :hop] + frames[:-1, hop:]
    return blocks.reshape(-1)


def place(signal: np.ndarray, rate: float, times: np.ndarray, waves: np.ndarray) -> None:
    """Add waveforms to a signal, in place.

    Parameters
    ----------
    signal : ndarray of shape (n_samples,)
        Changed in place.
    rate : float
        Samples per second.
    times : ndarray of shape (n_waves,)
        Start of each waveform in seconds; waveforms that would leave the signal are left out.
    waves : ndarray of shape (n_waves, length)
        The waveforms, at ``rate``.
    """
    if len(times) == 0:
        return
    start = np.round(np.asarray(times) * rate).astype(np.int64)
    inside = (start >= 0) & (start + waves.shape[1] <= len(signal))
    positions = start[inside, None] + np.arange(waves.shape[1])
    np.add.at(signal, positions, waves[inside].astype(signal.dtype, copy=False))


def seed_from(random_state) -> int:
    """Turn a ``random_state`` into one integer seed.

    Parameters
    ----------
    random_state : int, numpy.random.Generator, numpy.random.RandomState or None
        A generator is advanced by one draw; None takes fresh entropy.

    Raises
    ------
    TypeError
        If it is none of these.
    ValueError
        If it is a negative integer.
    """
    if random_state is None:
        return int(np.random.default_rng().integers(2**62))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**62))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if isinstance(random_state, (int, np.integer)) and not isinstance(random_state, bool):
        if random_state < 0:
            raise ValueError(f"random_state must not be negative, got {random_state}.")
        return int(random_state)
    raise TypeError(
        "random_state must be an int, a numpy Generator or RandomState, or None, "
        f"got {type(random_state).__name__}."
    )


def stream(seed: tuple[int, ...], name: str) -> np.random.Generator:
    """Return the random stream called ``name`` below ``seed``; always the same one."""
    key = zlib.crc32(name.encode())
    sequence = np.random.SeedSequence(entropy=list(seed), spawn_key=(key,))
    return np.random.Generator(np.random.SFC64(sequence))
