"""The stages of the bench, one a file; each has a ``run`` and a first line that says what it measures."""

from __future__ import annotations

from collections.abc import Callable

from hub.bench.run import Run
from hub.bench.stages import (
    acquire,
    authorise,
    exchange,
    history,
    inquiry,
    prove,
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
    "verify": verify.run,
    "exchange": exchange.run,
    "wire": wire.run,
    "retention": retention.run,
}
"""In the order in which they run."""

ABOUT = {
    module.__name__.rpartition(".")[2]: (module.__doc__ or "").splitlines()[0]
    for module in (acquire, resolve, authorise, inquiry, record, prove, history, verify, exchange, wire, retention)
}
