"""Imports point down the layers, and no stage imports another."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import hub

SOURCE = Path(hub.__file__).parent

STAGES = {"decode", "authorise", "resolve", "record", "respond", "disclose"}

LAYERS = [
    {"errors", "limits", "times", "turns"},
    {"messages", "_core", "_pages", "_hash", "_runs", "_proofs", "_walk", "_asked", "_deliver", "_small", "_wire",
     "keys", "workers"},
    {"variants"},
    {"folding"},
    {"sealed", "periods", "payloads", "permits", "pseudonyms", "several"},
    {"attributes", "mislinks"},
    {"snapshot"},
    {"store", "runs"},
    {"dayfilters"},
    {"rundir"},
    {"rundue", "runcheck"},
    {"runmerge"},
    {"merger"},
    {"aliases", "catalog", "tlog", "flags"},
    {"persons", "successions", "additions", "batch", "small", "kept", "holders", "wanted", "inbox", "payloadstore",
     "notices"},
    {"deaths", "tableedits", "hugepages"},
    {"acquire", "reissue", "linkedits", "requests", "requestgroups", "bodies", "log", "erasures"},
    {"append", "identifiers", "uses", "history", "confidential", "holds", "held", "tail", "asked", "askedrows"},
    {"claims"},
    {"tickets"},
    {"claiming", "ticketdelivery"},
    {"deliver"},
    {"exchange"},
    {"handles", "events"},
    {"askedlog"},
    {"marks"},
    {"screen"},
    {"group", "rowgroup"},
    {"withholding", "proxystate"},
    {"lately", "corrections", "releases", "proxies", "consents", "relink", "counter", "liferecords", "flagput", "blast",
     "mislinkstate"},
    {"merging", "dying", "succeeding", "breach"},
    {"markcheck", "flagcheck", "linkcheck", "inboxcheck", "identifiercheck", "proxycheck", "noticecheck",
     "mislinkcheck", "lifecheck"},
    {"verify", "retain"},
    STAGES | {"locate"},
    {"gatherparts", "ahead"},
    {"gatherrows"},
    {"gather", "acts", "alerting", "filing", "keeping", "showing", "flagging", "lives", "locating", "payloadkeys",
     "releasing", "consenting", "identifying", "linking", "proxying", "countering"},
    {"personacts", "suspending"},
    {"send", "ends"},
    {"notify", "push", "collect", "provide", "lapse", "answers", "delivery"},
    {"serving"},
    {"arrivals", "update"},
    {"exchanging", "copies", "sending"},
    {"mislink"},
    {"mislinking"},
    {"hub"},
    {"wire"},
    {"http"},
    {"server", "client", "aio"},
    {"portal"},
    {"files", "tables", "columns", "holderfile", "peoplefile", "register", "sentfile", "identifierfile", "deathfile"},
    {"agency"},
    {"desk"},
    {"commands", "cli", "demo", "trial", "bench", "__main__"},
]


def layer_of(name: str) -> int:
    for number, names in enumerate(LAYERS):
        if name in names:
            return number
    raise AssertionError(f"module {name} has no layer: enter it in LAYERS")


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: expected absolute imports"
            if node.module == "hub":
                found |= {alias.name for alias in node.names}
            elif node.module and node.module.startswith("hub."):
                found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("hub.")}
    return found


def modules() -> list[Path]:
    return [path for path in sorted(SOURCE.rglob("*.py")) if path.parent != SOURCE or path.name != "__init__.py"]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_down(path: Path) -> None:
    own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    for name in imports_of(path):
        known = any(name in names for names in LAYERS)
        if not known:
            # A public name of the package, as callers use it: only above the hub itself.
            assert layer_of(own) > layer_of("hub"), f"{own} imports hub.{name}"
        elif name != own:
            assert layer_of(name) <= layer_of(own), f"{own} imports {name}"
            assert not (own in STAGES and name in STAGES), f"stage {own} imports stage {name}"


def test_every_stage_says_which_it_is() -> None:
    stages = ["decode", "authorise", "resolve", "record", "respond", "disclose"]
    for number, stage in enumerate(stages, 1):
        assert (SOURCE / f"{stage}.py").read_text(encoding="utf-8").startswith(f'"""Stage {number} of 6: ')


def test_an_auditor_needs_nothing_of_the_writer() -> None:
    allowed = {
        "check.py": {"hub.errors", "hub.tlog.entry", "hub.tlog.verify"},
        "verify.py": {"hub.errors", "hub.tlog.entry"},
        "entry.py": {"hub.errors"},
    }
    outside = {"cryptography", "msgspec"} | sys.stdlib_module_names
    for name, own in allowed.items():
        for node in ast.walk(ast.parse((SOURCE / "tlog" / name).read_text(encoding="utf-8"))):
            modules = []
            if isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            elif isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            for module in modules:
                assert module in own or module.split(".")[0] in outside, f"tlog/{name} imports {module}"
