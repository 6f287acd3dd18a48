"""The stages of the bench, one a file; each has a ``run`` and a first line that says what it measures."""

from __future__ import annotations

from collections.abc import Callable

from hub.bench.run import Run
from hub.bench.stages import (
    acquire,
    agency,
    authorise,
    blast,
    exchange,
    history,
    identify,
    inquiry,
    links,
    lives,
    portal,
    prove,
    push,
    record,
    resolve,
    retention,
    verify,
    wire,
)

STAGES: dict[str, Callable[[Run], None]] = {
    "acquire": acquire.run,
    "resolve": resolve.run,
    "authorise": authorise.run,
    "inquiry": inquiry.run,
    "record": record.run,
    "prove": prove.run,
    "history": history.run,
    "blast": blast.run,
    "verify": verify.run,
    "exchange": exchange.run,
    "wire": wire.run,
    "portal": portal.run,
    "agency": agency.run,
    "push": push.run,
    "identify": identify.run,
    "links": links.run,
    "retention": retention.run,
    "lives": lives.run,
}
"""In the order in which they run."""

CANONICAL = frozenset({"acquire", "resolve", "authorise", "inquiry", "record", "prove", "history"})
"""What a run without names measures: the pension agency comes on line. It ends within 90 s on two cores."""

ON_REQUEST = frozenset(STAGES.keys() - CANONICAL)
"""Stages that are measured when named, or with ``all``."""

_MODULES = (
    acquire, resolve, authorise, inquiry, record, prove, history, blast, verify, exchange, wire, portal, agency, push,
    identify, links, retention, lives,
)  # fmt: skip
ABOUT = {module.__name__.rpartition(".")[2]: (module.__doc__ or "").splitlines()[0] for module in _MODULES}
