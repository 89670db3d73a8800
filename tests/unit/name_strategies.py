"""Which names could go wrong? Any characters, and those that escaping treats apart."""

from __future__ import annotations

from hypothesis import strategies as st

from pushgateway.names import is_label_name

__all__ = ["label_names", "near_names", "odd_names"]

_any = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)

odd_names = _any | st.text("_.:a1U2e-é", min_size=1, max_size=12)
"""Names that metrics may have, and labels if they are not reserved."""

label_names = odd_names.filter(lambda name: is_label_name(name, utf8=True))
"""Names that labels may have."""

_parts = ["a", ".", "-", "_", "_2e_", "_2d_", "__", "U__", "U__a_2e_a", "_dot_", "_1", "1", ":"]
near_names = st.builds(
    lambda parts, suffix: "".join(parts) + suffix,
    st.lists(st.sampled_from(_parts), min_size=1, max_size=4),
    st.sampled_from(["", "", "", "_count", ".count", "_sum", "_bucket", "_1"]),
)
"""Names that often come out the same when they are escaped."""
