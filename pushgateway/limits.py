"""How much may one request, one connection, one worker process and the store use?

Most have a flag, ``--limit.NAME``; `config.OPTIONS` says which. The error of an exceeded limit names it as the flag
does: the field's name with dashes.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["KIB", "MIB", "Limits"]

KIB = 1024
MIB = 1024 * KIB


class Limits(NamedTuple):
    """What requests, connections, workers and the store may use.

    Attributes:
        body_bytes: A request body as sent.
        decoded_bytes: A request body after decompression.
        prepared_bytes: What a push may take in memory while it is prepared, as reckoned from what it holds.
        samples_per_push: Sample lines of a push, and the families that it describes.
        labels_per_series: Labels of one sample line, `le` and `quantile` among them.
        name_bytes: A metric or label name.
        value_bytes: A label value or a HELP text, escapes resolved.
        groups: Stored groups, those included that only ever had refused pushes; 0 is no limit.
        families: Stored families over all groups; 0 is no limit.
        series: Stored series over all groups, of which a histogram or summary is one; 0 is no limit.
        request_seconds: From the end of the headers to the end of the body; also how long a large push may take in all.
        header_seconds: From the first byte of a connection's turn (or its opening) to the end of the headers.
        connections: Open connections of one worker process.
        header_bytes: Request line and headers together.
        idle_seconds: A kept-alive connection between two requests.
        write_stall_seconds: A response of which the client reads nothing.
        answer_seconds: From the end of a response to when the client has read all of it.
        unread_bytes: Responses that clients have not read yet, over all connections of one worker process.
        buffered_bytes: Request bodies that one worker process holds at a time, over all of its connections.
        inline_bytes: The largest body that is parsed on the event loop: about 800 samples, a few milliseconds.
        lock_wait_seconds: How long a push may wait for other writers before it is answered 503.
        waiting_requests: How many requests may wait in one lane of one worker before more are answered 503.
        shapes_per_job: Different sets of label names among the grouping keys of one job.
        key_labels: Labels of a grouping key: every series of the group gets them.
        rendered_bytes: What the grouping labels of a push take when every sample line has them.
    """

    body_bytes: int = 16 * MIB
    decoded_bytes: int = 24 * MIB
    prepared_bytes: int = 160 * MIB
    samples_per_push: int = 250_000
    labels_per_series: int = 128
    name_bytes: int = 1024
    value_bytes: int = 64 * KIB
    groups: int = 100_000
    families: int = 1_000_000
    series: int = 1_000_000
    request_seconds: float = 60.0
    header_seconds: float = 10.0
    connections: int = 4096
    header_bytes: int = 64 * KIB
    idle_seconds: float = 75.0
    write_stall_seconds: float = 30.0
    answer_seconds: float = 60.0
    unread_bytes: int = 32 * MIB
    buffered_bytes: int = 40 * MIB
    inline_bytes: int = 64 * KIB
    lock_wait_seconds: float = 5.0
    waiting_requests: int = 1000
    shapes_per_job: int = 64
    key_labels: int = 64
    rendered_bytes: int = 16 * MIB
