from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urljoin

import pytest

from pushgateway.config import load
from pushgateway.errors import StoreUnwritableError
from pushgateway.limits import Limits
from pushgateway.model import Wipe
from pushgateway.web.ui.status import WIPE_WORDS
from tests.unit.web.fakes import NOW, Site
from tests.unit.web.ui.reading import Page


def wipe(site: Site, words: str, **kwargs: object) -> tuple[int, str]:
    """Send the form of the status page; returns the status and what is shown or where to look."""
    body = f"confirm={words.replace(' ', '+')}".encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    reply = site.request("POST", "/status/wipe", body, headers=headers)
    return reply.status_code, reply.headers.get("Location", "") or Page(reply.text).words


def test_status_tells_what_runs(site: Site) -> None:
    """The page shows the version, since when it runs, its processes, and where everything for programs is."""
    site.telemetry.started_at_seconds = NOW - 3720
    page = Page(site.get("/status").text)
    assert site.telemetry.build["version"] in page.words
    assert "Up for 1 h 2 min" in page.words
    assert "2 workers with 4 threads for reads each" in page.words
    assert {"./metrics", "./api/v1/openapi.json", "./api/v1/failures", "./-/ready"} <= set(page.links)


def test_flags_are_listed_and_those_that_were_set_are_marked() -> None:
    """Every flag but limits is told with its value and meaning, and with a mark if it is not the default."""
    config = load({"web.workers": ("3",)}, {})
    text = Page(Site(flags=config.flags).get("/status").text).words
    assert "--web.workers 3 changed Worker processes." in text
    assert "--web.threads 4 Threads of each worker" in text
    assert text.count(" changed ") == 1


def test_limits_are_listed_with_what_is_used_of_them() -> None:
    """Every limit is told with its unit and flag; of those on what is stored, how much is used."""
    site = Site(limits=Limits(groups=4, families=0))
    site.push("job/a", b"x 1\n")
    page = Page(site.get("/status").text)
    assert "--limit.body-bytes 16MiB" in page.words
    assert "idle-seconds fixed 1m15s" in page.words
    assert page.found("svg", aria_label="1 of 4")
    assert page.found("svg", aria_label="1")
    assert page.found("rect", width="25.0")


def test_the_password_of_the_store_is_not_shown() -> None:
    """The URL of a database is told without its password."""
    site = Site(storage_url="postgresql://gate:s3cret@db/metrics")
    text = site.get("/status").text
    assert "s3cret" not in text
    assert "postgresql://gate:***@db/metrics" in text
    assert "PostgreSQL" in Page(text).words


def test_the_size_on_disk_is_shown(tmp_path: Path) -> None:
    """Of a database in a file the size is told, with what was written lately; of another one it is not."""
    path = tmp_path / "store.db"
    path.write_bytes(bytes(3000))
    Path(f"{path}-wal").write_bytes(bytes(2000))
    page = Page(Site(storage_url=f"sqlite:{path}").get("/status").text)
    assert "Size on disk 5 kB" in page.words
    os.unlink(path)
    os.unlink(f"{path}-wal")
    for url in (f"sqlite:{path}", "memory:"):
        assert "Size on disk" not in Page(Site(storage_url=url).get("/status").text).words


def test_health_is_shown(site: Site) -> None:
    """The page says whether the store can be written, and if not why."""
    assert "Readable and writable" in Page(site.get("/status").text).words
    site.store.unwritable = "disk full"
    assert "Not writable disk full" in Page(site.get("/status").text).words


def test_everything_is_deleted_after_the_words(site: Site) -> None:
    """With the words typed all groups are gone, and the page that the browser is led to says so."""
    site.push("job/a")
    status, location = wipe(site, WIPE_WORDS)
    assert (status, location) == (303, "../status?wiped=yes")
    assert site.store.groups() == []
    assert isinstance(site.store.changes[-1][0], Wipe)
    assert "All groups were deleted." in Page(site.get("/status?wiped=yes").text).words
    assert site.counted()["wipe", "post", "303"] == 1


def test_everything_is_deleted_behind_a_prefix_too() -> None:
    """The form leads to the gateway's own path, and the answer back to the status page, wherever a proxy has put it."""
    site = Site(route_prefix="/a/b", enable_admin_api=True)
    page = Page(site.get("/a/b/status").text)
    (form,) = page.found("form")
    assert urljoin("http://host/proxy/a/b/status", form["action"]) == "http://host/proxy/a/b/status/wipe"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    reply = site.request("POST", "/a/b/status/wipe", f"confirm={WIPE_WORDS}".encode(), headers=headers)
    found = urljoin("http://host/proxy/a/b/status/wipe", reply.headers["Location"])
    assert found == "http://host/proxy/a/b/status?wiped=yes"


@pytest.mark.parametrize("words", ["", "yes", "Delete all groups", "delete all groups!"])
def test_nothing_is_deleted_without_the_words(site: Site, words: str) -> None:
    """Other words delete nothing, and the page says so; what answers a form does not refresh itself."""
    site.push("job/a")
    status, text = wipe(site, words)
    assert status == 200
    assert "Nothing was deleted" in text
    assert "Refresh every" not in text
    assert len(site.store.groups()) == 1
    assert site.failures.recent() == []


def test_without_the_admin_api_nothing_can_be_deleted() -> None:
    """Then there is no form, and nobody takes it."""
    site = Site()
    site.push("job/a")
    page = Page(site.get("/status").text)
    assert "form" not in page.elements
    assert "--web.enable-admin-api turns it on" in page.words
    assert wipe(site, WIPE_WORDS)[0] == 404
    assert len(site.store.groups()) == 1


def test_a_store_that_cannot_be_written_says_so_on_a_page(site: Site) -> None:
    """A browser gets a page with the reason, a program the text that it gets everywhere."""
    site.store.write_error = StoreUnwritableError("disk full")
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html,*/*;q=0.8"}
    body = f"confirm={WIPE_WORDS}".encode()
    reply = site.request("POST", "/status/wipe", body, headers=headers)
    assert (reply.status_code, reply.headers["Retry-After"]) == (503, "5")
    assert "disk full" in Page(reply.text).words
    assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
    assert wipe(site, WIPE_WORDS)[0] == 503
