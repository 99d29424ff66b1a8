# SPDX-License-Identifier: BSD-3-Clause
"""Studies of a representation: labels, sensors, retrieval and scale."""

from .label_efficiency import LabelEfficiency, label_efficiency_curve
from .splits import name_rows, nested_subsets

__all__ = ["LabelEfficiency", "label_efficiency_curve", "name_rows", "nested_subsets"]
