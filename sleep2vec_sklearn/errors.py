# SPDX-License-Identifier: BSD-3-Clause
"""Errors and warnings of the library.

::

    Sleep2VecError
    ├── InvalidRecordingError (ValueError)   a recording, or what stands for one, is unusable
    │   ├── UnknownModalityError             a name that is not in the catalogue
    │   └── InvalidSignalError               one modality of it: rank, type, rate, unit, size
    ├── ReadError (OSError)                  a file cannot be read
    │   └── NoUsableChannelError             it can, but holds no channel the library knows
    ├── CheckpointError (ValueError)         a file is damaged, foreign or of another kind
    ├── ClusterError (ConnectionError)       a scheduler, or its workers, were lost meanwhile
    ├── LeakageError (ValueError)            LeakageWarning, with set_config(leakage="raise")
    └── TrainingError (RuntimeError)         training cannot go on, or not as requested

    Sleep2VecWarning (UserWarning)
    ├── RecordingWarning                     something of a recording was left out
    ├── ModalityWarning                      a known modality the checkpoint does not support
    ├── CheckpointWarning                    something a user has to know of a checkpoint
    ├── LeakageWarning                       rows of a subject the estimator was fitted on
    ├── CacheWarning                         tokens could not be stored; they are computed again
    ├── OutcomeWarning                       an outcome may not mean what it is used as
    └── TrainingWarning                      training goes on, but not quite as requested
"""

__all__ = [
    "CacheWarning",
    "CheckpointError",
    "CheckpointWarning",
    "ClusterError",
    "InvalidRecordingError",
    "InvalidSignalError",
    "LeakageError",
    "LeakageWarning",
    "ModalityWarning",
    "NoUsableChannelError",
    "OutcomeWarning",
    "ReadError",
    "RecordingWarning",
    "Sleep2VecError",
    "Sleep2VecWarning",
    "TrainingError",
    "TrainingWarning",
    "UnknownModalityError",
]


class Sleep2VecError(Exception):
    """Base of every error the library raises on purpose."""


class InvalidRecordingError(Sleep2VecError, ValueError):
    """A recording, or what stands for one, cannot be used."""


class UnknownModalityError(InvalidRecordingError):
    """A modality's name is not in the catalogue."""


class InvalidSignalError(InvalidRecordingError):
    """One modality of a recording cannot be used as it is."""


class ReadError(Sleep2VecError, OSError):
    """A file is missing, truncated, corrupt or of an unknown format."""


class NoUsableChannelError(ReadError):
    """A file was read, but none of its channels maps to a modality."""


class CheckpointError(Sleep2VecError, ValueError):
    """A checkpoint is damaged, foreign, or does not fit its use."""


class ClusterError(Sleep2VecError, ConnectionError):
    """The scheduler of a cluster, or its workers, were lost; the text says how to go on."""


class LeakageError(Sleep2VecError, ValueError):
    """X holds other rows of a subject that the estimator was fitted on."""


class TrainingError(Sleep2VecError, RuntimeError):
    """Training cannot go on: a loss is not finite, or a state is of another run."""


class Sleep2VecWarning(UserWarning):
    """Base of every warning the library gives."""


class RecordingWarning(Sleep2VecWarning):
    """A sensor, a label or a whole recording was left out; the text says why."""


class ModalityWarning(Sleep2VecWarning):
    """A known modality is not supported by the checkpoint and is ignored."""


class CheckpointWarning(Sleep2VecWarning):
    """A checkpoint is used, but its authors do not state something, such as a licence."""


class LeakageWarning(Sleep2VecWarning):
    """X holds other rows of a subject that the estimator was fitted on."""


class CacheWarning(Sleep2VecWarning):
    """A cache folder could not be used; nothing is lost but time."""


class OutcomeWarning(Sleep2VecWarning):
    """An outcome may not mean what it is used as, such as 1 for alive; the text says why."""


class TrainingWarning(Sleep2VecWarning):
    """Training goes on, but not quite as requested; the text says how."""
