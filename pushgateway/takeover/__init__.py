"""How is what another Pushgateway holds taken over, and how is it proved?

    remote.py      the other gateway over HTTP: its groups, its scrape
    merging.py     groups of the one with values of the other
    transfer.py    groups into the store, and which of them not
    comparison.py  whether two gateways hold the same

The JSON API alone says which groups there are, the scrape alone says all of their values: so both are read, and put
together by the labels, which every series has in both.
"""

from __future__ import annotations

from pushgateway.takeover.comparison import Comparison, compare, stored_groups
from pushgateway.takeover.merging import HeldGroup, merge
from pushgateway.takeover.remote import Remote
from pushgateway.takeover.transfer import Outcome, Transfer

__all__ = ["Comparison", "HeldGroup", "Outcome", "Remote", "Transfer", "compare", "merge", "stored_groups"]
