"""The portal's certificate inquires for one citizen's own data and for nothing else, whatever the catalog allows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from served import Network, Served

import hub
from hub.messages import Status
from hub.wire.faults import AccessError

OWN = files("hub.portal").joinpath("own")
TOWN = "131016"
CODES = [f"{10**9 + n:011}" for n in range(3)]
# As if an operator had let the portal ask as an agency does, by mistake.
WRONG = """basis,row,article,requester,law,affair,procedure,provider,kind,detail,roles
own,1,1,ポータル(本人の求め),誤り,誤り,誤り,市町村長,地方税,市町村民税,本人
"""


class World:
    def __init__(self, folder: Path) -> None:
        self.h = hub.open(folder / "hub", create=True)
        catalog = self.h.catalog.import_table(OWN.joinpath("classes.csv").read_bytes(), "classes")
        self.h.load_catalog(catalog.import_rules(OWN.joinpath("rules.csv").read_bytes()).import_rules(WRONG.encode()))
        self.mine = self.h.acquire("portal", CODES).aliases
        self.h.acquire(TOWN, CODES)
        network = Network(folder / "network")
        self.security = folder / "security.log"
        config = network.config(["portal", "nenkin"], security_log=str(self.security))
        self.served = Served(self.h, config)
        self.r = network.connect(self.served)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.r.close()
    made.served.stop()
    made.h.close()


def question(procedure: str, request_id: str, item: str = "市町村民税") -> hub.Inquiry:
    return hub.Inquiry(
        requester="portal", procedure=procedure, items=(item,), role="本人", section="わたしの情報",
        request_id=request_id,
    )  # fmt: skip


def size(world: World) -> int:
    return int(world.h.checkpoint().split("\n")[1])


def refusals(world: World) -> list[dict[str, str]]:
    lines = [json.loads(line) for line in world.security.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line["what"] == "arguments refused"]


def test_own_data_of_one_person_is_asked_for(world: World) -> None:
    answer = world.r.inquire(question("self/1/附則6条4項", "a"), world.mine[:1], TOWN)
    assert answer.status.tolist() == [Status.OK]
    assert refusals(world) == []


@pytest.mark.parametrize("procedure", ["own/1/1", "19-8/73/75.3", "self", "nothing"])
def test_another_procedure_is_refused_at_the_server_and_recorded_nowhere_but_in_the_security_log(
    world: World, procedure: str
) -> None:
    before = size(world)
    for turn in range(2):
        with pytest.raises(AccessError, match="procedure: expected one of self/ for the portal"):
            world.r.inquire(question(procedure, f"b{turn}"), world.mine[:1], TOWN)
    # Progress makes a call go to a thread, many rows make it bulk.
    with pytest.raises(AccessError):
        world.r.inquire(question(procedure, "c"), world.mine[:1], TOWN, progress=lambda rows: None)
    with pytest.raises(AccessError):
        world.r.inquire(question(procedure, "d"), np.tile(world.mine, (4_000, 1)), TOWN)
    assert size(world) == before
    assert [line["institution"] for line in refusals(world)] == ["portal"] * 4


@pytest.mark.parametrize("rows", [0, 2])
def test_own_data_of_nobody_or_of_two_is_refused(world: World, rows: int) -> None:
    before = size(world)
    with pytest.raises(AccessError, match="aliases: expected one row for the portal"):
        world.r.inquire(question("self/1/附則6条4項", "e"), world.mine[:rows], TOWN)
    assert size(world) == before


def test_whoever_has_the_folder_is_bound_by_the_catalog_alone(world: World) -> None:
    assert world.h.inquire(question("own/1/1", "f"), world.mine[:1], TOWN).status.tolist() == [Status.OK]
