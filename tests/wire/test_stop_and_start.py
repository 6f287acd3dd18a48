"""A server that stops and starts under twenty clients: each call is recorded once, and all they see are answers."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from pathlib import Path

import numpy as np
from served import Network
from test_serve import Process

import hub
from hub.messages import Status
from inquiries import tax_inquiry
from parties import Parties

CLIENTS = 20
PERSONS = 64
ROUNDS = 2


async def call_over_restarts(process: Process, parties: Parties) -> Counter[str]:
    """Twenty clients call one thing after another while the server stops and starts; what was acknowledged."""
    own = process.network.client
    acknowledged: Counter[str] = Counter()
    stop = asyncio.Event()
    begun = 0

    async def work(name: int) -> None:
        nonlocal begun
        async with hub.aio.connect(
            process.address, cert=own.cert, key=own.key, ca=process.network.authority.ca, timeout=120
        ) as h:
            number = 0
            while not stop.is_set():
                request_id, row = f"{name}-{number}", (name + number) % PERSONS
                begun += 1
                rows = 1 if number % 7 else 40
                at = (row + np.arange(rows)) % PERSONS
                answer = await h.inquire(
                    tax_inquiry(request_id), np.ascontiguousarray(parties.nenkin[at]), parties.town
                )
                assert answer.status.tolist() == [Status.OK] * rows
                acknowledged[request_id] += rows
                if number % 5 == 0:
                    assert (await h.status("nenkin", request_id)).complete
                number += 1

    async def until(count: int) -> None:
        """So many more calls were answered."""
        end = len(acknowledged) + count
        while len(acknowledged) < end:
            await asyncio.sleep(0.005)

    async with asyncio.timeout(240):
        tasks = [asyncio.create_task(work(name)) for name in range(CLIENTS)]
        for _ in range(ROUNDS):
            await until(CLIENTS)
            assert not any(task.done() for task in tasks)
            assert await asyncio.to_thread(process.end, signal.SIGTERM) == 0
            await asyncio.to_thread(process.begin)
        await until(CLIENTS)
        stop.set()
        # A client that saw an error raises it here.
        await asyncio.gather(*tasks)
    assert begun == len(acknowledged)
    return acknowledged


def test_twenty_clients_go_on_over_restarts_and_nothing_is_lost_or_doubled(tmp_path: Path, network: Network) -> None:
    with Parties(tmp_path / "hub", PERSONS) as parties:
        town = parties.town
    process = Process(parties.folder, network, town, '[log]\nfile = "hub.log"\n')
    try:
        acknowledged = asyncio.run(call_over_restarts(process, parties))
    finally:
        if process.process.poll() is None:
            process.end()
    with hub.open(parties.folder) as h:
        assert h.stats()["records"] == sum(acknowledged.values())
        assert h.verify().problems == ()
        for request_id, rows in list(acknowledged.items())[-200:]:
            found = h.status("nenkin", request_id)
            assert (found.complete, found.rows) == (True, rows)
        # Whoever is told again is told the same, and nothing is added.
        name, _, count = next(iter(acknowledged)).partition("-")
        row, rows = (int(name) + int(count)) % PERSONS, acknowledged[f"{name}-{count}"]
        at = (row + np.arange(rows)) % PERSONS
        again = tax_inquiry(f"{name}-{count}", operator="platform")
        assert len(h.inquire(again, np.ascontiguousarray(parties.nenkin[at]), town).status) == rows
        assert h.stats()["records"] == sum(acknowledged.values())
    lines = [json.loads(line) for line in (tmp_path / "hub.log").read_text().splitlines()]
    # While it stopped it refused with BUSY only; nothing failed otherwise.
    assert {line["code"] for line in lines if line["what"] == "failed call"} <= {"busy"}
    assert [line["what"] for line in lines].count("stopped") == ROUNDS + 1
