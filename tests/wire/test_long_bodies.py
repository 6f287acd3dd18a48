"""Bodies with long columns: the same bytes as msgspec's encoder makes, made and counted in pieces."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import numpy as np
import pytest

from hub.messages import Receipt
from hub.wire.ledger import COUNTED_ROWS, REASONS, STATUSES, count_outcomes
from hub.wire.packing import LONG_BYTES, Providers, Rows, encode_body
from hub.wire.results import AnswerBody

RANDOM = np.random.default_rng(1)
PLAIN = msgspec.msgpack.Encoder()


class Asked(msgspec.Struct):
    day: dt.date
    aliases: memoryview
    providers: Providers
    several: list[Any]


def column(size: int) -> memoryview:
    return memoryview(RANDOM.bytes(size))


def answer(rows: int) -> AnswerBody:
    receipt = Receipt(request_id="a", rows=rows, received_at=1)
    return AnswerBody(column(rows), column(4 * rows), column(rows), receipt, {3: ("nenkin", "131016")})


@pytest.mark.parametrize(
    "rows", [0, 1, LONG_BYTES // 4 - 1, LONG_BYTES // 4, LONG_BYTES - 1, LONG_BYTES, 3 * LONG_BYTES + 1]
)
def test_an_answer_is_encoded_as_msgspec_does_it(rows: int) -> None:
    body = answer(rows)
    assert bytes(encode_body(body)) == PLAIN.encode(body)


@pytest.mark.parametrize("size", [LONG_BYTES - 1, LONG_BYTES])
def test_long_columns_are_found_wherever_they_stand(size: int) -> None:
    data = column(size)
    several = [Rows(data, column(3)), Rows(column(5), data), 7, bytes(data)]
    body = Asked(dt.date(2026, 11, 29), data, Providers(["131016"], data), several)
    assert bytes(encode_body(body)) == PLAIN.encode(body)
    assert bytes(encode_body([body] * 65)) == PLAIN.encode([body] * 65)
    assert bytes(encode_body(data)) == PLAIN.encode(data)


def test_others_get_their_turn_behind_each_piece() -> None:
    rests: list[int] = []
    encode_body(answer(2 * LONG_BYTES + 1), lambda: rests.append(1))
    # Two columns of one byte a row, one of four.
    assert len(rests) == 3 + 9 + 3
    encode_body(answer(LONG_BYTES // 4 - 1), lambda: rests.append(1))
    assert len(rests) == 15


@pytest.mark.parametrize(("rows", "pieces"), [(0, 0), (1, 0), (COUNTED_ROWS, 0), (COUNTED_ROWS + 1, 2)])
def test_outcomes_are_counted_in_pieces(rows: int, pieces: int) -> None:
    rests: list[int] = []
    status = RANDOM.integers(0, STATUSES, rows, dtype=np.uint8)
    reason = RANDOM.integers(0, REASONS, rows, dtype=np.uint8)
    statuses, reasons = count_outcomes(status, reason, lambda: rests.append(1))
    assert statuses == [int((status == one).sum()) for one in range(STATUSES)]
    assert reasons == [int((reason == one).sum()) for one in range(REASONS)]
    assert len(rests) == pieces
