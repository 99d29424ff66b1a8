# SPDX-License-Identifier: BSD-3-Clause
"""Checkpoint files of the paper's authors: their layout, names and adapters."""
