"""What clerks ask by hand comes into the agency's own copy, and comparing three copies finds nothing missing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from deskworld import ALONE, DeskWorld
from portalworld import text_of
from served import Network

import hub.agency
from hub.agency.compare import compare
from hub.cli import main
from hub.desk.book import read_asked
from hub.errors import StorageError
from hub.messages import Flag, Status
from parties import Parties


@pytest.fixture
def world(tmp_path: Path, network: Network) -> Iterator[DeskWorld]:
    """A desk whose people stand in an agency's folder, ``town``."""
    with Parties(tmp_path / "hub") as parties:
        with hub.agency.open(tmp_path / "town", institution=parties.town, create=True) as agency:
            agency.link([f"R-{n}" for n in range(6)], np.ascontiguousarray(parties.known))
        made = DeskWorld(tmp_path, network, parties, agency=tmp_path / "town")
        yield made
        made.stop()


def adopt(world: DeskWorld, capsys: pytest.CaptureFixture[str], book: str | None = None) -> tuple[int, str]:
    """``hub agency adopt`` over the wire, with the town's certificate."""
    client = world.network.client
    world.desk.residents.close()
    status = main([
        "agency", "adopt", str(world.folder / "town"), world.served.address, "--book", book or world.config.book,
        "--cert", client.cert, "--key", client.key, "--ca", world.network.authority.ca,
    ])  # fmt: skip
    told = capsys.readouterr()
    return status, told.out + told.err


def compared(world: DeskWorld) -> list[str]:
    # One process may not have a folder open twice: the desk has it for its people, and gives it back.
    world.desk.residents.close()
    with hub.agency.open(world.folder / "town", readonly=True) as agency:
        return [str(one) for one in compare(world.h, requester=agency).differences]


def test_questions_by_hand_are_in_the_own_copy_and_agree_with_the_hubs(
    world: DeskWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    with world.clerk("佐藤") as clerk:
        answered = world.ask_alone(clerk, 0)
        world.answer(msgspec.msgpack.encode({"市町村民税": {"課税標準額": 1}}))
        assert "提供あり" in text_of(clerk.get(answered).text)
        world.ask_alone(clerk, 1)
        world.parties.clock.now += 5
        # To the requester all who wait look alike.
        world.h.flag(world.other, world.others[2:3], Flag.MANUAL)
        world.ask_alone(clerk, 2)
        world.make(clerk, 3)
    with world.clerk("田中") as other:
        world.ask_alone(other, 4)
    assert len(compared(world)) == 4, "until then they are missing"
    assert adopt(world, capsys) == (0, "4 questions by hand, 4 of them new\n")
    assert compared(world) == []
    assert adopt(world, capsys) == (0, "4 questions by hand, 0 of them new\n")
    # What came of one since is told with the next time.
    world.answer()
    assert adopt(world, capsys)[0] == 0
    assert compared(world) == []
    with hub.agency.open(world.folder / "town", readonly=True) as agency:
        assert agency.procedures_asked() == {ALONE}


def test_a_wrong_line_of_the_own_copy_is_found(world: DeskWorld, capsys: pytest.CaptureFixture[str]) -> None:
    with world.clerk("佐藤") as clerk:
        world.ask_alone(clerk, 0)
    (line,) = read_asked(world.config.book)
    assert (line.done_at, line.detail["status"]) == (int(world.parties.clock.now), Status.OK)
    world.desk.book.took(line, int(Status.DENIED), 3, int(world.parties.clock.now))
    assert adopt(world, capsys)[0] == 0
    (found,) = compared(world)
    assert "outcome" in found or "status" in found or "differs" in found


def test_what_is_no_book_is_refused_and_nothing_is_made_there(
    world: DeskWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere, other = str(world.folder / "nowhere"), str(world.folder / "other")
    Path(other).write_text("no book", encoding="utf-8")
    for book in (nowhere, other):
        status, told = adopt(world, capsys, book)
        assert (status, told.count("\n"), told.startswith("hub agency adopt: ") or "book" in told) == (3, 1, True)
        with pytest.raises(StorageError, match="book: cannot read"):
            read_asked(book)
    assert not os.path.exists(nowhere)
