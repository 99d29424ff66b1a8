# SPDX-License-Identifier: BSD-3-Clause
"""Checkpoints of the paper's authors: their layout, names and adapters."""
