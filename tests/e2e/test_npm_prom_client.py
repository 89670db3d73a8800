"""Do Node.js jobs that push with npm's prom-client work unchanged?"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.harness import Gateway, require_program
from tests.node import install_packages

NODE = Path(__file__).parent / "node"

Push = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def modules() -> Path:
    """The installed packages of tests/e2e/node, as its lock file names them."""
    return install_packages(NODE)


@pytest.fixture
def push(gateway: Gateway, modules: Path) -> Push:
    """Run push.js against an empty gateway."""
    gateway.wipe()

    def run(verb: str, job: str, groupings: Mapping[str, str], *more: str) -> subprocess.CompletedProcess[str]:
        command = [require_program("node"), "push.js", gateway.url, verb, job, json.dumps(groupings), *more]
        return subprocess.run(command, cwd=modules.parent, capture_output=True, text=True, timeout=60, check=False)

    return run


def test_a_push_is_exposed_as_it_was(gateway: Gateway, push: Push) -> None:
    """Counter, summary and histogram of prom-client arrive with types and values."""
    assert push("push", "etl", {"instance": "db1"}).stdout == "200\n"

    scrape = gateway.scrape()
    assert scrape["rows_total"].type == "counter"
    assert scrape.value("rows_total", job="etl", instance="db1", table="users") == 1500
    assert [line.value for line in scrape["stage_seconds"].lines] == ["2.5", "2.5", "1"]
    assert [line.value for line in scrape["latency_seconds"].lines] == ["1", "2", "3", "4", "55.55", "4"]


def test_push_replaces_and_push_add_merges(gateway: Gateway, push: Push) -> None:
    """Its push is a PUT, its pushAdd a POST."""
    assert push("push", "etl", {}).stdout == "200\n"
    assert push("pushAdd", "etl", {}).stdout == "200\n"
    merged = gateway.scrape()
    assert push("push", "etl", {}).stdout == "200\n"
    replaced = gateway.scrape()

    assert (merged.has("push_only"), merged.has("pushadd_only")) == (True, True)
    assert (replaced.has("push_only"), replaced.has("pushadd_only")) == (True, False)


def test_delete_removes_the_group(gateway: Gateway, push: Push) -> None:
    """Its delete is answered 202 and the group is gone."""
    push("push", "etl", {"instance": "db1"})

    assert push("delete", "etl", {"instance": "db1"}).stdout == "202\n"

    assert not gateway.scrape().has("rows_total")


def test_percent_encoded_names_arrive(gateway: Gateway, push: Push) -> None:
    """encodeURIComponent, which is all the escaping that it does, is undone."""
    assert push("push", "täglich & mehr", {"shard": "a b+c"}).stdout == "200\n"

    assert gateway.scrape().value("rows_total", job="täglich & mehr", shard="a b+c") == 1500


def test_a_compressed_push_is_read(gateway: Gateway, push: Push) -> None:
    """With the header Content-Encoding it compresses the body itself."""
    assert push("push", "etl", {}, "gzip").stdout == "200\n"

    assert gateway.scrape().value("rows_total", job="etl") == 1500


def test_a_refused_push_rejects_its_promise_with_the_reason(gateway: Gateway, push: Push) -> None:
    """The status and the text of the error reach the job's log."""
    done = push("push", "etl", {"not-a-label": "x"})

    assert done.returncode == 1
    assert "push failed with status 400" in done.stdout
    assert "not-a-label" in done.stdout
