"""How much is stored in all?

One row says how many groups, families and series there are. It is looked at and written only by a change that makes
one of them more or fewer: a group that is pushed again as it was costs nothing.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from pushgateway.model import Totals
from pushgateway.rules import HASH_BYTES
from pushgateway.storage.growth import NOTHING

__all__ = ["SERIES_OF_FAMILY", "add_totals", "group_totals", "read_totals"]

# The length of a blob is read without the blob. Pages are read, but whoever asks is about to remove them.
SERIES_OF_FAMILY: Final = f"""
    coalesce(
        length(f.hashes),
        (SELECT sum(length(p.hashes)) FROM hash_pages p WHERE p.group_id = f.group_id AND p.name = f.name)
    ) / {HASH_BYTES}
"""  # noqa: S608 - a number

_READ: Final = "SELECT groups, families, series FROM totals"
_ADD: Final = "UPDATE totals SET groups = groups + ?, families = families + ?, series = series + ?"
_OF_GROUP: Final = f"""
    SELECT 1, count(*), coalesce(sum({SERIES_OF_FAMILY}), 0) FROM families f WHERE f.group_id = ?
"""  # noqa: S608 - the constant above


def read_totals(db: sqlite3.Connection) -> Totals:
    """Return what is stored in all."""
    return Totals._make(db.execute(_READ).fetchone())


def group_totals(db: sqlite3.Connection, group_id: int) -> Totals:
    """Return what a stored group counts for."""
    return Totals._make(db.execute(_OF_GROUP, (group_id,)).fetchone())


def add_totals(db: sqlite3.Connection, growth: Totals) -> None:
    """Add to the totals what a change has added, which is negative where it has removed."""
    if growth != NOTHING:
        db.execute(_ADD, growth)
