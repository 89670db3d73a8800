"""Where may ours and the original (1.5.1) answer one step of a sequence differently, and why?

Each difference is a predicate on one step and both outcomes, as narrow as it can be said, and its reason: a row of the
contract's table "Where we differ on purpose", or a change between 1.5.1 and 1.11.3, which is what ours follows.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

__all__ = ["DIFFERENCES", "MALFORMED", "Difference", "Outcome", "Step"]

MALFORMED = 0
"""Stands for the status of a scrape that no scraper could read."""


@dataclass(frozen=True, slots=True)
class Step:
    """One request of a sequence; `bodies` are those of the steps before it, since the groups were last wiped."""

    method: str
    path: str
    body: bytes = b""
    gzip: bool = False
    protobuf: bool = False
    """Whether the body is sent as delimited protobuf, if our parser of text can read it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a gateway answered to a step, and what it exposed afterwards.

    `lines` are sorted (name, labels, value), push times reduced to "0" or "set"; `types` and `helps` are by family.
    None of them is known (`scrape_status` other than 200) while the gateway cannot be scraped.
    """

    status: int
    text: str
    scrape_status: int
    lines: tuple[tuple[str, tuple[tuple[str, str], ...], str], ...] = ()
    types: tuple[tuple[str, str], ...] = ()
    helps: tuple[tuple[str, str], ...] = ()

    @property
    def error_line(self) -> str:
        """The line number of a parse error, "" for none."""
        found = re.search(r"text format parsing error in line (\d+)", self.text)
        return found[1] if found else ""


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference on purpose; `explains(step, history, ours, theirs)` is True where it is at work."""

    reason: str
    explains: Callable[[Step, tuple[Step, ...], Outcome, Outcome], bool]


FLOAT = rb"[-+.\w]+"
COUNT_RE = re.compile(
    rb"(?m)^[ \t]*(?:\w+?(?:_bucket|_count)[ \t]*(?:\{.*\})?|\w+[ \t]*\{.*le=.*\})[ \t]*(" + FLOAT + rb")[ \t]*$"
)
"""Lines that are counts of a histogram, if their family is one: any line with le is a bucket then."""


def odd_counts(step: Step, history: tuple[Step, ...], ours: Outcome, theirs: Outcome) -> bool:
    """1.5.1 cast a histogram's counts to unsigned integers; 1.11.3 keeps fractions and refuses negative ones."""
    counts = [float(text) for text in COUNT_RE.findall(step.body) if is_float(text)]
    odd = any(not (count >= 0 and count == int(min(count, 2.0**53))) for count in counts)
    if not odd or b"histogram" not in step.body.lower():
        return False
    if ours.status == 400:
        return theirs.status in (200, 400) and "negative" in ours.text
    kept = [line for line in ours.lines if not is_part(line[0])] == [
        line for line in theirs.lines if not is_part(line[0])
    ]
    return ours.status == theirs.status == 200 and kept


def is_float(text: bytes) -> bool:
    """Whether Python reads it as a float."""
    try:
        return float(text) == float(text) or text.lower() == b"nan"
    except ValueError:
        return False


def is_part(name: str) -> bool:
    """Whether a sample's name is that of a histogram's counts."""
    return name.endswith(("_bucket", "_count"))


def quoted_name(step: Step, history: tuple[Step, ...], ours: Outcome, theirs: Outcome) -> bool:
    """1.11.3 reads {"name"}; 1.5.1 refuses the brace."""
    return (
        theirs.status == 400
        and "invalid metric name" in theirs.text
        and re.search(rb'(?m)^[ \t]*\{[ \t]*"', step.body) is not None
    )


def gauge_histogram(step: Step, history: tuple[Step, ...], ours: Outcome, theirs: Outcome) -> bool:
    """1.11.3 has gauge histograms, in two spellings; 1.5.1 refuses one and makes nothing of the other."""
    in_body = re.search(rb"gauge_?histogram", step.body, re.IGNORECASE) is not None
    return in_body and (theirs.status == 400 or theirs.scrape_status == MALFORMED)


def quote_in_help(step: Step, history: tuple[Step, ...], ours: Outcome, theirs: Outcome) -> bool:
    r"""1.11.3 reads \" in a help text."""
    return theirs.status == 400 and "invalid escape sequence '\\\"'" in theirs.text and rb"\"" in step.body


def backslash_in_type(step: Step, history: tuple[Step, ...], ours: Outcome, theirs: Outcome) -> bool:
    """A backslash in a type makes it an unknown one; the original drops the backslash and reads on."""
    return (ours.status, theirs.status) == (400, 200) and re.search(rb"(?m)TYPE.*\\.*$", step.body) is not None


def redirect(step: Step, history: tuple[Step, ...], ours: Outcome, theirs: Outcome) -> bool:
    """The original redirects unclean paths, and clients that follow send a GET (Q10); ours routes or refuses them."""
    return theirs.status in (301, 307) and ours.status in (200, 202, 400, 404)


def key_labels(step: Step) -> list[tuple[str, bytes]]:
    """The plain labels of a path, decoded once; encoded ones as they stand."""
    parts = unquote_to_bytes(step.path).split(b"/")
    return [(name.decode("utf-8", "replace"), value) for name, value in zip(parts[::2], parts[1::2], strict=False)]


def empty_key_label(step: Step, history: tuple[Step, ...], ours: Outcome, theirs: Outcome) -> bool:
    """An empty label in a key is the same as none (Q2, Q7): for the original it is another group."""
    if "parsing" in ours.text + theirs.text:
        return False
    if not empty_labels(step):
        # The two groups hold the same series, so that the original refuses one, or keeps it when the other is deleted.
        earlier = any(empty_labels(before) for before in history)
        twins = "was collected before with the same name and label values" in theirs.text
        return earlier and (twins or step.method == "DELETE")
    alike = ours.status == theirs.status and without_empty(ours) == without_empty(theirs)
    overrides = any(re.search(rb"[{ ,]" + name.encode() + rb"[ \t]*=", step.body) for name in empty_labels(step))
    return alike or overrides or bool(history)


def empty_labels(step: Step) -> list[str]:
    """The names of a path's labels that have an empty value, plain or encoded."""
    return [name.removesuffix("@base64") for name, value in key_labels(step)[1:] if value.strip(b"=") == b""]


def without_empty(outcome: Outcome) -> list[object]:
    """The exposed lines, empty labels left out."""
    return sorted((name, [pair for pair in labels if pair[1]], value) for name, labels, value in outcome.lines)


def key_not_utf8(step: Step, history: tuple[Step, ...], ours: Outcome, theirs: Outcome) -> bool:
    """A key that is not UTF-8 is refused before the store is touched; it bricks the original (Q1)."""
    accepted = (theirs.status, theirs.scrape_status) == ((202, 200) if step.method == "DELETE" else (400, 500))
    return ours.status == 400 and "UTF-8" in ours.text and accepted


def empty_label_twins(step: Step, history: tuple[Step, ...], ours: Outcome, theirs: Outcome) -> bool:
    """Series that differ by empty labels only are one (Q7); the original exposes both."""
    return (
        (ours.status, theirs.status) == (400, 200)
        and "was collected before with the same name and label values" in ours.text
        and any(value == "" and name != "instance" for _, labels, _ in theirs.lines for name, value in labels)
    )


def empty_instance_twins(step: Step, history: tuple[Step, ...], ours: Outcome, theirs: Outcome) -> bool:
    """The same for the label instance, which is empty in every series without one."""
    series = [(name, tuple(label for label in labels if label[1])) for name, labels, _ in theirs.lines]
    return (ours.status, theirs.status) == (400, 200) and len(set(series)) < len(series) and "before" in ours.text


def histogram_with_le(step: Step, history: tuple[Step, ...], ours: Outcome, theirs: Outcome) -> bool:
    """A label le in the key of a histogram would stand twice in its buckets (Q4)."""
    in_key = any(name.removesuffix("@base64") == "le" for name, _ in key_labels(step))
    return (ours.status, theirs.status) == (400, 200) and in_key and b"histogram" in step.body.lower()


def pushed_times(step: Step, history: tuple[Step, ...], ours: Outcome, theirs: Outcome) -> bool:
    """push_failure_time_seconds in a body is always ignored (Q5); the original stores it at a group's second push."""
    return b"push_failure_time_seconds" in step.body and ours.status == 200


def cut_gzip(step: Step, history: tuple[Step, ...], ours: Outcome, theirs: Outcome) -> bool:
    """A compressed body that is cut off is refused; the original takes what came, if it ends at a line's end."""
    return step.gzip and (ours.status, theirs.status) == (400, 200) and "unexpected EOF" in ours.text


def help_conflict(step: Step, history: tuple[Step, ...], ours: Outcome, theirs: Outcome) -> bool:
    """Of several help texts the newest push's wins (Q9); the original exposes any of them."""
    same = (ours.status, ours.lines, ours.types) == (theirs.status, theirs.lines, theirs.types)
    names = {name for name, _ in set(ours.helps) ^ set(theirs.helps)}
    return same and all(len(help_lines(name, (*history, step))) > 1 for name in names)


def help_lines(family: str, steps: tuple[Step, ...]) -> set[tuple[str, bytes]]:
    """All that pushes to several groups have said of a family's help."""
    return {
        (step.path, b"".join(re.findall(rb"(?m)^[ \t]*#[ \t]*HELP[ \t]+" + family.encode() + rb"\b.*$", step.body)))
        for step in steps
        if family.encode() in step.body
    }


DIFFERENCES = tuple(
    Difference((rule.__doc__ or "").strip(), rule)
    for rule in (
        key_not_utf8,
        odd_counts,
        quoted_name,
        gauge_histogram,
        quote_in_help,
        backslash_in_type,
        empty_key_label,
        empty_label_twins,
        empty_instance_twins,
        histogram_with_le,
        pushed_times,
        cut_gzip,
        redirect,
        help_conflict,
    )
)
