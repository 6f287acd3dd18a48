"""Imports point down the layers, none comes back to where it began, and no stage imports another."""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

import hub

SOURCE = Path(hub.__file__).parent

STAGES = {"decode", "authorise", "resolve", "record", "respond", "disclose"}

NATIVE = {
    "_asked", "_blocks", "_bodies", "_columns", "_core", "_deliver", "_hash", "_pages", "_proofs", "_runs", "_small",
    "_walk", "_wire",
}

# A package, or a module of it that stands elsewhere than the rest; within one, imports need only not go round.
LAYERS = [
    {"errors", "limits"},
    {"messages"} | NATIVE,
    {"storage", "catalog"},
    {"store", "aliases", "tlog", "provision.inbox"},
    {"runs", "requests", "persons"},
    {"records", "acquisition"},
    {"history", "persons.identifiers", "provision.tail"},
    {"protection", "provision.deliver"},
    STAGES | {"exchange", "persons.liferecords", "persons.locate"},
    {"requests.ahead", "singles", "provision", "citizens", "persons.merging", "persons.dying"},
    {"sending", "persons.succeeding"},
    {"mislinks"},
    {"checks"},
    {"verify"},
    {"methods"},
    {"hub"},
    {"wire"},
    {"http"},
    {"server", "client", "aio"},
    {"portal"},
    {"files"},
    {"agency"},
    {"desk"},
    {"commands", "cli", "demo", "bench", "__main__"},
]

LISTED = {name for names in LAYERS for name in names if "." in name}
"""Modules that stand elsewhere than the rest of their package."""

THEMES = [
    "acquisition", "checks", "citizens", "files", "methods", "mislinks", "persons", "protection", "provision",
    "records", "requests", "runs", "sending", "singles", "storage",
]


def layer_of(name: str) -> int:
    """The layer of a module, as ``persons.dying`` or ``hub``: its own, or else that of its package."""
    for entry in (name, name.partition(".")[0]):
        for number, names in enumerate(LAYERS):
            if entry in names:
                return number
    raise AssertionError(f"module {name} has no layer: enter it in LAYERS")


def modules() -> list[Path]:
    return [path for path in sorted(SOURCE.rglob("*.py")) if path.parent != SOURCE or path.name != "__init__.py"]


def name_of(path: Path) -> str:
    """``persons.dying``; of a package its own name."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path) for path in modules()} | NATIVE


@cache
def imports_of(path: Path) -> frozenset[str]:
    """The modules that one imports, without ``hub.``; a public name of the package itself as that name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: expected absolute imports"
            if node.module == "hub" or (node.module or "").startswith("hub."):
                module = (node.module or "")[4:]
                for alias in node.names:
                    name = f"{module}.{alias.name}".lstrip(".")
                    found.add(name if name in NAMES or not module else module)
        elif isinstance(node, ast.Import):
            found |= {alias.name[4:] for alias in node.names if alias.name.startswith("hub.")}
    return frozenset(found)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_down(path: Path) -> None:
    own = name_of(path)
    for name in imports_of(path):
        if name not in NAMES:
            # A public name of the package, as callers use it: only above the hub itself.
            assert layer_of(own) > layer_of("hub"), f"{own} imports hub.{name}"
        elif name.partition(".")[0] != own.partition(".")[0] or name in LISTED or own in LISTED:
            assert layer_of(name) <= layer_of(own), f"{own} imports {name}"
            assert not (own in STAGES and name in STAGES), f"stage {own} imports stage {name}"


def test_what_is_listed_is_there() -> None:
    entries = [name for names in LAYERS for name in names]
    assert len(entries) == len(set(entries))
    assert set(entries) - {"__main__"} <= NAMES
    assert {name.partition(".")[0] for name in NAMES} <= set(entries)


def test_no_import_goes_round() -> None:
    paths = {name_of(path): path for path in modules()}
    themes = {name for name in paths if "." not in name or name.partition(".")[0] in THEMES}
    done: set[str] = set()

    def follow(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, f"imports go round: {' -> '.join([*way, name])}"
        if name in done:
            return
        for one in imports_of(paths[name]) & themes:
            follow(one, (*way, name))
        done.add(name)

    for name in sorted(themes):
        follow(name, ())


@pytest.mark.parametrize("theme", THEMES)
def test_a_package_says_what_each_of_its_modules_does(theme: str) -> None:
    text = (SOURCE / theme / "__init__.py").read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert len(tree.body) == 1, "a docstring and nothing else: whoever imports one module waits for no other"
    told = ast.get_docstring(tree) or ""
    missing = [path.stem for path in sorted((SOURCE / theme).glob("[a-z]*.py")) if f"``{path.stem}``" not in told]
    assert not missing, f"hub/{theme}/__init__.py does not name {', '.join(missing)}"


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
