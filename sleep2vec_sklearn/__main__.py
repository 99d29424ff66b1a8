# SPDX-License-Identifier: BSD-3-Clause
"""``python -m sleep2vec_sklearn`` is the command ``sleep2vec``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
