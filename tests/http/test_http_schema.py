"""The document says what is served; schemathesis asks for it over TLS, and nothing of what it makes up fails.

``HUB_HTTP_EXAMPLES=500`` for a long run: so many made-up requests for each method, beside those at all bounds.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from posting import Web
from served import Network

from hub.http.document import REFUSALS
from hub.wire.methods import METHODS
from parties import Parties

EXAMPLES = int(os.environ.get("HUB_HTTP_EXAMPLES", "0"))


@pytest.fixture(scope="module")
def document(web: Web) -> Any:
    answer = web.send("GET", "/openapi.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    return answer.json


def test_the_document_has_each_method_of_the_table(document: Any) -> None:
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {f"/v1/{name}" for name in METHODS}
    for name in METHODS:
        operations = document["paths"][f"/v1/{name}"]
        assert set(operations) == {"post"}
        operation = operations["post"]
        assert operation["operationId"] == name
        assert operation["summary"]
        assert set(operation["requestBody"]["content"]) == {"application/json", "application/msgpack"}
        assert set(operation["responses"]) == {"200", *map(str, REFUSALS)}
        assert [one["name"] for one in operation["parameters"]] == ["hub-institution"]


def test_every_reference_of_the_document_leads_somewhere(document: Any) -> None:
    text = json.dumps(document)
    names = set(re.findall(r'"\$ref": "#/components/schemas/(\w+)"', text))
    assert names <= set(document["components"]["schemas"])
    assert len(names) > 50


def test_no_page_loads_anything_from_elsewhere(web: Web, document: Any) -> None:
    pages = ["", "schema", "schema/swagger", "schema/redoc", "redoc", "swagger", "elements", "rapidoc", "docs", "v1"]
    for path in (f"/{page}" for page in pages):
        answer = web.send("GET", path)
        assert (answer.status, answer.headers["content-type"]) == (404, "application/problem+json")
    assert "://" not in json.dumps(document)


def test_schemathesis_finds_nothing(tmp_path: Path, network: Network) -> None:
    pytest.importorskip("schemathesis")
    with Parties(tmp_path / "hub", 12) as parties:
        codes = ["nenkin", "portal", "jlis", parties.town]
        web = Web(parties, network, codes)
        words = [
            sys.executable, "-m", "schemathesis.cli", "run", f"https://127.0.0.1:{web.port}/openapi.json",
            "--request-cert", network.client.cert, "--request-cert-key", network.client.key,
            "--tls-verify", network.authority.ca,
            # What fits the schema is refused all the same where it names nobody.
            "--exclude-checks", "positive_data_acceptance", "--warnings", "off",
            "--phases", "coverage,fuzzing" if EXAMPLES else "coverage", "--max-examples", str(EXAMPLES or 1),
        ]  # fmt: skip
        places = os.pathsep.join([str(Path(__file__).parent)])
        environment = {**os.environ, "SCHEMATHESIS_HOOKS": "schema_hooks", "PYTHONPATH": places}
        environment["HUB_HTTP_CODES"] = " ".join(codes)
        try:
            done = subprocess.run(
                words, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=3_000, check=False
            )
        finally:
            web.stop()
        assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]
        (tested,) = re.findall(r"Tested: (\d+)", done.stdout)
        assert int(tested) == len(METHODS)
        generated = int(re.findall(r"(\d+) generated", done.stdout)[0])
        assert generated > 1_000
        print(f"schemathesis: {generated} requests")
        assert parties.h.verify().problems == ()
