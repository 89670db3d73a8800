"""Do the commands of a group mean to a shell what they say?"""

from __future__ import annotations

import shlex

import pytest

from pushgateway.display.curl import group_commands

PATH = "job/etl/dir@base64/L3Nydg"


def words(text: str) -> list[str]:
    """Split a command as a shell does, without what is fed to it."""
    return shlex.split(text.partition(" <<")[0])


def test_the_commands_read_push_replace_and_delete() -> None:
    """Reading goes through the API, all else through the group's push path."""
    read, push, replace, delete = (words(one.text) for one in group_commands("https://gw.example/pfx", PATH))
    pushed = f"https://gw.example/pfx/metrics/{PATH}"
    assert read == ["curl", f"https://gw.example/pfx/api/v1/groups/{PATH}"]
    assert push == ["curl", "--data-binary", "@-", pushed]
    assert replace == ["curl", "--request", "PUT", "--data-binary", "@metrics.txt", pushed]
    assert delete == ["curl", "--request", "DELETE", pushed]


def test_the_push_feeds_a_family_that_ends_with_a_line_feed() -> None:
    """The text format wants one, and a here-document gives it."""
    text = group_commands("http://gw", PATH)[1].text
    assert text.endswith(" <<'EOF'\n# TYPE example_value gauge\nexample_value 42\nEOF")


@pytest.mark.parametrize("odd", ["a b", "$(reboot)", "`id`", "a'b", 'a"b', "a;b", "a\nb", "é", "-x"])
def test_nothing_odd_reaches_the_shell(odd: str) -> None:
    """Whatever host, prefix or name somebody has, each stays one word."""
    for command in group_commands(f"http://{odd}", PATH, user=odd):
        parts = words(command.text)
        assert parts[:3] == ["curl", "--user", odd]
        assert sum(part.startswith(f"http://{odd}/") for part in parts) == 1
