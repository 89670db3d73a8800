"""Does what one gateway keeps in a file arrive in PostgreSQL, where several then serve it, and back?"""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tests.harness import Gateway
from tests.integration.test_backup import run
from tests.integration.test_import import EVERY_KIND, exposed
from tests.postgres import Postgres

SMALL = "--web.workers=1"
PASSWORD = "geheim"


def fill(gateway: Gateway) -> None:
    """Push groups of every kind, some in other formats, and let some pushes be refused."""
    for path, body in (
        ("job/every/instance/kind", EVERY_KIND),
        ("job@base64/YS9i/l/%C3%A9", b'{"my.metric","m.x"="2"} 3\n'),
        ("job/empty", b""),
        ("job/half", b"old 1\n"),
    ):
        assert gateway.push(path, body).status == 200
    units = b"# TYPE t_seconds gauge\n# UNIT t_seconds seconds\nt_seconds 1\n# EOF\n"
    headers = {"Content-Type": "application/openmetrics-text; version=1.0.0"}
    assert gateway.push("job/units", units, headers=headers).status == 200
    assert gateway.push("job/half", b"new 2\n").status == 200
    assert gateway.push("job/half", b"# TYPE g counter\ng 3\n").status == 400
    assert gateway.push("job/never", b"g 1\n# TYPE c gauge\nc 1\n").status == 400


GROUPS = 6


def test_from_a_running_gateway_to_one_on_postgres(postgres: Postgres, tmp_path: Path) -> None:
    """The groups of a file in use are exposed on PostgreSQL, to the line; then only news come; and back."""
    url = postgres.create_database()
    with Gateway("--push.enable-utf8-names", SMALL) as old:
        fill(old)
        file = f"sqlite:{old.directory}/pushgateway.db"
        done = run("migrate", f"--from={file}", f"--to={url}", directory=tmp_path)
        assert done.returncode == 0, done.stderr
        groups, compared = done.stdout.splitlines()
        assert groups == f"groups: {GROUPS} imported, 0 unchanged, 0 newer here, 0 refused"
        assert compared == "compared: 6 groups, 14 series, 34 lines of scrapes, 0 differences"
        assert done.stderr.splitlines()[-1] == "pushgateway: migrating: 6 of 6 groups"
        with Gateway(f"--storage.url={url}", SMALL) as new:
            assert exposed(new) == exposed(old)
            assert new.push("job/mine", b"mine 1\n").status == 200
            assert new.push("job/half", b"newer 1\n").status == 200
            assert old.push("job/empty", b"x 1\n").status == 200
            again = run("migrate", f"--from={file}", f"--to={url}", directory=tmp_path)
            assert again.returncode == 0, again.stderr
            assert again.stdout.startswith("groups: 1 imported, 4 unchanged, 1 newer here, 0 refused\n")
            assert "1 groups that are newer there left out, 0 differences" in again.stdout
            assert new.scrape().value("newer", job="half") == 1
            assert new.scrape().value("x", job="empty") == 1
            back = run("migrate", f"--from={url}", "--to=sqlite:back.db", directory=tmp_path)
            assert back.stdout.startswith("groups: 7 imported, 0 unchanged"), back.stderr
            with Gateway("--storage.url=sqlite:back.db", SMALL, directory=tmp_path) as restored:
                assert exposed(restored) == exposed(new)


def test_passwords(postgres: Postgres, tmp_path: Path) -> None:
    """The password comes from a file, PGPASSFILE or the URL, and is in no message."""
    url = postgres.create_database()
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(f"CREATE ROLE keeper LOGIN SUPERUSER PASSWORD '{PASSWORD}'")  # type: ignore[call-overload]
    url = url.replace("postgres@", "keeper@")
    with Gateway(SMALL, directory=tmp_path) as old:
        assert old.push("job/a", b"x 1\n").status == 200
    (tmp_path / "password").write_text(PASSWORD + "\n")
    (tmp_path / "wrong").write_text("wrong\n")
    source = "--from=sqlite:pushgateway.db"
    try:
        done = run("migrate", source, f"--to={url}", "--password-file=password", directory=tmp_path)
        assert (done.returncode, done.stdout.splitlines()[0]) == (
            0,
            "groups: 1 imported, 0 unchanged, 0 newer here, 0 refused",
        ), done.stderr
        with_password = url.replace("keeper@", f"keeper:{PASSWORD}@")
        assert run("migrate", source, f"--to={with_password}", directory=tmp_path).returncode == 0
        for more in ([f"--to={url}", "--password-file=wrong"], [f"--to={with_password}", "--password-file=password"]):
            refused = run("migrate", source, *more, directory=tmp_path)
            assert (refused.returncode in {1, 2}, refused.stderr.count("\n")) == (True, 1), refused.stderr
            assert "password" in refused.stderr
            assert PASSWORD not in refused.stderr
    finally:
        with psycopg.connect(postgres.url, autocommit=True) as db:
            db.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")  # type: ignore[call-overload]
            db.execute("DROP ROLE keeper")


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--from=sqlite:none.db", "--to=sqlite:new.db"], 1, "none.db does not exist"),
        (["--from=memory:", "--to=sqlite:new.db"], 2, "--from: memory: is no store that a command can use"),
        (["--from=sqlite:a", "--to=mysql://b"], 2, "--to: unknown storage"),
        (["--from=sqlite:a", "--to=sqlite:./a"], 2, "--to: is the same store as --from"),
        (["--from=postgresql://a/b", "--to=postgres://c/d", "--password-file=p"], 2, "expected PGPASSFILE"),
        (["--from=postgresql://%zz", "--to=sqlite:new.db"], 2, "--from: "),
    ],
)
def test_what_is_no_store(flags: list[str], code: int, words: str, tmp_path: Path) -> None:
    """What cannot be the old or the new store is refused in one line, before anything is made."""
    done = run("migrate", *flags, directory=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert words in done.stderr
    assert list(tmp_path.iterdir()) == []
