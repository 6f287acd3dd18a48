"""One hub twice, as a folder and at an address, and the same command lines on both."""

from __future__ import annotations

import csv
import io
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from served import Network, Served

import hub
from hub.cli import main
from test_identifiers import NAMESPACES
from test_push import CLASSES, RULES

CITY, OTHER_CITY = "131016", "131024"
PERSONS = 12
QUESTION = ["--procedure", "19-8/73/75.3", "--item", "市町村民税", "--role", "納付義務者"]

_TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?(?: JST|\+\d\d:\d\d|Z)?")
_LONG = re.compile(r"[A-Za-z0-9+/=_-]{40,}")
_HEX = re.compile(r"\b[0-9a-f]{16,}\b")
_COUNT = re.compile(r"[0-9,]+(?= rows/s)|(?<=--since )[0-9]+")


class World:
    """What institutions know of twelve people, and a folder with a hub that does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "linkage"
        self.codes = [f"{10**9 + number:011}" for number in range(PERSONS)]
        with hub.open(self.folder, create=True) as h:
            catalog = h.catalog.import_table(CLASSES.encode(), "classes").import_rules(RULES.encode())
            h.load_catalog(catalog.import_table(NAMESPACES.encode()))
            self.nenkin, self.city, self.portal = (
                [bytes(alias).hex() for alias in h.acquire(code, self.codes).aliases]
                for code in ("nenkin", CITY, "portal")
            )
            self.own = {*self.nenkin, *self.city, *self.portal}

    def copy(self, folder: Path) -> None:
        """The same hub in ``folder/linkage``, with the head that stands beside it."""
        shutil.copytree(self.folder, folder / "linkage")
        for beside in self.folder.parent.glob("linkage.*"):
            shutil.copy(beside, folder)


class Desk:
    """Types commands in a folder of its own.

    Attributes:
        place: how it names the hub. told: every command, with status, output and errors, as they are compared.
    """

    def __init__(self, world: World, folder: Path, place: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
        self.w, self.folder, self.place = world, folder, place
        self._monkeypatch, self._capsys = monkeypatch, capsys
        self.told: list[tuple[Any, ...]] = []

    def run(self, *words: str, stdin: str = "") -> str:
        """Run a command, in which HUB is the place; what it printed."""
        self._monkeypatch.chdir(self.folder)
        self._monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        self._capsys.readouterr()
        status = main([self.place if word == "HUB" else word for word in words])
        out, err = self._capsys.readouterr()
        self.told.append((words[0], status, self._same(out), self._same(err)))
        return str(out)

    def write(self, name: str, header: str, *rows: str) -> str:
        (self.folder / name).write_text("".join(f"{row}\n" for row in (header, *rows)), encoding="utf-8")
        return name

    def read(self, name: str) -> list[dict[str, str]]:
        with (self.folder / name).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def files(self) -> dict[str, Any]:
        """Every file that commands wrote; lines in any order, since some are in that of random numbers."""
        found: dict[str, Any] = {}
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder)
            if path.is_file() and not name.parts[0].startswith(("linkage", "town")):
                if path.suffix == ".parquet":
                    found[str(name)] = path.read_bytes()
                else:
                    found[str(name)] = sorted(self._same(path.read_text(encoding="utf-8")).splitlines())
        return found

    def _same(self, text: str) -> str:
        """The text without what is another every time: moments, rates, cursors, handles, new aliases."""
        text = _COUNT.sub("<n>", _TIME.sub("<time>", text.replace(self.place, "HUB")))
        return _HEX.sub(lambda one: one[0] if one[0] in self.w.own else "<hex>", _LONG.sub("<long>", text))


@contextmanager
def two_desks(
    world: World, network: Network, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> Iterator[tuple[Desk, Desk]]:
    """At the folder, and at the address."""
    for name in ("here", "there", "there/desk"):
        (folder / name).mkdir()
    world.copy(folder / "here")
    world.copy(folder / "there")
    for name, value in (("CERT", network.client.cert), ("KEY", network.client.key), ("CA", network.authority.ca)):
        monkeypatch.setenv(f"HUB_{name}", value)
    with hub.open(folder / "there" / "linkage") as h:
        served = Served(h, network.config(["nenkin", "portal", "jlis", CITY, OTHER_CITY]))
        try:
            yield (
                Desk(world, folder / "here", "linkage", monkeypatch, capsys),
                Desk(world, folder / "there" / "desk", served.address, monkeypatch, capsys),
            )
        finally:
            served.stop()
