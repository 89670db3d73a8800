"""What does `python -m pymetrics_sdk` do? The same as `pymetrics`."""

from __future__ import annotations

import sys

from pymetrics_sdk.cli import main

if __name__ == "__main__":
    sys.exit(main())
