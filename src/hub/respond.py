"""Stage 5 of 6: the stored state of a request -> the answer, in the caller's order.

An answer is always put together from what is stored, also the first time's: who asks again gets the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from hub.errors import StorageError
from hub.messages import Answer, Receipt, Status
from hub.requests.several import codes_of
from hub.requests.state import NO_RECORD_BIT, Request, chunk_state, read_lists
from hub.storage.snapshot import Snapshot
from hub.storage.turns import no_rest


def respond(
    snapshot: Snapshot,
    name: str,
    key: bytes,
    request: Request,
    request_id: str,
    small: bytes | None = None,
    *,
    codes: Mapping[int, str] | None = None,
    rest: Callable[[], None] = no_rest,
) -> Answer:
    """Put together the answer of a request whose chunks are all durable.

    Args:
        small: of a small request the state of its only chunk, as it was found.
        codes: institution number -> code, where rows may name classes. rest: called behind each chunk of several.

    Raises:
        StorageError: a chunk is missing or damaged; nothing is answered.
    """
    # Chunk by chunk: over ten million rows at once others would wait for the interpreter.
    rules, reasons = np.array(request.rule, dtype=np.uint32), np.array(request.reason, dtype=np.uint8)
    status, reason = (np.empty(request.rows, dtype=np.uint8) for _ in range(2))
    rule = np.empty(request.rows, dtype=np.uint32)
    holders: dict[int, tuple[str, ...]] = {}
    for chunk in range(request.chunks):
        state = chunk_state(snapshot, name, key, request, chunk) if small is None else small
        if state is None:
            raise StorageError(f"request: expected {request.chunks} chunks, chunk {chunk} is missing", retry_safe=True)
        start, rows = chunk * request.chunk_rows, (len(state) - 8) // 5
        status[start : start + rows] = np.frombuffer(state, np.uint8, rows, 8) & (0xFF ^ NO_RECORD_BIT)
        decision = np.frombuffer(state, np.uint16, rows, 8 + rows)
        if rows and int(decision.max()) >= len(rules):
            raise StorageError("request: expected decisions of its table, got others")
        rule[start : start + rows] = rules.take(decision)
        reason[start : start + rows] = reasons.take(decision)
        if codes is not None:
            several = np.flatnonzero(status[start : start + rows] == Status.MULTIPLE).tolist()
            lists = read_lists(snapshot, name, key, chunk)
            if [one.row for one in lists] != several:
                raise StorageError(f"request: expected the holders of each such row of chunk {chunk}, got others")
            holders |= codes_of(lists, start, codes.__getitem__)
        if request.chunks > 1:
            rest()
    return Answer(
        status=status,
        rule=rule,
        reason=reason,
        receipt=Receipt(request_id=request_id, rows=request.rows, received_at=request.received_at),
        holders=holders,
    )


def respond_empty(request_id: str, received_at: int) -> Answer:
    """The answer to a batch without rows: nothing was recorded."""
    return Answer(
        status=np.empty(0, np.uint8),
        rule=np.empty(0, np.uint32),
        reason=np.empty(0, np.uint8),
        receipt=Receipt(request_id=request_id, rows=0, received_at=received_at),
    )
