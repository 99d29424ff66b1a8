# SPDX-License-Identifier: BSD-3-Clause
"""Encoders that others have trained; their weights are downloaded, or read from a path."""

from .seqsleepnet import SeqSleepNet
from .sleepfm import SleepFM, SleepFMStager

__all__ = ["SeqSleepNet", "SleepFM", "SleepFMStager"]
