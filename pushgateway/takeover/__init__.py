"""How is what another Pushgateway, or another store, holds taken over, and how is it proved?

    remote.py      the other gateway over HTTP: its groups, its scrape
    merging.py     groups of the one with values of the other
    transfer.py    groups into the store, and which of them not
    comparison.py  whether two gateways hold the same
    migration.py   groups of one store into another
    stores.py      whether two stores hold and expose the same

Of a gateway the JSON API alone says which groups there are, the scrape alone says all of their values: so both are
read, and put together by the labels, which every series has in both. Of a store one call tells all.
"""

from __future__ import annotations

from pushgateway.takeover.comparison import Comparison, compare, stored_groups
from pushgateway.takeover.merging import HeldGroup, merge
from pushgateway.takeover.migration import Migration
from pushgateway.takeover.remote import Remote
from pushgateway.takeover.stores import StoreComparison, compare_stores
from pushgateway.takeover.transfer import Outcome, Transfer

__all__ = [
    "Comparison",
    "HeldGroup",
    "Migration",
    "Outcome",
    "Remote",
    "StoreComparison",
    "Transfer",
    "compare",
    "compare_stores",
    "merge",
    "stored_groups",
]
