"""Does the Dockerfile of examples/docker make an image that runs as it should?"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.images import Container, Image, build
from tests.project.pages import ROOT

EXAMPLE = ROOT / "examples" / "docker"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """The image, built once."""
    directory = tmp_path_factory.mktemp("image")
    yield build(EXAMPLE / "Dockerfile", directory=directory)
    shutil.rmtree(directory)


def test_a_container_serves_and_stops(image: Image) -> None:
    """Read-only but for its volume, without privileges, it takes pushes, is healthy, and stops gracefully as PID 1."""
    with Container(image) as container:
        assert container.push("job/a", b"x 1\n").status == 200
        assert container.scrape().value("x", job="a") == 1
        assert container.healthy()
        status = Path(f"/proc/{container.init}/status").read_text()
        assert "NSpid:" in status
        assert "Uid:\t65532\t65532" in status
        assert "CapEff:\t0000000000000000" in status
        assert sorted(path.name for path in container.directory.iterdir())[:2] == [
            "pushgateway.db",
            "pushgateway.db-lock",
        ]
        assert container.stop() == 0
        assert "level=error" not in container.log()


def test_the_volume_outlives_the_container(image: Image) -> None:
    """What was answered 200 is there after a container was killed, and another one got its volume."""
    with Container(image) as container:
        assert container.push("job/a", b"x 1\n").status == 200
        container.kill()
        container.start()
        assert container.scrape().value("x", job="a") == 1


def test_flags_stand_behind_the_image(image: Image) -> None:
    """Arguments of the container are flags of the gateway, as with the original's image."""
    with Container(image, "--web.enable-admin-api", "--storage.url=memory:") as container:
        container.wipe()
        assert not (container.directory / "pushgateway.db").exists()


def test_a_container_that_does_not_answer_is_unhealthy(image: Image) -> None:
    """The health check fails where nothing listens on the port."""
    container = Container(image, "--web.listen-address=127.0.0.1:9092")
    try:
        container.start(wait=False)
        assert not container.healthy()
        container.port = 9092
        container.wait_ready()
        assert not container.healthy()
    finally:
        container.__exit__(None, None, None)


def test_the_image_holds_the_gateway_alone(image: Image) -> None:
    """The last stage has the virtual environment, without pip, and neither sources nor a cache."""
    assert not (image.root / "source").exists()
    assert not list((image.root / "opt/pushgateway").rglob("pip"))
    assert list((image.root / "builder/.cache/pip").iterdir()) == []
    assert (image.root / "data").stat().st_mode & 0o777 == 0o700


def test_compose_starts_what_prometheus_scrapes() -> None:
    """The compose file builds this Dockerfile, and its Prometheus scrapes the gateway's service with honor_labels."""
    compose = yaml.safe_load((EXAMPLE / "compose.yaml").read_text())
    scrapes = yaml.safe_load((EXAMPLE / "prometheus.yml").read_text())
    made = compose["services"]["pushgateway"]["build"]
    assert (EXAMPLE / made["context"] / made["dockerfile"]).resolve() == EXAMPLE / "Dockerfile"
    assert compose["services"]["pushgateway"]["read_only"]
    [volume] = compose["services"]["pushgateway"]["volumes"]
    assert volume.partition(":")[::2] == ("pushgateway", "/data")
    assert "pushgateway" in compose["volumes"]
    [config] = scrapes["scrape_configs"]
    assert config["honor_labels"]
    assert config["static_configs"] == [{"targets": ["pushgateway:9091"]}]
    assert "./prometheus.yml:/etc/prometheus/prometheus.yml:ro" in compose["services"]["prometheus"]["volumes"]
