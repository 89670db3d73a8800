"""What does a push mean, and what may stand beside it?

Pure functions on the values of `pushgateway.model`, in the order in which a push meets them:

    validate    what no push may hold, whatever is stored       consistency.py: validate, check, suffix_rivals
    check_size  how much its labels would come to               labels.py: check_size, label, identities, hashes
    label       the grouping labels go into every series        twins.py: project, Projector
    check       the push beside itself and our own metrics      conflicts.py: the sentences of a refusal
    project     where the same series could already be          contested.py: resolve, contested_names
    resolve     what to expose of what conflicts all the same   native.py: what a native histogram holds
    escape      under which names, if only legacy are taken     escaping.py: escape, escape_labels, is_legacy, rename
    likeness    whether it differs from the last in values      labels.py, too

An empty label is the same as no label throughout: Prometheus reads both as one series.
"""

from __future__ import annotations

from pushgateway.rules import conflicts
from pushgateway.rules.consistency import check, suffix_rivals, validate
from pushgateway.rules.contested import Contested, Resolution, contested_names, resolve
from pushgateway.rules.escaping import escape, escape_labels, is_legacy, rename
from pushgateway.rules.labels import (
    HASH_BYTES,
    check_size,
    group_labels,
    hashes,
    identities,
    identity,
    label,
    likeness,
)
from pushgateway.rules.twins import Projector, project

__all__ = [
    "HASH_BYTES",
    "Contested",
    "Projector",
    "Resolution",
    "check",
    "check_size",
    "conflicts",
    "contested_names",
    "escape",
    "escape_labels",
    "group_labels",
    "hashes",
    "identities",
    "identity",
    "is_legacy",
    "label",
    "likeness",
    "project",
    "rename",
    "resolve",
    "suffix_rivals",
    "validate",
]
