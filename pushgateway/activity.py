"""How much is pushed, how much of it is refused, and who pushes slowly or much?

A board in memory that all workers share: made before the fork, inherited by each, gone with the gateway. It tells of
the last hour: pushes and refusals by the minute, and the groups with the slowest and the largest pushes.

Nothing on it is locked between processes, so that a worker that is stopped or killed keeps nobody waiting. Each worker
has a stripe of its own, which nobody else writes to. Which stripe is whose is told by locks on bytes of the memory's
file: the kernel takes them back when the worker ends, and the next worker goes on with what stands in the stripe. A
count is one store of 8 bytes; an entry of a ranking begins with a checksum, so that what is half written is not read.

Whatever the clock does, a count belongs to the minute that the clock has shown: a place in the memory says of which
minute it is, and counts for no other. So minutes in which nothing came are 0, and nothing has to be cleared in time.
"""

from __future__ import annotations

import fcntl
import heapq
import json
import mmap
import os
import struct
import threading
import weakref
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from pushgateway.loglines import Log
from pushgateway.model import GroupingKey, Labels, StoredFamily

__all__ = ["MINUTES", "RANKED", "Activity", "ActivityBoard", "Minute", "Pusher"]

_log = Log(__name__)

MINUTES: Final = 60
"""How far back it goes."""

RANKED: Final = 10
"""How many groups a ranking has."""

_STRIPES: Final = 256
"""How many workers are counted, at 84 KiB each, of which the kernel provides what has been written."""

_SLOTS: Final = 64
"""Minutes that have a place: one comes back when it is no longer asked for."""

_PERIOD_MINUTES: Final = 10
_PERIODS: Final = 8
"""A ranking is kept for each 10 minutes of the last 80: the best of an hour are among the best of its parts, and the
part that is partly over loses no more than that."""

_WORD: Final = 8
_COUNTS_BYTES: Final = 2048
_FIELDS: Final = 3  # minute, pushes, refusals
_ROW_BYTES: Final = 512
_RANKING_BYTES: Final = RANKED * _ROW_BYTES
_STRIPE_BYTES: Final = _COUNTS_BYTES + 2 * _PERIODS * _RANKING_BYTES
_FIRST_SLOT: Final = 1  # in words; before it stands whether the stripe was ever used

_CRC: Final = struct.Struct("=I")
_ROW: Final = struct.Struct("=ddQQI?H")  # time, seconds, bytes, samples, checksum of the key, cut or not, bytes of text
_TEXT_BYTES: Final = _ROW_BYTES - _CRC.size - _ROW.size
_CUT_CHARACTERS: Final = 24
"""To how many characters names and values are cut where a group's key does not fit: then four labels of any script do,
and the others are left out."""


class Minute(NamedTuple):
    """What came in one minute.

    Attributes:
        at_seconds: Unix time of its beginning.
        pushes: Pushes that were stored.
        refusals: Pushes and deletes that were refused or have failed: those that the list of failures takes.
    """

    at_seconds: float
    pushes: int
    refusals: int


class Pusher(NamedTuple):
    """A group with the push for which it is ranked.

    Attributes:
        group: The labels of its key; if `cut`, some of them, of which the longer ones end in "...".
        cut: Whether the key was too long to be kept whole.
        at_seconds: Unix time of the push.
        duration_seconds: From the complete request to its answer, with what it waited for others.
        body_bytes: The length of the body as sent.
        samples: The samples in it.
    """

    group: Labels
    cut: bool
    at_seconds: float
    duration_seconds: float
    body_bytes: int
    samples: int


class Activity(NamedTuple):
    """The last hour.

    Attributes:
        minutes: `MINUTES` of them, the oldest first; the last one is not over yet.
        slowest: At most `RANKED` groups by their slowest push, the slowest first.
        largest: The same by the bytes of their largest push.
    """

    minutes: tuple[Minute, ...]
    slowest: tuple[Pusher, ...]
    largest: tuple[Pusher, ...]


class ActivityBoard:
    """The activity of all processes that were forked after it was made.

    All threads of all processes may use it. A process takes its stripe when it first notes something.
    """

    def __init__(self) -> None:
        self._fd = os.memfd_create("pushgateway-activity", os.MFD_CLOEXEC)
        weakref.finalize(self, os.close, self._fd)
        os.ftruncate(self._fd, _STRIPES * _STRIPE_BYTES)
        self._memory = mmap.mmap(self._fd, _STRIPES * _STRIPE_BYTES)
        self._words = memoryview(self._memory).cast("Q")
        self._lock = threading.Lock()
        self._taken = False
        self._stripe: _Stripe | None = None

    def note_push(
        self,
        key: GroupingKey,
        *,
        at_seconds: float,
        duration_seconds: float,
        body_bytes: int,
        families: Iterable[StoredFamily],
    ) -> None:
        """Count a push that was stored, and rank it if it is slow or large. Takes some 1 us and never raises.

        Args:
            key: Its group.
            at_seconds: Unix time of the answer.
            duration_seconds: Since the request was complete.
            body_bytes: The length of the body as sent.
            families: What it holds; looked at only if it is to be ranked.
        """
        try:
            with self._lock:
                stripe = self._stripe if self._taken else self._take_stripe()
                if stripe is not None:
                    stripe.count_push(int(at_seconds // 60))
                    slow = stripe.slowest.exceeded(key.key, duration_seconds)
                    large = stripe.largest.exceeded(key.key, body_bytes)
                    if slow or large:
                        push = _Push(key, at_seconds, duration_seconds, body_bytes, families)
                        if slow:
                            stripe.slowest.rank(push, duration_seconds)
                        if large:
                            stripe.largest.rank(push, body_bytes)
        except Exception:
            # Whatever it is, the client is to get its answer.
            _log.exception("activity not recorded")

    def note_refusal(self, at_seconds: float) -> None:
        """Count a push or delete that was refused or has failed. Never raises.

        Args:
            at_seconds: Unix time of the answer.
        """
        try:
            with self._lock:
                stripe = self._stripe if self._taken else self._take_stripe()
                if stripe is not None:
                    stripe.count_refusal(int(at_seconds // 60))
        except Exception:
            _log.exception("activity not recorded")

    def recent(self, now_seconds: float) -> Activity:
        """Return the hour that ends with the current minute. Takes some 1 ms with two workers.

        Args:
            now_seconds: Unix time.
        """
        last = int(now_seconds // 60)
        minutes = range(last - MINUTES + 1, last + 1)
        starts = range(0, _STRIPES * _STRIPE_BYTES, _STRIPE_BYTES)
        used = [start for start in starts if self._words[start // _WORD]]
        counts = dict.fromkeys(minutes, (0, 0))
        for start in used:
            for slot in range(_SLOTS):
                minute, pushed, refused = self._slot(start // _WORD + _FIRST_SLOT + slot * _FIELDS)
                if minute in counts:
                    before = counts[minute]
                    counts[minute] = before[0] + pushed, before[1] + refused
        return Activity(
            tuple(Minute(minute * 60.0, *counts[minute]) for minute in minutes),
            _best(self._ranked(used, minutes, 0), lambda row: row.duration_seconds),
            _best(self._ranked(used, minutes, 1), lambda row: row.body_bytes),
        )

    def _ranked(self, starts: Iterable[int], minutes: range, which: int) -> Iterator[_Row]:
        """Return what stands in a ranking of stripes, the first or the second one, of those minutes."""
        for start in starts:
            for period in range(_PERIODS):
                at = start + _COUNTS_BYTES + (2 * period + which) * _RANKING_BYTES
                for _, row in _rows(self._memory, at):
                    if int(row.at_seconds // 60) in minutes:
                        yield row

    def _slot(self, at: int) -> tuple[int, int, int]:
        minute, pushed, refused = self._words[at : at + _FIELDS]
        # The counts become those of another minute before it says so.
        return (minute, pushed, refused) if self._words[at] == minute else (0, 0, 0)

    def _take_stripe(self) -> _Stripe | None:
        """Take the first stripe that no living process has; None if all have their owners."""
        self._taken = True
        for number in range(_STRIPES):
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
            except OSError:
                continue
            self._stripe = _Stripe(self._memory, self._words, number * _STRIPE_BYTES)
            break
        return self._stripe


class _Push(NamedTuple):
    """A push that may be ranked."""

    key: GroupingKey
    at_seconds: float
    duration_seconds: float
    body_bytes: int
    families: Iterable[StoredFamily]


class _Row(NamedTuple):
    """An entry of a ranking, as it stands in the memory."""

    at_seconds: float
    duration_seconds: float
    body_bytes: int
    samples: int
    key_checksum: int
    cut: bool
    text: str

    @property
    def name(self) -> str:
        """The group's key; what tells it apart if that is not known any more."""
        return f"{self.text} {self.key_checksum}" if self.cut else self.text


class _Stripe:
    """Where one process writes, one thread at a time.

    Args:
        memory: The board's memory.
        words: The same as integers.
        start: Where in the memory the stripe begins.
    """

    def __init__(self, memory: mmap.mmap, words: memoryview[int], start: int) -> None:
        self._words = words
        self._first = start // _WORD + _FIRST_SLOT
        self._minute = -1
        self._at = 0
        self.slowest = _Ranking(memory, start + _COUNTS_BYTES, lambda row: row.duration_seconds)
        self.largest = _Ranking(memory, start + _COUNTS_BYTES + _RANKING_BYTES, lambda row: row.body_bytes)
        words[start // _WORD] = 1

    def count_push(self, minute: int) -> None:
        """Count one, and turn to that minute's rankings."""
        if minute != self._minute:
            self._turn(minute)
        self._words[self._at + 1] += 1

    def count_refusal(self, minute: int) -> None:
        """Count one."""
        if minute != self._minute:
            self._turn(minute)
        self._words[self._at + 2] += 1

    def _turn(self, minute: int) -> None:
        words, at = self._words, self._first + minute % _SLOTS * _FIELDS
        counted = max(0, minute)  # a clock before 1970
        if words[at] != counted:
            words[at + 1] = words[at + 2] = 0
            words[at] = counted
        self._minute, self._at = minute, at
        self.slowest.turn(minute // _PERIOD_MINUTES)
        self.largest.turn(minute // _PERIOD_MINUTES)


class _Ranking:
    """The groups with the greatest figures in each period, a row each.

    Args:
        memory: The board's memory.
        start: Where the first period's rows begin; each next period's are two rankings further on.
        figure: What of a row decides.
    """

    def __init__(self, memory: mmap.mmap, start: int, figure: Callable[[_Row], float]) -> None:
        self._memory = memory
        self._start = start
        self._figure = figure
        self._period = -1
        self._at = start
        self._ranked: dict[str, tuple[float, int]] = {}  # a group's figure, and where its row is
        self._free: list[int] = []
        self._floor = -1.0  # what every figure exceeds while a row is free

    def turn(self, period: int) -> None:
        """Go on with what stands in the memory for a period, which is nothing if the period is new."""
        if period == self._period:
            return
        self._period = period
        self._at = self._start + period % _PERIODS * 2 * _RANKING_BYTES
        self._ranked = {
            row.name: (self._figure(row), at)
            for at, row in _rows(self._memory, self._at)
            if row.at_seconds // 60 // _PERIOD_MINUTES == period
        }
        used = {at for _, at in self._ranked.values()}
        ends = range(self._at, self._at + _RANKING_BYTES, _ROW_BYTES)
        self._free = [at for at in ends if at not in used]
        self._set_floor()

    def exceeded(self, key: str, figure: float) -> bool:
        """Return whether a group's figure is to be ranked: greater than its last one, or than another group's."""
        return figure > self._floor and ((known := self._ranked.get(key)) is None or figure > known[0])

    def rank(self, push: _Push, figure: float) -> None:
        """Put a push in whose figure exceeds what is there, in its group's row or in the least one's."""
        key = push.key.key
        if key in self._ranked:
            at = self._ranked[key][1]
        elif self._free:
            at = self._free.pop(0)
        else:
            least = min(self._ranked, key=lambda one: self._ranked[one][0])
            at = self._ranked.pop(least)[1]
        self._ranked[key] = figure, at
        self._set_floor()
        samples = sum(family.samples for family in push.families)
        text, cut = _fitting(push.key)
        data = text.encode()
        head = push.at_seconds, push.duration_seconds, push.body_bytes, samples
        summed = _ROW.pack(*head, zlib.crc32(key.encode()), cut, len(data)) + data
        self._memory[at : at + _CRC.size + len(summed)] = _CRC.pack(zlib.crc32(summed)) + summed

    def _set_floor(self) -> None:
        self._floor = -1.0 if self._free else min(figure for figure, _ in self._ranked.values())


def _rows(memory: mmap.mmap, start: int) -> Iterator[tuple[int, _Row]]:
    """Return the whole rows of a ranking with where they are."""
    for at in range(start, start + _RANKING_BYTES, _ROW_BYTES):
        data = memory[at : at + _ROW_BYTES]
        at_seconds, duration_seconds, body_bytes, samples, checksum, cut, length = _ROW.unpack_from(data, _CRC.size)
        end = _CRC.size + _ROW.size + length
        if length and _CRC.pack(zlib.crc32(data[_CRC.size : end])) == data[: _CRC.size]:
            text = data[end - length : end].decode()
            yield at, _Row(at_seconds, duration_seconds, body_bytes, samples, checksum, cut, text)


def _best(rows: Iterable[_Row], figure: Callable[[_Row], float]) -> tuple[Pusher, ...]:
    """Return the first of what several workers and periods have ranked, each group once."""
    groups: dict[str, _Row] = {}
    for row in rows:
        if row.name not in groups or figure(row) > figure(groups[row.name]):
            groups[row.name] = row
    return tuple(
        Pusher(
            tuple((label, value) for label, value in json.loads(row.text)),
            row.cut,
            row.at_seconds,
            row.duration_seconds,
            row.body_bytes,
            row.samples,
        )
        for row in heapq.nlargest(RANKED, groups.values(), key=figure)
    )


def _fitting(key: GroupingKey) -> tuple[str, bool]:
    """Return a key as the row can hold it, and whether it had to be cut; `job` is the last label to go."""
    if len(key.key) <= _TEXT_BYTES and len(key.key.encode()) <= _TEXT_BYTES:
        return key.key, False
    kept: list[tuple[str, str]] = []
    text = ""
    for name, value in key.job_first:
        kept.append((_cut(name), _cut(value)))
        longer = json.dumps(sorted(kept), ensure_ascii=False, separators=(",", ":"))
        if len(longer.encode()) > _TEXT_BYTES:
            break
        text = longer
    return text, True


def _cut(text: str) -> str:
    return text if len(text) <= _CUT_CHARACTERS else text[: _CUT_CHARACTERS - 3] + "..."
