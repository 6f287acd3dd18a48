"""The portal: pages of 25 and 100 records a second, the first page's bytes, 10,000 records with proofs, memory."""

from __future__ import annotations

import datetime as dt
import importlib.util
import re
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from hub.bench.log import Log, pension_inquiry
from hub.bench.run import Run
from hub.bench.served import Credentials, ServerProcess
from hub.bench.stages.history import millions
from hub.bench.wireload import memory_of
from hub.bench.world import REQUESTER, World
from hub.tlog.verify import verify_proof

if TYPE_CHECKING:
    from hub.bench.portalscene import PortalProcess, Scene

NEEDED = ("litestar", "jinja2", "uvicorn", "authlib", "joserfc", "httpx", "reportlab")

PERSONS = 1_000_000
"""Of whom the log is, at most: a page costs the same whoever else there is."""
RECORDS = 20_000_000
"""In the log, unless ``--records`` says another number."""
PAGES = {"portal: pages": 100, "portal: pages of 25": 25}
"""Cases, and records on a page."""
FLOOR = {100: 400, 25: 1_000}
PEOPLE, PEOPLE_QUICK = 200, 20
SECONDS, SECONDS_QUICK = 5.0, 0.4
RATE_MAX, BARE_RATE_MAX = 4_000, 20_000
"""So many pages a second are prepared, of the portal and of its limit."""
SAVED, SAVED_QUICK, SAVED_INQUIRIES = 10_000, 120, 40
PROOFS_CHECKED = 50


def run(bench: Run) -> None:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        bench.leave_out(f"portal: {missing[0]} is not installed (the extra portal)")
        return
    # What it imports is there now.
    from hub.bench.portalscene import Scene, reader_of

    quick = bench.options.quick
    with bench.fresh_world("portal", min(bench.options.persons, PERSONS)) as world:
        rows = bench.options.batch_rows if bench.options.persons <= PERSONS else PERSONS
        batches = bench.options.batches if quick or bench.options.records else -(-RECORDS // rows)
        log = Log(world, rows=rows, batches=batches)
        log.build(bench.progress, bench.truth)
        sizes = tuple(PAGES.values())
        saved = fill_one(world, log, SAVED_QUICK if quick else SAVED)
        withhold_one(world)
        people = [*log.frequent[: PEOPLE_QUICK if quick else PEOPLE].tolist(), saved]
        readers = [reader_of(world.hub, world.everybody[who].tobytes(), sizes) for who in people]
        checkpoint = int(world.hub.checkpoint().splitlines()[1])
        key = world.hub.verifier_key
        world.hub.close()
        bench.notes.append(f"portal: the log has {checkpoint:,} records; a row is a page; hub, portal and load share "
                           f"the machine; the portal speaks HTTP, as behind a proxy, to the hub TLS")  # fmt: skip
        folder = bench.folder / "portal-files"
        folder.mkdir()
        credentials = Credentials(folder / "certificates")
        server = ServerProcess(world.folder, credentials, ["portal"])
        scene = Scene(bench, folder, server, credentials, readers)
        try:
            for case, on_page in PAGES.items():
                with scene.portal(on_page) as (portal, cookies):
                    measure_pages(scene, case, portal, cookies[:-1])
                    if on_page == PAGES["portal: pages of 25"]:
                        measure_first(scene, portal, cookies[0])
                        measure_saving(scene, portal, cookies[-1], key, checkpoint)
                        measure_memory(scene, portal)
        finally:
            server.close()
        bench.results.add(f"portal: log of {millions(checkpoint)}M records", "rows", checkpoint)
    bench.notes.append("portal: MinLog2 (Denmark), as published and not measured here: 37 look-ups/s, p95 0.8 s")


def fill_one(world: World, log: Log, records: int) -> int:
    """Let one person be asked about so often, in a few inquiries that are about others too; returns which."""
    person = next(n for n in range(world.persons) if n not in set(log.frequent.tolist()))
    random = np.random.default_rng([world.seed, 77])
    each = -(-records // SAVED_INQUIRIES)
    for number in range(SAVED_INQUIRIES):
        persons = random.integers(0, world.persons, each * 10, dtype=np.uint32)
        persons[random.choice(len(persons), each, replace=False)] = person
        inquiry = pension_inquiry(f"bench-portal-{number}")
        world.hub.inquire(inquiry, world.requester[persons], world.towns[world.home_town[persons]])
    return person


def withhold_one(world: World) -> None:
    """Somewhere a record is withheld, as in life: from then on histories leave at fixed moments, for everybody."""
    handle, _ = world.hub.handles(REQUESTER, world.requester[0], limit=1)[0]
    world.hub.withhold(handle, "bench", dt.date(2099, 1, 1), institution=REQUESTER)


def measure_pages(scene: Scene, case: str, portal: PortalProcess, cookies: list[str]) -> None:
    """As many pages as leave, then at half that rate, and at half of what there must be."""
    seconds = SECONDS_QUICK if scene.bench.options.quick else SECONDS
    count = int(seconds * RATE_MAX)
    scene.load(f"{case} first", portal, cookies, count, seconds / 5)
    rate = scene.load(case, portal, cookies, count, seconds).rate
    scene.measure_bare(case, portal, cookies[0], int(seconds * BARE_RATE_MAX), seconds)
    half = {f"{case} half load": rate / 2}
    if not scene.bench.options.quick:
        half[f"{case} {FLOOR[portal.rows] // 2}/s"] = FLOOR[portal.rows] / 2
        measure_wrk(scene, case, portal, cookies, seconds)
    for name, at in half.items():
        scene.load(name, portal, cookies, int(seconds * at) + 1, seconds, rate=at)


def measure_wrk(scene: Scene, case: str, portal: PortalProcess, cookies: list[str], seconds: float) -> None:
    """The same by a load generator that is not ours, where it is installed."""
    if shutil.which("wrk") is None:
        scene.bench.leave_out(f"{case} by wrk: wrk is not installed")
        return
    scene.bench.progress.step(f"{case} by wrk")
    script = scene.folder / f"wrk-{portal.rows}.lua"
    listed = ", ".join(msgspec.json.encode(one).decode() for one in cookies)
    script.write_text(
        f"local cookies = {{{listed}}}\nlocal n = 0\n"
        "request = function()\n  n = n % #cookies + 1\n"
        '  return wrk.format("GET", "/history", {["Cookie"] = cookies[n], ["Accept-Encoding"] = "gzip", '
        '["Accept-Language"] = "ja"})\nend\n'
    )
    done = subprocess.run(
        ["wrk", "-t1", "-c64", f"-d{int(seconds)}s", "--latency", "-s", str(script), portal.address + "/"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    found = re.search(r"Requests/sec: *([\d.]+)", done.stdout)
    if found is None or "Non-2xx" in done.stdout:
        scene.bench.truth.problems.append(f"{case} by wrk: expected pages, got errors")
    else:
        scene.bench.results.add(f"{case} by wrk", "rows_per_s", float(found[1]))


def measure_first(scene: Scene, portal: PortalProcess, cookie: str) -> None:
    """What a browser that was never here loads before the first page is complete."""
    bench, case = scene.bench, "portal: first page"
    bench.progress.step(case)
    headers = {"Cookie": cookie, "Accept-Encoding": "gzip, deflate, br, zstd"}
    import httpx  # Of the extra portal, without which the bench runs.

    with httpx.Client(base_url=portal.address, headers=headers, trust_env=False) as browser:
        parts = ["/history", *re.findall(r'(?:href|src)="(/static/[^"]+)"', browser.get("/history").text)]
        total = 0
        for path in dict.fromkeys(parts):
            with browser.stream("GET", path) as answer:
                size = sum(len(piece) for piece in answer.iter_raw())
                head = sum(len(name) + len(value) + 4 for name, value in answer.headers.raw)
            total += size + head
            if path == "/history":
                bench.results.add("portal: first page itself", "bytes", size + head)
    bench.results.add(case, "bytes", total)


def measure_saving(scene: Scene, portal: PortalProcess, cookie: str, key: str, tree_size: int) -> None:
    """A whole history as JSON with every proof, of somebody who was asked about very often."""
    quick = scene.bench.options.quick
    case = f"portal: save {SAVED_QUICK if quick else SAVED:,} records with proofs"
    scene.bench.progress.step(case)
    seconds, content = [], b""
    import httpx

    with httpx.Client(base_url=portal.address, headers={"Cookie": cookie}, timeout=60, trust_env=False) as browser:
        for _ in range(2 if quick else 4):
            begin = time.perf_counter()
            content = browser.get("/save/history.json").content
            seconds.append(time.perf_counter() - begin)
        own = bytes.fromhex(browser.get("/save/disclosure.key").text.strip())
    scene.bench.results.add_latency(case, seconds[1:])
    bare = scene.bench.limits.of_proving(case, SAVED_QUICK if quick else SAVED, tree_size)
    scene.bench.results.compare(case, limit=bare)
    found = msgspec.json.decode(content)["records"]
    truth = scene.bench.truth
    least = SAVED_QUICK if quick else SAVED
    truth.check_equal(case, "records", len({one["index"] for one in found}) >= least, True)
    for one in found[:: max(1, len(found) // PROOFS_CHECKED)]:
        proof = verify_proof(one["proof"].encode(), key, disclosure_key=own)
        truth.check_equal(case, "proof", proof.index == one["index"], True)


def measure_memory(scene: Scene, portal: PortalProcess) -> None:
    """The portal's process, when all of that is done."""
    found = memory_of(portal.pid)
    if found is not None:
        scene.bench.results.add("portal: process memory", "bytes", found[0])
