"""Records that were copied out under a legal hold: read with their proofs, and checked against the log."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from hub.catalog import Catalog
from hub.errors import RequestError, StorageError
from hub.messages import Kind, Record, Status, parties_of
from hub.records.holds import HoldKeys, HoldState, Piece, find_hold, read_holds, read_pieces
from hub.records.log import Log, StoredTree
from hub.store import Store
from hub.tlog.entry import HASH_BYTES, decode_shared, unpack_row
from hub.tlog.proof import Proof


class HeldRecord(NamedTuple):
    """A record under a legal hold.

    Attributes:
        record: as the citizen would have read it. proof: that it is in the log.
        operator, case: what only supervisors read.
    """

    record: Record
    proof: Proof
    operator: str | None
    case: str | None

    def __repr__(self) -> str:
        return "HeldRecord()"


def iterate_held(store: Store, log: Log, keys: HoldKeys, catalog: Catalog, number: int) -> Iterator[HeldRecord]:
    """What was copied out for a hold, in the order of the log.

    Raises:
        RequestError: no such hold, or its copies were shredded. StorageError: a copy is damaged, or is not in the log.
    """
    with store.snapshot() as snapshot:
        hold = find_hold(snapshot, number)
    if hold.state == HoldState.ENDED or not keys.exists(number):
        raise RequestError(f"hold {number}: expected one whose copies are there, got one that is over")
    return (one for piece in read_pieces(store, keys, number) for one in _prove_piece(store, log, catalog, piece))


def _prove_piece(store: Store, log: Log, catalog: Catalog, piece: Piece) -> list[HeldRecord]:
    found = []
    shared = [decode_shared(raw) for raw in piece.shared]
    for at, (index, decision) in enumerate(zip(piece.indexes, piece.decisions, strict=True)):
        salt, row = piece.salts[16 * at : 16 * at + 16], piece.rows[48 * at : 48 * at + 48]
        fields, own = shared[decision], unpack_row(row)
        gives, receives = parties_of(own.kind, catalog.code_by_number(own.provider), fields.requester)
        record = Record(
            kind=Kind(own.kind),
            requested_at=dt.datetime.fromtimestamp(own.requested_at, dt.UTC),
            provided_at=dt.datetime.fromtimestamp(own.provided_at, dt.UTC) if own.provided_at else None,
            requester=receives,
            on_behalf_of=fields.on_behalf_of,
            provider=gives,
            procedure=fields.procedure,
            items=fields.items,
            role=fields.role,
            section=fields.section,
            legal_basis=fields.legal_basis,
            outcome=Status(own.outcome),
            inquiry=fields.inquiry.hex(),
            index=index,
        )
        proof = Proof(index, [], checkpoint="", record=record, salt=salt, shared=piece.shared[decision], row=row)
        found.append(HeldRecord(record, proof, piece.operators[decision], piece.cases[at]))
    with store.snapshot() as snapshot:
        leaves = np.frombuffer(b"".join(one.proof.leaf for one in found), dtype=np.uint8).reshape(-1, HASH_BYTES)
        checkpoint, paths = log.prove(snapshot, piece.indexes, leaves)
    for one, path in zip(found, paths, strict=True):
        one.proof.checkpoint, one.proof.joined_path = checkpoint, path
    return found


def check_held(store: Store, keys: HoldKeys) -> None:
    """Compare every copy with the entries of the log, and every hold with what there is of it.

    Raises:
        StorageError: the first that does not fit is named.
    """
    with store.snapshot() as snapshot:
        holds = read_holds(snapshot)
    for hold in holds:
        if hold.state == HoldState.IN_FORCE and not keys.exists(hold.number):
            raise StorageError(f"hold {hold.number}: expected its key, found none")
        if hold.state == HoldState.IN_FORCE:
            _check_copies(store, keys, hold.number)
        elif hold.state == HoldState.ENDED:
            with store.snapshot() as snapshot:
                left = snapshot.items("held", hold.key, limit=1)
            if keys.exists(hold.number) or (left and left[0][0].startswith(hold.key)):
                raise StorageError(f"hold {hold.number}: expected its copies to be gone, found some")


def _check_copies(store: Store, keys: HoldKeys, number: int) -> None:
    for piece in read_pieces(store, keys, number):
        with store.snapshot() as snapshot:
            tree = StoredTree(snapshot, "", snapshot.state.records)
            for index, entry in zip(piece.indexes, piece.entries(), strict=True):
                if index >= tree.size or tree.entries(index, 1) != entry.tobytes():
                    raise StorageError(f"hold {number}: expected record {index} to be as in the log, got another")
