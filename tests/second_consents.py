"""The second reader's part for consents that were withdrawn or given again, from their module's byte table alone."""

from __future__ import annotations

import struct
from typing import Any

from second_basics import expect, sha256

SPLIT, WITHDRAWN, GIVEN = 14, 22, 23
"""Kinds of records."""


def name_of(procedure: str) -> bytes:
    return sha256(procedure.encode())[:16]


def read_consents(reader: Any, name: str) -> None:
    """What each person said last: (requester, name of the procedure) -> (procedure, whether withdrawn, when, clerk)."""
    reader.consents, by_requester = {}, {}
    for key, body in reader.opened(name):
        if key[:1] == b"c":
            requester, procedure, person = struct.unpack(">I16sI", key[1:])
            expect(len(body) == 1 and body[0] in (1, 2), "consent by requester")
            by_requester[person, requester, procedure] = body[0]
        else:
            expect(key[:1] == b"p" and len(key) == 25, "consent by person")
            person, requester, procedure = struct.unpack(">II16s", key[1:])
            said, withdrawn, at, clerk = reader.decrypt(name, 0, body)
            expect(name_of(said) == procedure and isinstance(withdrawn, bool), "consent")
            expect(person < reader.state["persons"] and requester in reader.institutions, "whose consent")
            reader.consents[person, requester, procedure] = said, withdrawn, at, clerk
    told = {place: 1 if said[1] else 2 for place, said in reader.consents.items()}
    expect(by_requester == told, "consents by requester as by person")


def check_consents(reader: Any) -> None:
    """What stands of each is the last that a record says of it, or a withdrawal by the split that parted two."""
    split = {one["times"][0] for one in reader.records if one and one["kind"] == SPLIT}
    said: dict[tuple[int, str, bytes], list[tuple[int, bool]]] = {}
    for one in reader.records:
        if one and one["kind"] in (WITHDRAWN, GIVEN):
            procedure, institution = one["shared"][4], one["shared"][14].rpartition("（")[2].removesuffix("）")
            expect(one["shared"][1] == name_of(procedure)[:8], "name of a consent")
            place = one["person"], institution, name_of(procedure)
            said.setdefault(place, []).append((one["times"][0], one["kind"] == WITHDRAWN))
    moments = {moment for some in said.values() for moment in some}
    for (person, number, name), (_, withdrawn, at, _) in reader.consents.items():
        mine = said.get((person, reader.institutions[number], name), [])
        expect(all(moment[0] <= at for moment in mine), "a record of a consent that stands nowhere")
        parted = withdrawn and at in split
        expect(parted or (at, withdrawn) in moments, "a consent without a record")
        expect(parted or not mine or mine[-1] == (at, withdrawn), "a consent as its record says")
    stand = {(person, reader.institutions[number], name) for person, number, name in reader.consents}
    expect(set(said) <= stand, "a record of a consent that stands nowhere")
