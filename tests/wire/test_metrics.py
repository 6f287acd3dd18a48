"""The Prometheus endpoint: what it says is what was done, by a parser that is not ours; and it names nobody."""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from served import Served, Wires, plain_config

import hub
from hub.errors import RequestError
from hub.messages import Status
from hub.server import Server
from hub.storage.times import BOUNDS_S, Times
from hub.wire.config import Metrics
from hub.wire.metrics import SCRAPES_MAX, buckets_of
from hub.wire.quotas import Quota
from inquiries import tax_inquiry
from parties import Parties

METRICS = Metrics("127.0.0.1:0")
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def scrape(served: Served, accept: str = "text/plain") -> tuple[str, str]:
    assert served.server is not None
    assert served.server.metrics is not None
    host, port = served.server.metrics.address
    request = urllib.request.Request(f"http://{host}:{port}/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=20) as reply:
        return reply.headers["Content-Type"], reply.read().decode()


def samples(served: Served) -> dict[tuple[str, ...], float]:
    """Name and values of labels, sorted -> value."""
    _, text = scrape(served)
    return {
        (one.name, *sorted(one.labels.values())): one.value for family in parse_text(text) for one in family.samples
    }


@pytest.fixture
def watched(parties: Parties) -> Iterator[Served]:
    config = plain_config(["nenkin", "portal", parties.town])
    quotas = {parties.town: Quota(rows_per_s=1, burst_rows=1)}
    served = Served(parties.h, msgspec.structs.replace(config, metrics=METRICS, quotas=quotas))
    try:
        yield served
    finally:
        served.stop()


def test_metrics_say_what_was_done(parties: Parties, watched: Served) -> None:
    with hub.connect(watched.address, institution="nenkin") as h:
        before = samples(watched)
        assert before["hub_records",] == before["hub_durable_records",] == 0
        h.inquire(tax_inquiry("a"), parties.nenkin[:3], parties.town)
        h.inquire(tax_inquiry("b"), parties.nenkin[:1], parties.town)
        h.inquire(tax_inquiry("c", role="申請者"), parties.nenkin[:2], parties.town)
        for _ in range(2):
            with pytest.raises(RequestError):
                h.status("nenkin", "unknown")
        h.flags(parties.town, parties.known[:2])
        with pytest.raises(hub.errors.BusyError):
            h.flags(parties.town, parties.known[:2], timeout=0.01)
        found = samples(watched)
    assert found["hub_requests_total", "inquire", "ok"] == 3
    assert found["hub_rows_total", "inquire"] == 6
    assert found["hub_requests_total", "request", "status"] == 2
    assert found["hub_requests_total", "flags", "ok"] == 1
    assert found["hub_requests_total", "busy", "flags"] == 1
    assert found["hub_quota_refusals_total", parties.town, "rows"] == 1
    assert found["hub_answered_rows_total", "OK"] == 4
    assert found["hub_answered_rows_total", "DENIED"] == 2
    assert found["hub_refused_rows_total", "ROLE"] == 2
    assert found["hub_records",] == found["hub_durable_records",] == 6
    assert found["hub_open_connections",] == found["hub_connections_total",] == 1
    assert found["hub_open_requests",] == found["hub_in_flight_bytes",] == 0
    assert found["hub_request_seconds_count", "small"] == 5
    assert found["hub_request_seconds_bucket", "+Inf", "small"] == 5
    assert found["hub_request_seconds_count", "medium"] == 1
    assert found["hub_sync_seconds_count", "commit"] - before["hub_sync_seconds_count", "commit"] >= 3
    assert found["hub_sync_seconds_count", "checkpoint"] >= 3
    assert found["hub_map_bytes",] == 1 << 42
    assert 0 < found["hub_map_used_bytes",] < 1 << 30
    room = os.statvfs(parties.folder)
    assert abs(found["hub_disk_free_bytes",] - room.f_bavail * room.f_frsize) < 1 << 34
    assert found["hub_queue_requests", "commit"] == found["hub_queue_age_seconds", "commit"] == 0
    assert {found["hub_stopped", part] for part in ("writing", "inboxes", "index")} == {0}
    assert found["hub_readable",] == 1
    assert found["process_resident_memory_bytes",] > 0


def test_rows_that_wait_in_inboxes_are_counted_once_they_are_sorted_in(parties: Parties, watched: Served) -> None:
    parties.ask("a", [0, 1, 2, 3])
    assert samples(watched)["hub_unsorted_records",] == 4
    delivery = parties.h._delivery
    assert delivery is not None
    delivery.deliver()
    found = samples(watched)
    assert found["hub_unsorted_records",] == 0
    assert found["hub_inbox_rows", "permits"] == 4
    assert found["hub_inbox_rows", "arrivals"] == 0
    permits = parties.h.collect(parties.town)[0]
    parties.h.provide(parties.town, permits.permit[:1], Status.EMPTY)
    delivery.deliver()
    assert samples(watched)["hub_inbox_rows", "permits"] == 3


def test_queues_show_what_waits_and_since_when(parties: Parties, watched: Served) -> None:
    wires = Wires(watched.port)
    words = {"digest": bytes(32), "rows_max": 1}
    with parties.h._store.writer:
        for number in range(4):
            wires.call(number, "nenkin", "begin_file", {"request_id": f"f{number}", **words})
        for number in range(4, 7):
            body = {
                "inquiry": {
                    "procedure": "19-8/73/75.3", "items": ["市町村民税"], "role": "納付義務者", "section": "係",
                    "request_id": f"q{number}",
                },
                "aliases": parties.nenkin[:2].tobytes(), "providers": [[parties.town], b""],
            }  # fmt: skip
            wires.call(number, "nenkin", "inquire", body)
            time.sleep(0.2)
        found = samples(watched)
        # The first group waits for the writer already; the others wait to be taken.
        assert found["hub_queue_requests", "commit"] >= 1
        assert found["hub_queue_rows",] >= 2
        assert 0 < found["hub_queue_age_seconds", "commit"] < 60
        assert found["hub_working_threads", "small"] == 4
        assert found["hub_open_requests",] == found["hub_institution_open_requests", "nenkin"] == 7
    assert {wires.read()[1] for _ in range(7)} == set(range(7))
    found = samples(watched)
    assert found["hub_open_requests",] == found["hub_queue_requests", "commit"] == 0


def test_both_formats_are_what_a_scraper_expects(parties: Parties, watched: Served) -> None:
    parties.ask("a", [0])
    with hub.connect(watched.address) as h:
        h.checkpoint()
    kind, text = scrape(watched)
    assert kind.startswith("text/plain")
    names = {family.name for family in parse_text(text)}
    kind, text = scrape(watched, OPENMETRICS)
    assert kind.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")
    families = {family.name: family for family in parse_openmetrics(text)}
    assert {name.removesuffix("_total") for name in names} >= {name for name in families if name.startswith("hub_")}
    # Everything has its words.
    assert all(family.documentation for name, family in families.items() if name.startswith("hub_"))


def test_a_listener_takes_few_scrapes_at_a_time_and_outlives_those_who_never_read(watched: Served) -> None:
    assert watched.server is not None
    assert watched.server.metrics is not None
    address = watched.server.metrics.address
    silent = [socket.create_connection(address, timeout=10) for _ in range(SCRAPES_MAX)]
    time.sleep(0.3)
    with socket.create_connection(address, timeout=10) as one_more:
        one_more.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert one_more.recv(1) == b""
    for sock in silent:
        sock.close()
    deadline = time.monotonic() + 20
    while True:
        try:
            assert samples(watched)["hub_readable",] == 1
            return
        except OSError:
            assert time.monotonic() < deadline


def test_an_address_in_use_is_said_at_start(parties: Parties, watched: Served) -> None:
    assert watched.server is not None
    assert watched.server.metrics is not None
    taken = Metrics(f"127.0.0.1:{watched.server.metrics.address[1]}")
    with pytest.raises(OSError, match="in use"):
        Served(parties.h, msgspec.structs.replace(plain_config(["nenkin"]), metrics=taken))


def test_without_the_library_the_server_does_not_start(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    config = msgspec.structs.replace(plain_config(["nenkin"]), metrics=METRICS)
    with pytest.raises(RequestError, match=r"metrics: expected prometheus_client \(pip install 'hub\[serve\]'\)"):
        Server(parties.h, config)
    Server(parties.h, plain_config(["nenkin"]))


def test_buckets_are_cumulative_and_bounded_on_both_sides() -> None:
    times = Times()
    for seconds in (0.0, BOUNDS_S[0], BOUNDS_S[0] + 1e-9, BOUNDS_S[-1], BOUNDS_S[-1] + 1):
        times.add(seconds)
    times.add(0.5, 3)
    found: dict[str, Any] = dict(buckets_of(times))
    assert found["0.0001"] == 2
    assert found["0.00025"] == 3
    assert found["0.5"] == 6
    assert found["300.0"] == 7
    assert found["+Inf"] == 8
    assert times.total_s == pytest.approx(sum(BOUNDS_S[:1]) * 2 + BOUNDS_S[-1] * 2 + 1 + 1.5)


def test_a_damaged_folder_still_tells_of_its_calls(
    parties: Parties, watched: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with hub.connect(watched.address) as h:
        h.checkpoint()
    monkeypatch.setattr(parties.h, "vitals", lambda: (_ for _ in ()).throw(hub.errors.StorageError("damaged")))
    with caplog.at_level(logging.ERROR):
        found = samples(watched)
    assert found["hub_readable",] == 0
    assert found["hub_requests_total", "checkpoint", "ok"] == 1
