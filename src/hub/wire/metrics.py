"""The Prometheus endpoint: what a server counts, as text or OpenMetrics, on a listener of its own.

Nothing is counted here: at a scrape the numbers of ``ledger.py``, of the queues and of the hub are read, in a thread.
Labels are methods, codes, statuses and institutions; never anything of a person. ``docs/operations.md`` has the table.
"""

from __future__ import annotations

import importlib
import socket
import socketserver
import threading
import wsgiref.simple_server
from collections.abc import Iterator
from typing import Any, cast

from hub.errors import HubError, RequestError
from hub.hub import Hub
from hub.messages import Reason, Status
from hub.storage.times import BOUNDS_S, Times
from hub.wire.calls import Calls
from hub.wire.config import Metrics, split_address
from hub.wire.quotas import KINDS

SCRAPES_MAX = 4
"""At a time; more are closed at once."""

SCRAPE_S = 10.0
"""How long a scraper may take to ask and to read."""

Family = Any
Values = dict[tuple[str, ...], float]
"""A metric of prometheus_client, which is there only with the extra ``serve``."""


class Collector:
    """Makes metrics of the counts of one server."""

    def __init__(self, h: Hub, calls: Calls) -> None:
        self._hub, self._calls = h, calls
        self._core: Any = importlib.import_module("prometheus_client.core")

    def __repr__(self) -> str:
        return "Collector()"

    def collect(self) -> Iterator[Family]:
        """All metrics, as they are now."""
        yield from self._of_calls()
        yield from self._of_institutions()
        yield from self._of_queues()
        try:
            yield from self._of_hub()
        except HubError:
            # The folder cannot be read: what is known of the calls is worth all the more.
            yield self._gauge("hub_readable", "Whether the folder can be read", 0)
        else:
            yield self._gauge("hub_readable", "Whether the folder can be read", 1)

    # -- forms

    def _counter(self, name: str, text: str, labels: list[str], values: Values) -> Family:
        family = self._core.CounterMetricFamily(name, text, labels=labels)
        for names, value in values.items():
            family.add_metric(names, value)
        return family

    def _gauge(self, name: str, text: str, value: float) -> Family:
        return self._core.GaugeMetricFamily(name, text, value=value)

    def _gauges(self, name: str, text: str, label: str, values: dict[str, float]) -> Family:
        family = self._core.GaugeMetricFamily(name, text, labels=[label])
        for one, value in values.items():
            family.add_metric([one], value)
        return family

    def _histogram(self, name: str, text: str, label: str, values: dict[str, Times]) -> Family:
        family = self._core.HistogramMetricFamily(name, text, labels=[label])
        for one, times in values.items():
            family.add_metric([one], buckets_of(times), times.total_s)
        return family

    # -- what there is

    def _of_calls(self) -> Iterator[Family]:
        ledger, calls = self._calls.ledger, self._calls
        done = {(name, code): n for name, codes in list(ledger.done.items()) for code, n in list(codes.items())}
        yield self._counter("hub_requests", "Calls by method and outcome", ["method", "code"], _floats(done))
        yield self._counter(
            "hub_rows", "Rows of calls that were done", ["method"],
            {(name,): float(n) for name, n in list(ledger.rows.items())},
        )  # fmt: skip
        yield self._counter(
            "hub_answered_rows", "Rows of inquiries, pushes, updates and notices by status", ["status"],
            {(Status(number).name,): float(n) for number, n in enumerate(ledger.statuses) if n},
        )  # fmt: skip
        yield self._counter(
            "hub_refused_rows", "Rows that were denied, by reason", ["reason"],
            {(Reason(number).name,): float(n) for number, n in enumerate(ledger.reasons) if n and number},
        )  # fmt: skip
        yield self._histogram(
            "hub_request_seconds", "From a call's last byte to its reply, by where it is done", "kind", ledger.times
        )
        yield self._gauge("hub_open_connections", "Connections", calls.connections)
        yield self._counter("hub_connections", "Connections that were accepted", [], {(): float(ledger.connections)})
        yield self._gauge("hub_open_requests", "Calls that are not answered", calls.open)
        yield self._gauge("hub_in_flight_bytes", "Of long calls and replies", calls.bytes_in_flight)
        yield self._gauge("hub_in_flight_bytes_max", "As many there may be", calls.bytes_max)

    def _of_institutions(self) -> Iterator[Family]:
        accounts = list(self._calls.ledger.quotas.accounts.values())
        refused: Values = {
            (one.code, kind): float(n) for one in accounts for kind, n in zip(KINDS, one.refused, strict=True) if n
        }
        yield self._counter("hub_quota_refusals", "Calls that met a quota", ["institution", "quota"], refused)
        open_ = {one.code: float(one.open) for one in accounts if one.open}
        yield self._gauges("hub_institution_open_requests", "Calls that are not answered", "institution", open_)

    def _of_queues(self) -> Iterator[Family]:
        calls = self._calls
        loads = {pool.name: pool.load() for pool in (calls.small, calls.medium, calls.bulk, calls.pages)}
        waiting = {name: float(load[0]) for name, load in loads.items()}
        ages = {name: load[2] for name, load in loads.items()}
        gathered = self._hub.waiting_calls()
        waiting["commit"], ages["commit"] = float(gathered[0]), gathered[2]
        yield self._gauges("hub_queue_requests", "Calls that wait for a thread or a shared commit", "queue", waiting)
        yield self._gauges("hub_queue_age_seconds", "How long the first of them has waited", "queue", ages)
        working = {name: float(load[1]) for name, load in loads.items()}
        yield self._gauges("hub_working_threads", "Threads that do a call", "queue", working)
        yield self._gauge("hub_queue_rows", "Rows that wait for a shared commit", gathered[1])

    def _of_hub(self) -> Iterator[Family]:
        found, disk = self._hub.vitals(), self._calls.disk
        durable = {"commit": found.commit_times, "checkpoint": found.publish_times}
        yield self._histogram("hub_sync_seconds", "How long it took to make something durable", "what", durable)
        yield self._gauge("hub_records", "Records in the log", found.records)
        yield self._gauge("hub_durable_records", "Of these, covered by the last durable checkpoint", found.published)
        yield self._gauge("hub_unsorted_records", "Of these, in no inbox yet", found.unsorted)
        inboxes = {"permits": float(found.permits), "arrivals": float(found.arrivals)}
        yield self._gauges("hub_inbox_rows", "Rows that wait in all inboxes", "kind", inboxes)
        yield self._gauge("hub_map_used_bytes", "Of the LMDB map, free pages included", found.map_used)
        yield self._gauge("hub_map_bytes", "Size of the LMDB map", found.map_size)
        yield self._gauge("hub_disk_free_bytes", "On the folder's disk", found.disk_free)
        yield self._gauge("hub_disk_low", "Whether writing calls are BUSY for want of room", disk.low)
        yield self._counter("hub_disk_full", "Calls that were BUSY for want of room", [], {(): float(disk.met)})
        yield self._counter("hub_disk_full_commits", "Transactions that found no room", [], {(): float(found.full)})
        stopped = {name: float(name in found.stopped) for name in ("writing", "inboxes", "index")}
        yield self._gauges("hub_stopped", "What has stopped until the folder is opened again", "part", stopped)


def _floats(values: dict[tuple[str, str], int]) -> Values:
    return {names: float(n) for names, n in values.items()}


def buckets_of(times: Times) -> list[tuple[str, float]]:
    """Upper bounds and how many took at most so long, as Prometheus has them."""
    found, total = [], 0
    bounds = [*(repr(bound) for bound in BOUNDS_S), "+Inf"]
    for bound, n in zip(bounds, list(times.counts), strict=True):
        total += n
        found.append((bound, float(total)))
    return found


class _Handler(wsgiref.simple_server.WSGIRequestHandler):
    timeout = SCRAPE_S

    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes leave no lines."""


class _Listener(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], application: Any) -> None:
        self.address_family = _family_of(address[0])
        self._places = threading.BoundedSemaphore(SCRAPES_MAX)
        super().__init__(address, _Handler)
        self.set_app(application)

    def server_bind(self) -> None:
        """As its base does, without asking a name server who we are."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, where there are not too many."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """In that thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A scraper that goes away is nobody's affair."""


def _family_of(host: str) -> int:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


class Endpoint:
    """The listener, in threads of its own, until it is closed.

    Attributes:
        address: host and port.
    """

    def __init__(self, h: Hub, calls: Calls, metrics: Metrics) -> None:
        """Raises:
        RequestError: prometheus_client is not installed. OSError: the address cannot be used.
        """
        client = load_prometheus()
        registry = client.CollectorRegistry(auto_describe=False)
        registry.register(Collector(h, calls))
        client.ProcessCollector(registry=registry)
        self._server = _Listener(split_address("metrics.listen", metrics.listen), client.make_wsgi_app(registry))
        self.address = cast(tuple[str, int], self._server.server_address[:2])
        self._thread = threading.Thread(target=self._server.serve_forever, name="hub-metrics", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"Endpoint({self.address[1]})"

    def close(self) -> None:
        """Take no more scrapes; blocks for half a second at most."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def load_prometheus() -> Any:
    """The library.

    Raises:
        RequestError: it is not installed.
    """
    try:
        return importlib.import_module("prometheus_client")
    except ImportError:
        raise RequestError("metrics: expected prometheus_client (pip install 'hub[serve]'), found none") from None
