"""Is a store lost by mistake, or brought back when it is?"""

from __future__ import annotations

from pathlib import Path

from tests.harness import Gateway
from tests.integration.test_backup import run


def test_back_to_an_earlier_state(tmp_path: Path) -> None:
    """A restore is refused while the gateway runs; once it is stopped, the copy's groups are served again."""
    copy = str(tmp_path / "copy.db")
    with Gateway() as gateway:
        assert gateway.push("job/a", b"x 1\n").status == 200
        assert run("backup", copy, directory=gateway.directory).returncode == 0
        checked = run("restore", "--check", copy, directory=tmp_path)
        assert (checked.returncode, checked.stderr) == (0, "")
        assert checked.stdout.startswith(f"{copy} is in order and holds 1 group with 1 family (")
        assert gateway.push("job/a", b"x 2\n").status == 200
        assert gateway.push("job/b", b"x 3\n").status == 200

        refused = run("restore", copy, "--force", directory=gateway.directory)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "a gateway uses it" in refused.stderr
        assert refused.stderr.count("\n") == 1
        assert gateway.scrape().value("x", job="b") == 3

        gateway.terminate()
        assert "--force" in run("restore", copy, directory=gateway.directory).stderr
        done = run("restore", copy, "--force", directory=gateway.directory)
        assert (done.returncode, done.stderr) == (0, "")
        gateway.start()
        assert [(line.label_map["job"], line.value) for line in gateway.scrape()["x"].lines] == [("a", "1")]

        kept = done.stdout.splitlines()[1].removeprefix("what it held before is in ")
        gateway.terminate()
        assert run("restore", kept, "--force", directory=gateway.directory).returncode == 0
        gateway.start()
        assert gateway.scrape().value("x", job="b") == 3


def test_a_file_that_is_not_in_order(tmp_path: Path) -> None:
    """A check that fails is one line and exit code 1."""
    (tmp_path / "copy.db").write_bytes(b"SQLite format 3\0" + bytes(4080))
    done = run("restore", "--check", "copy.db", directory=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "another program" in done.stderr
