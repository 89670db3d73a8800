"""What is to be done about a push that was refused?

The reason of a refusal says what was wrong with one push. This says what its sender, or who runs the gateway, can do so
that the next one is taken. One table, the first row that fits counts; docs/how-to/find-out-why-a-push-was-refused.md
has the same for readers.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["Advice", "advice"]


class Advice(NamedTuple):
    """What is wrong, in a few words, and what mends it, in a sentence or two."""

    title: str
    text: str


class _Row(NamedTuple):
    """When advice fits: the kind of the error, and where that is not enough the limit or a part of the reason."""

    kind: str
    advice: Advice
    limits: frozenset[str] = frozenset()
    part: str = ""


def _limits(*names: str) -> frozenset[str]:
    return frozenset(names)


_TABLE: Final = (
    _Row(
        "grouping_key",
        Advice(
            "The path names no group",
            "Labels come in pairs: `/metrics/job/JOB/LABEL/VALUE`. A value with a slash is written as "
            "`LABEL@base64/VALUE`; percent-encoding does not protect a slash.",
        ),
        part="odd number of components",
    ),
    _Row(
        "grouping_key",
        Advice("The path names no job", "Push to `/metrics/job/NAME`, where NAME is not empty."),
        part="job name is required",
    ),
    _Row(
        "grouping_key",
        Advice(
            "The path names no group",
            "Push to `/metrics/job/JOB`, followed by pairs of label and value. Label names have letters, digits and "
            "underscores, unless the gateway runs with `--push.enable-utf8-names`.",
        ),
    ),
    _Row(
        "parse",
        Advice(
            "The last line has no end",
            "End the body with a line feed, as `echo` does and `printf` does not; or start the gateway with "
            "`--push.lenient-line-endings`.",
        ),
        part="unexpected end of input stream",
    ),
    _Row(
        "parse",
        Advice(
            "Lines end with CR LF",
            "Send line feeds alone, or start the gateway with `--push.lenient-line-endings`. With curl use "
            "`--data-binary`, not `--data`.",
        ),
        part=r"\r",
    ),
    _Row(
        "parse",
        Advice(
            "A value is not a number",
            "A line is a name, labels in braces if there are any, and one number without a unit: `size_bytes 1.5e9`.",
        ),
        part="expected float as value",
    ),
    _Row(
        "parse",
        Advice(
            "A type or help comes too late",
            "Write TYPE and HELP once for each family, before its first sample.",
        ),
        part="TYPE reported after samples",
    ),
    _Row(
        "parse",
        Advice(
            "The body cannot be read",
            "Compare the line that the reason names with the text format; `promtool check metrics` reads a body as the "
            "gateway does. A compressed body needs the `Content-Encoding` that it has.",
        ),
    ),
    _Row(
        "inconsistent",
        Advice(
            "Samples have timestamps",
            "Leave the timestamps out: a pushed value holds until it is replaced. To tell when a job last succeeded, "
            "push that time as a gauge of its own.",
        ),
        part="must not have timestamps",
    ),
    _Row(
        "inconsistent",
        Advice(
            "Another group, or this push, has the same series",
            "Push with a grouping key that tells the two apart, such as one more label for the instance; or delete the "
            "old group.",
        ),
        part="was collected before with the same name and label values",
    ),
    _Row(
        "inconsistent",
        Advice(
            "The gateway itself has a family of that name",
            "Rename the family: the names of the gateway's own metrics are taken.",
        ),
        part="gathered metric family",
    ),
    _Row(
        "inconsistent",
        Advice(
            "A family has another type elsewhere",
            "All groups share one name space: rename the family, or push it with the type that it has in the others. "
            "If that type is a leftover, delete the group that holds it.",
        ),
        part=" is not a ",
    ),
    _Row(
        "inconsistent",
        Advice(
            "A name collides with a histogram or summary",
            "Rename the family: `NAME_count`, `NAME_sum` and `NAME_bucket` belong to one that is called NAME.",
        ),
        part="collides with previously collected",
    ),
    _Row(
        "inconsistent",
        Advice(
            "A label is not for jobs to give",
            "Rename the label: `le` and `quantile` belong to histograms and summaries, and names that begin with two "
            "underscores to Prometheus.",
        ),
        part="label",
    ),
    _Row(
        "inconsistent",
        Advice(
            "A scrape could not show the push beside what is stored",
            "Mend what the reason names; everything else of the push is fine.",
        ),
    ),
    _Row(
        "limit",
        Advice(
            "The store is full",
            "Delete groups that nobody needs any more, or raise the limit. A job that pushes under ever new label "
            "values fills any store: take what changes with each run out of the grouping key.",
        ),
        limits=_limits("groups", "families", "series", "shapes-per-job", "twin-lookups", "twin-projections"),
    ),
    _Row(
        "limit",
        Advice(
            "The push is too large",
            "Push less at a time, or in several groups; or raise the limit if the gateway has the memory for it.",
        ),
        limits=_limits(
            "body-bytes", "decoded-bytes", "prepared-bytes", "samples-per-push", "rendered-bytes", "family-bytes"
        ),
    ),
    _Row(
        "limit",
        Advice(
            "A name, a value or a set of labels is too large",
            "Shorten it: texts such as messages or stack traces belong in a log. Or raise the limit.",
        ),
        limits=_limits("labels-per-series", "name-bytes", "value-bytes", "key-labels"),
    ),
    _Row(
        "limit",
        Advice(
            "The request took too long to arrive",
            "Look at the network between the job and the gateway; a large body arrives sooner when it is compressed.",
        ),
        limits=_limits("request-seconds", "header-seconds", "idle-seconds", "write-stall-seconds", "answer-seconds"),
    ),
    _Row(
        "limit",
        Advice(
            "Too much came at once",
            "Let the job try again a little later, as `Retry-After` says. If that does not pass, spread the times at "
            "which jobs push, or run more workers.",
        ),
        limits=_limits("connections", "waiting-requests", "buffered-bytes", "unread-bytes"),
    ),
    _Row("limit", Advice("A limit is exceeded", "Send less, or raise the limit that the reason names.")),
    _Row(
        "unsupported_media",
        Advice(
            "The format or compression is not known here",
            "Send text, OpenMetrics or delimited protobuf, as it is or compressed with gzip, zstd or framed snappy, "
            "and say so in `Content-Type` and `Content-Encoding`.",
        ),
    ),
    _Row(
        "cross_site",
        Advice(
            "A page of another site tried to push",
            "Nothing has to be done for jobs. If it was the gateway's own page, behind a proxy that changes `Host`, "
            "set `--web.external-url` to the address that browsers see. Any other page has to come from that address.",
        ),
    ),
    _Row(
        "method_not_allowed",
        Advice(
            "The path takes no such request", "Push to `/metrics/job/NAME`, behind the route prefix if there is one."
        ),
    ),
    _Row(
        "not_found",
        Advice("Nothing is at this path", "Push to `/metrics/job/NAME`, behind the route prefix if there is one."),
    ),
    _Row(
        "store_busy",
        Advice(
            "Other writers were before it for too long",
            "Let the job try again. If it happens often, look at how busy the disk or the database is.",
        ),
    ),
    _Row(
        "store_unwritable",
        Advice(
            "The store cannot be written",
            "Look at the disk: is it full, read-only, or was the file deleted? Nothing was stored; the job can push "
            "again as soon as that is mended, without a restart.",
        ),
    ),
    _Row(
        "store_unreadable",
        Advice(
            "The store cannot be read",
            "The database is damaged, gone or not reachable: look at the log, and restore a backup if need be.",
        ),
    ),
    _Row("store", Advice("The store failed", "Look at the gateway's log, and let the job try again.")),
    _Row(
        "internal",
        Advice("A bug of the gateway", "Its log has a traceback, with which the bug should be reported."),
    ),
)

_OTHERWISE: Final = Advice("The request is not as expected", "Mend what the reason names.")


def advice(kind: str, *, reason: str = "", limit: str = "") -> Advice:
    """Return what to do about a refusal.

    Args:
        kind: What JSON errors call `errorType`.
        reason: What was wrong, as the client was told.
        limit: The limit that was exceeded, "" if none was.
    """
    for row in _TABLE:
        if row.kind == kind and row.part in reason and (not row.limits or limit in row.limits):
            return row.advice
    return _OTHERWISE
