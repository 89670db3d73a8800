"""Which version of the SDK is this?

A literal, which a test compares with the distribution's: asking importlib.metadata took 8 ms of every import.
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
