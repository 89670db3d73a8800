"""How much is stored in all?

One row says how many groups, families and series there are. It is looked at and written only by a change that makes
one of them more or fewer: a group that is pushed again as it was costs nothing. How many bytes there are changes with
nearly every push, and is only told to whoever looks at a page: that is a sum over the groups' rows, as it is asked for.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from pushgateway.model import Totals
from pushgateway.rules import HASH_BYTES
from pushgateway.storage.growth import NOTHING

__all__ = ["SERIES_OF_FAMILY", "add_totals", "read_all_totals", "read_totals"]

# The length of a blob is read without the blob. Pages are read, but whoever asks is about to remove them.
SERIES_OF_FAMILY: Final = f"""
    coalesce(
        length(f.hashes),
        (SELECT sum(length(p.hashes)) FROM hash_pages p WHERE p.group_id = f.group_id AND p.name = f.name)
    ) / {HASH_BYTES}
"""  # noqa: S608 - a number

_READ: Final = "SELECT groups, families, series FROM totals"
_ADD: Final = "UPDATE totals SET groups = groups + ?, families = families + ?, series = series + ?"
_BYTES: Final = "SELECT coalesce(sum(bytes), 0) FROM groups"


def read_totals(db: sqlite3.Connection) -> Totals:
    """Return what is stored in all, but for the bytes."""
    return Totals(*db.execute(_READ).fetchone())


def read_all_totals(db: sqlite3.Connection) -> Totals:
    """Return what is stored in all."""
    return read_totals(db)._replace(bytes=db.execute(_BYTES).fetchone()[0])


def add_totals(db: sqlite3.Connection, growth: Totals) -> None:
    """Add to the totals what a change has added, which is negative where it has removed."""
    if growth != NOTHING:
        db.execute(_ADD, growth[:3])
