from __future__ import annotations

from pathlib import Path

import pytest

from tests.certificates import Authority


@pytest.fixture(scope="session")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with ca.crt, server.crt, server.key, other.crt and other.key."""
    authority = Authority(tmp_path_factory.mktemp("pems"))
    authority.issue("server")
    authority.issue("other")
    return authority.directory
