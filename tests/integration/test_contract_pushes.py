from __future__ import annotations

import pytest

from tests.harness import Service
from tests.rows import Row, cases, check_row


@pytest.mark.parametrize(("service", "row"), cases("bodies.toml"), indirect=["service"])
def test_body(service: Service, row: Row) -> None:
    """Section C1: what each body in text format 0.0.4 is answered with, and what is exposed of it."""
    check_row(service, row)


@pytest.mark.parametrize(("service", "row"), cases("protobuf.toml"), indirect=["service"])
def test_protobuf(service: Service, row: Row) -> None:
    """Section C2: what each body in delimited protobuf is answered with, and what is exposed of it."""
    check_row(service, row)


@pytest.mark.parametrize(("service", "row"), cases("pushes.toml"), indirect=["service"])
def test_push(service: Service, row: Row) -> None:
    """Section D: what a sequence of pushes and deletions stores."""
    check_row(service, row)


@pytest.mark.parametrize(("service", "row"), cases("conflicts.toml"), indirect=["service"])
def test_conflict(service: Service, row: Row) -> None:
    """Section F: what is refused because of what is stored, and what is not."""
    check_row(service, row)


@pytest.mark.parametrize(("service", "row"), cases("exposition.toml"), indirect=["service"])
def test_exposition(service: Service, row: Row) -> None:
    """Section E: in which order and in which form samples are exposed."""
    check_row(service, row)


@pytest.mark.parametrize(("service", "row"), cases("lenient.toml"), indirect=["service"])
def test_lenient_line_endings(service: Service, row: Row) -> None:
    """First table: what --push.lenient-line-endings accepts beside the format."""
    check_row(service, row)


@pytest.mark.parametrize(("service", "row"), cases("utf8.toml"), indirect=["service"])
def test_utf8_names(service: Service, row: Row) -> None:
    """Sections B, C1, E, Q1 and Q15: what --push.enable-utf8-names takes, and what each scraper gets of it."""
    check_row(service, row)
