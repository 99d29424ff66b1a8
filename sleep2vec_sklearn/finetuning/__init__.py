# SPDX-License-Identifier: BSD-3-Clause
"""Fine-tuning: heads on the encoder's tokens, adapters in it, and the estimators that train them."""
