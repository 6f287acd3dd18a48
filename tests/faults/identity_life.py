"""A life of identifiers and proxies that may be killed anywhere: each step as it is in a model, or not begun.

The process that works keeps a journal, whose disk is a good one: the model as it was acknowledged, and whether a step
was begun behind it. Whoever opens the folder later holds it against the journal.
"""

from __future__ import annotations

import copy
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import hub
from hub.citizens.proxystate import ProxyKind, ProxyState
from hub.messages import Acquisition, Identity, Kind

PEOPLE = 8
CODES = np.arange(PEOPLE, dtype=np.int64) + 90_000_000_000
START = 1_798_761_600
STEP_S = 1_000
"""Longer than what counts as one view of a proxy's."""

NAMESPACES = "namespace,name,issuer,relying,following\nserials,n,jlis,portal,portal\n"
STEPS = ("register", "renew", "revoke", "again", "grant", "view", "question", "confirm", "end")

Model = dict[str, Any]


def new_model() -> Model:
    """Nothing yet: identifiers (person, whether it ended, what took its place), proxies, records of each person."""
    records = {str(person): [0, 0, 0] for person in range(PEOPLE)}
    return {"number": 0, "begun": False, "ids": {}, "proxies": {}, "records": records}


class Clock:
    """A hub's clock, set by the number of the step."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self) -> float:
        return float(START + self.number * STEP_S)


CLOCK = Clock()


def step_of(model: Model) -> str:
    """The next step."""
    return STEPS[model["number"] % len(STEPS)]


def draw(model: Model, seed: int) -> list[Any]:
    """What the next step is about."""
    rng = random.Random(f"{seed}/{model['number']}")
    number, ids = model["number"], model["ids"]
    valid = sorted(name for name, (_, ended, _) in ids.items() if not ended)
    revoked = sorted(name for name, (_, ended, new) in ids.items() if ended and new is None)
    pairs = sorted(model["proxies"])
    match step_of(model):
        case "register":
            return [[f"{number}-{row}" * rng.randint(1, 5), rng.randrange(PEOPLE)] for row in range(rng.randint(2, 30))]
        case "renew":
            return [[name, f"{name[:20]}+{number}"] for name in rng.sample(valid, len(valid) // 3)]
        case "revoke":
            return rng.sample(valid, len(valid) // 4)
        case "again":
            return [[name, rng.randrange(PEOPLE)] for name in rng.sample(revoked, min(3, len(revoked)))]
        case "grant":
            every = [f"{a}-{b}" for a in range(PEOPLE) for b in range(PEOPLE) if a != b]
            return rng.sample([pair for pair in every if pair not in model["proxies"]], 1)
        case "view":
            acting = [pair for pair in pairs if model["proxies"][pair] == ProxyState.IN_FORCE]
            return rng.sample(acting, min(1, len(acting)))
        case "end":
            return rng.sample(pairs, 1 if len(pairs) > 4 else 0)
    return [rng.randrange(PEOPLE)]


def follow(model: Model, what: list[Any]) -> list[Model]:
    """The states through which a step leads, the last one is when it is done."""
    after = copy.deepcopy(model)
    ids, proxies, records = after["ids"], after["proxies"], after["records"]
    states = [after]
    match step_of(model):
        case "register":
            ids.update({name: [person, False, None] for name, person in what})
        case "renew":
            for old, new in what:
                ids[new] = [ids[old][0], False, None]
                ids[old] = [ids[old][0], True, new]
        case "revoke":
            ids.update({name: [ids[name][0], True, None] for name in what})
        case "again":
            between = copy.deepcopy(model)
            for name, person in what:
                del between["ids"][name]
                ids[name] = [person, False, None]
            states = [between, after]
        case "grant":
            proxies[what[0]] = int(ProxyState.IN_FORCE)
            records[what[0].split("-")[0]][0] += 1
        case "view":
            for pair in what:
                records[pair.split("-")[0]][2] += 1
        case "end":
            for pair in what:
                del proxies[pair]
                records[pair.split("-")[0]][1] += 1
        case step:
            state = ProxyState.TO_CONFIRM if step == "question" else ProxyState.IN_FORCE
            proxies.update({pair: int(state) for pair in proxies if int(pair.split("-")[0]) in what})
    return states


def perform(h: hub.Hub, model: Model, seed: int) -> None:
    """Do the next step, perhaps not for the first time."""
    CLOCK.number = model["number"]
    what, citizens = draw(model, seed), h.acquire("portal", CODES).aliases
    names = [one[0] for one in what] if what and isinstance(what[0], list) else what
    match step_of(model):
        case "register" | "again" as step:
            people = CODES[[person for _, person in what]] if what else CODES[:0]
            h.register_identifiers("serials", "jlis", people, names, again=step == "again")
        case "renew":
            made = h.renew_identifiers("serials", "jlis", names, [new for _, new in what]).status.tolist()
            assert set(made) <= {Acquisition.CREATED} or set(made) <= {Acquisition.ALREADY}
        case "revoke":
            assert h.revoke_identifiers("serials", "jlis", names) in (0, len(what))
        case "question":
            h.question_proxies(citizens[what[0]])
        case "confirm":
            h.confirm_proxies(citizens[what[0]])
        case step:
            for pair in what:
                person, agent = map(int, pair.split("-"))
                if step == "grant":
                    h.grant_proxy(citizens[person], citizens[agent], ProxyKind.VOLUNTARY, label=pair, called=pair)
                elif step == "view":
                    own = next(one for one in h.principals(citizens[agent]) if one.label == pair)
                    h.proxy_history(citizens[agent], own.handle)
                else:
                    for one in h.proxies(citizens[person]):
                        if one.label == pair:
                            assert h.revoke_proxy(citizens[person], one.handle)


def observe(h: hub.Hub, model: Model) -> Model:
    """What the folder says of everything that the model names."""
    citizens = h.acquire("portal", CODES).aliases
    who = {alias.tobytes(): person for person, alias in enumerate(citizens)}
    names = sorted(model["ids"])
    found = h.identify("portal", "serials", names)
    proxies, records = {}, {}
    for person in range(PEOPLE):
        proxies.update({one.label: int(one.state) for one in h.proxies(citizens[person])})
        kinds = [record.kind for record in h.history(citizens[person], limit=1_000).records]
        records[str(person)] = [
            kinds.count(kind) for kind in (Kind.PROXY_GRANTED, Kind.PROXY_REVOKED, Kind.PROXY_VIEW)
        ]
    acting = [one.label for agent in range(PEOPLE) for one in h.principals(citizens[agent])]
    return {
        "ids": {
            name: [int(status), who.get(alias.tobytes())]
            for name, status, alias in zip(names, found.status, found.aliases, strict=True)
        },
        "proxies": proxies,
        "acting": sorted(acting),
        "records": records,
    }


def expect(model: Model, names: list[str]) -> Model:
    """What a folder in a model's state says."""
    ids = {}
    for name in names:
        if name not in model["ids"]:
            ids[name] = [int(Identity.UNKNOWN), None]
            continue
        person, ended, new = model["ids"][name]
        # A chain leads as far as it is one person's: what was registered again meanwhile may be another's.
        end = model["ids"][name]
        while end is not None and end[0] == person and end[2] is not None:
            end = model["ids"].get(end[2])
        leads = end is not None and end[0] == person and not end[1]
        if not ended:
            ids[name] = [int(Identity.VALID), person]
        else:
            ids[name] = [int(Identity.REPLACED), person] if new and leads else [int(Identity.REVOKED), None]
    return {
        "ids": ids,
        "proxies": model["proxies"],
        "acting": sorted(pair for pair, state in model["proxies"].items() if state == ProxyState.IN_FORCE),
        "records": model["records"],
    }


def open_folder(folder: Path | str) -> hub.Hub:
    """Open the hub of a life, making it where it lacks."""
    h = hub.open(folder, create=True, clock=CLOCK)
    if not len(h.catalog.namespaces):
        h.load_catalog(h.catalog.import_table(NAMESPACES))
    return h


def read_journal(path: Path) -> Model:
    """The model of a journal, a new one where there is none."""
    if not path.exists():
        return new_model()
    found: Model = json.loads(path.read_text())
    return found


def write_journal(path: Path, model: Model) -> None:
    """Write a journal, whole or not at all."""
    path.with_suffix(".new").write_text(json.dumps(model))
    os.replace(path.with_suffix(".new"), path)


def run_lives(
    path: Path, seed: int, stop: int | None, tell: Callable[[str], Any], attempt: Callable[..., Any]
) -> None:
    """Go on where the journal is, to ``stop`` or until killed; ``attempt`` does each step."""
    model = read_journal(path)
    while stop is None or model["number"] < stop:
        write_journal(path, model | {"begun": True})
        tell("started")
        attempt(lambda h, model=model: perform(h, model, seed))
        model = follow(model, draw(model, seed))[-1] | {"number": model["number"] + 1, "begun": False}
        write_journal(path, model)
        tell("done")


def check(h: hub.Hub, model: Model, seed: int) -> str:
    """Hold a folder against a journal; returns whether the step under way did ``nothing`` or was ``whole``.

    Raises:
        AssertionError: something that was told is lost, or a step is there in part.
    """
    CLOCK.number = model["number"]
    states = follow(model, draw(model, seed)) if model["begun"] else []
    found = observe(h, states[-1] if states else model)
    names = sorted(found["ids"])
    report = h.verify()
    assert report.ok, report.problems
    if not states:
        assert found == expect(model, names)
        return "acknowledged"
    at = [expect(one, names) for one in (model, *states)]
    assert found in at, "a step is there in part"
    return "nothing" if found == at[0] else "whole" if found == at[-1] else "between"
