"""Does the running gateway do what its description says, whatever is sent to it?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import text_format

from pushgateway.formats.protobuf_encode import encode_varint
from pushgateway.formats.protobuf_messages import family_class
from tests.harness import Gateway
from tests.rows import PROTOBUF

MetricFamilyMessage = family_class()

DATA = Path(__file__).parents[1] / "data" / "openapi"

SETTINGS = {
    "plain": (["--web.enable-admin-api"], "", []),
    "every path moved, errors as JSON": (
        [
            "--web.route-prefix=/gateway",
            "--web.telemetry-path=/all",
            "--push.disable-consistency-check",
            "--push.enable-utf8-names",
        ],
        "/gateway",
        ["--header", "Accept: application/json"],
    ),
}

FAMILIES = b"""\
# TYPE c_total counter
# HELP c_total A counter.
c_total 1
# TYPE s summary
s{quantile="0.5"} 1
s_sum 2
s_count 2
# TYPE h histogram
h_bucket{le="1"} 1
h_sum 2
h_count 2
"""

NATIVE = """
    name: "n" type: HISTOGRAM metric { histogram {
        sample_count: 3 sample_sum: 5.5 schema: 1 zero_threshold: 0.001 zero_count: 1
        positive_span { offset: 0 length: 2 } positive_delta: [1, 0]
    } }
"""


@pytest.mark.parametrize("name", SETTINGS)
def test_schemathesis_finds_no_difference(name: str, tmp_path: Path) -> None:
    """Every status, type, header and body that schemathesis can provoke is described, and the same each time."""
    flags, prefix, options = SETTINGS[name]
    with Gateway("--storage.url=memory:", *flags, prefix=prefix) as gateway:
        assert gateway.push("job/all%20types%20of%20metrics", FAMILIES).status < 300
        message = text_format.Parse(NATIVE, MetricFamilyMessage()).SerializeToString()
        native = encode_varint(len(message)) + message
        assert gateway.push("job/native", native, headers={"Content-Type": PROTOBUF}).status < 300
        program = Path(sys.executable).with_name("schemathesis")
        command = [program, "--config-file", DATA / "schemathesis.toml", "run", f"{gateway.url}/api/v1/openapi.json"]
        done = subprocess.run(
            [*command, "--no-color", *options], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stdout[-10_000:] + done.stderr
        assert "Traceback" not in gateway.log()
