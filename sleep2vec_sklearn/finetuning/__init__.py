# SPDX-License-Identifier: BSD-3-Clause
"""Fine-tuning: heads on the encoder's tokens, adapters inside it, and who trains them."""
