"""The gate as a program: real workers on both sides, what it says when a side is wrong, what an interrupt leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import hub
from hub.bench.gate.builds import digest_of, needs_of
from hub.bench.gate.command import main
from hub.bench.gate.stages import STAGES

ROOT = Path(__file__).parents[2]
PACKAGE = Path(hub.__file__).parent
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), *sys.path]), "PYTHONUNBUFFERED": "1"}

SMALL = ("--persons", "2000", "--seconds", "2")
"""One block, whatever the machine: the first always runs."""

Change = Callable[[Path], None]


class Tree:
    """A small repository of two commits, and builds of both that are there already: this package, changed or not."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cache = folder / "tree", folder / "cache"
        (self.folder / "src").mkdir(parents=True)
        shutil.copy(ROOT / "pyproject.toml", self.folder)
        (self.folder / "setup.py").write_text("raise SystemExit('error: no compiler here')\n")
        self.git("init", "-q")
        self.commit("base")
        self.commit("head")

    def git(self, *arguments: str) -> None:
        who = ["-c", "user.name=gate", "-c", "user.email=gate@example.invalid"]
        subprocess.run(["git", "-C", str(self.folder), *who, *arguments], check=True, timeout=60)

    def commit(self, name: str) -> None:
        (self.folder / "src" / "name").write_text(name)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", name)

    def put_build(self, side: str, change: Change = lambda _: None) -> None:
        """The build that a side's sources have."""
        (self.folder / "src" / "name").write_text(side)
        site = self.cache / digest_of(self.folder) / "site"
        shutil.copytree(PACKAGE, site / "hub", ignore=shutil.ignore_patterns("bench", "portal", "desk", "__pycache__"))
        change(site / "hub")
        (self.folder / "src" / "name").write_text("head")

    def command(self, *arguments: str) -> list[str]:
        options = ["--base", "HEAD~1", "--cache", str(self.cache), "--json", "gate.json", "--junit", "gate.xml"]
        return [sys.executable, "-m", "hub.bench.gate", *options, *arguments]

    def run(self, *arguments: str) -> tuple[subprocess.CompletedProcess[str], Any]:
        done = subprocess.run(
            self.command(*arguments), cwd=self.folder, capture_output=True, text=True, timeout=120, env=ENVIRONMENT
        )
        file = self.folder / "gate.json"
        return done, json.loads(file.read_text()) if file.exists() else None

    def left(self) -> list[str]:
        """What a run left beside the builds."""
        return [path.name for path in self.cache.iterdir() if not (path / "site").is_dir()]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def edit(file: str, old: str, new: str) -> Change:
    """A change of one place in a package."""

    def change(package: Path) -> None:
        text = (package / file).read_text(encoding="utf-8")
        assert text.count(old) == 1
        (package / file).write_text(text.replace(old, new), encoding="utf-8")

    return change


def told(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("gate: ")]


def test_every_stage_is_measured_on_both_sides_and_the_files_agree(tree: Tree) -> None:
    tree.put_build("base")
    tree.put_build("head")
    done, content = tree.run("--quick", *SMALL)
    assert (done.returncode, told(done)) == (0, [])
    assert content["complete"] is True
    assert content["base"]["commit"] != content["head"]["commit"]
    stages = {stage["stage"]: stage for stage in content["stages"]}
    assert list(stages) == list(STAGES)
    for stage in stages.values():
        assert stage["blocks"] >= 1
        assert min(stage["rows_per_s"].values()) > 0
        assert len(stage["wall"]["log_ratios"]) == len(stage["cpu"]["log_ratios"]) == stage["blocks"]
    suite = ElementTree.parse(tree.folder / "gate.xml").getroot()
    assert set(stages) == {case.get("name") for case in suite}
    assert "building" in done.stdout
    assert tree.left() == []


def test_a_head_that_answers_wrongly_is_refused(tree: Tree) -> None:
    tree.put_build("base")
    refusal = "table.look_up(providers) * 0 + int(np.argmax(table.status != 0))"
    tree.put_build("head", edit("authorise.py", "table.look_up(providers, consents)", refusal))
    done, content = tree.run("--stages", "authorise,record", "--quick", *SMALL)
    assert done.returncode == 1
    assert [line.startswith("gate: authorise: wrong: head: ") for line in told(done)] == [True]
    assert content["verdict"] == "wrong"
    assert tree.left() == []


def test_a_stage_that_the_base_lacks_is_named_and_does_not_fail(tree: Tree) -> None:
    # For the worker alone: whatever else uses it still finds it.
    tree.put_build("base", edit("authorise.py", "def authorise(", "def __getattr__(name: str) -> object:\n"
        "    if name == 'authorise' and __import__('sys')._getframe(1).f_code.co_filename.endswith('gate/stages.py'):\n"
        "        raise AttributeError(name)\n    return decide\n\n\ndef decide("))  # fmt: skip
    tree.put_build("head")
    done, content = tree.run("--stages", "authorise,record", "--quick", *SMALL)
    assert done.returncode == 0, done.stderr
    words = {stage["stage"]: stage["words"] for stage in content["stages"]}
    assert words["authorise"].startswith("cannot tell: base lacks this stage (ImportError: ")
    assert content["stages"][1]["blocks"] >= 1


def test_a_worker_that_dies_is_told_and_nothing_is_left(tree: Tree) -> None:
    tree.put_build("base")
    death = "    __import__('os')._exit(7)\n    table = catalog.table"
    tree.put_build("head", edit("authorise.py", "    table = catalog.table", death))
    done, _ = tree.run("--stages", "authorise", "--quick", *SMALL)
    assert done.returncode == 1
    assert told(done) == ["gate: authorise: wrong: head: its process ended with status 7"]
    assert tree.left() == []


def test_a_worker_that_dies_leaves_no_server(tree: Tree) -> None:
    tree.put_build("base")
    connecting = "    return Remote(make_options(address,"
    tree.put_build("head", edit("client.py", connecting, f"    __import__('os')._exit(7)\n{connecting}"))
    done, _ = tree.run("--stages", "wire-bulk", "--quick", *SMALL)
    assert told(done) == ["gate: wire-bulk: wrong: head: its process ended with status 7"]
    assert tree.left() == []
    assert not [line for line in running() if str(tree.cache) in line]


def test_a_head_that_does_not_serve_is_refused(tree: Tree) -> None:
    tree.put_build("base")
    tree.put_build("head", lambda package: (package / "server.py").write_text("raise SystemExit('no server')\n"))
    done, _ = tree.run("--stages", "wire-single", "--quick", *SMALL)
    assert done.returncode == 1
    assert told(done) == ["gate: wire-single: wrong: head: hub serve: expected an address, got none"]
    assert tree.left() == []


def test_a_base_that_does_not_build_is_one_line_and_status_2(tree: Tree) -> None:
    tree.put_build("head")
    done, content = tree.run("--quick", *SMALL)
    assert done.returncode == 2
    (line,) = told(done)
    assert line.startswith("gate: base does not build: error: no compiler here; see ")
    assert content is None
    assert tree.left() == ["failed-base.log"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--base", "nowhere"), "gate: --base: expected a commit, got 'nowhere'"),
        (("--stages", "resolv"), "gate: --stages: expected some of resolve, authorise, record, history, prove, verify, "
         "wire-bulk, wire-single, acquire, inquiry, got resolv"),
        (("--persons", "1"), "gate: --persons: expected 2,000 to 5,000,000, got 1"),
        (("--floors", "none.toml"), "gate: none.toml: No such file or directory"),
        (("--junit", "no/such/file.xml"), "gate: no/such/file.xml: expected a folder that exists, got no/such"),
    ],
    ids=["base", "stages", "persons", "floors", "junit"],
)  # fmt: skip
def test_wrong_arguments_are_one_line_and_status_2(
    arguments: tuple[str, ...],
    line: str,
    tree: Tree,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tree.folder)
    try:
        status = main(["--base", "HEAD~1", "--cache", str(tree.cache), *arguments])
    except SystemExit as end:
        status = int(end.code or 0)
    shown = [one for one in capsys.readouterr().err.splitlines() if not one.endswith("building base and head")]
    assert (status, shown) == (2, [line])


def test_outside_a_repository_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert main(["--base", "HEAD"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_an_interrupted_gate_writes_what_it_has_and_leaves_nothing(tree: Tree) -> None:
    tree.put_build("base")
    tree.put_build("head")
    command = tree.command("--persons", "2000", "--seconds", "600", "--stages", "authorise,record")
    process = subprocess.Popen(
        command, cwd=tree.folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not list(tree.cache.glob("run-*/block-1")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "gate: interrupted" in stderr
    content = json.loads((tree.folder / "gate.json").read_text())
    assert content["complete"] is False
    assert content["stages"][0]["blocks"] == 1
    assert tree.left() == []
    assert not [line for line in running() if str(tree.cache) in line]


def running() -> list[str]:
    """The command lines of all processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found


def test_the_needs_of_a_side_are_those_of_its_pyproject() -> None:
    assert {"cython>=3.1", "lmdb>=3.0"} <= needs_of(ROOT, "head")
