"""What may go wrong around a run: no room, a peer that lacks or refuses, an end before the end. One clear line each."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hub
from hub.bench import peers
from hub.bench.__main__ import FOUND, INTERRUPTED, OK, main
from hub.bench.peers import log as log_peers
from hub.bench.run import Run
from hub.bench.stages import STAGES
from smalldisk import small_disk

SMALL = ("--quick", "--persons", "2000")
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(hub.__file__).parents[1]), *sys.path])}


def run(*arguments: str, folder: Path) -> int:
    """The bench in this process."""
    return main([*arguments, *SMALL, "--folder", str(folder)])


def left_out(out: str) -> list[str]:
    return [line.removeprefix("left out  ") for line in out.splitlines() if line.startswith("left out  ")]


def write_program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


# -- room


def test_a_disk_that_is_too_small_is_said_before_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with small_disk(tmp_path / "disk", 8 << 20) as disk:
        disk.fill(free_bytes=1 << 20)
        assert run("acquire", folder=disk.place) == FOUND
        captured = capsys.readouterr()
        assert len(captured.err.splitlines()) == 1
        assert captured.err.startswith(f"bench: space in {disk.place}: expected 0.0 GiB for 2,000 persons, got ")
        assert [path.name for path in disk.place.iterdir()] == ["ballast"]


def test_a_disk_that_fills_ends_the_run_with_one_line_and_its_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "partial.json"
    first = STAGES["authorise"]
    with small_disk(tmp_path / "disk", 8 << 20) as disk:

        def others_fill_it(bench: Run) -> None:
            first(bench)
            disk.fill(free_bytes=256 << 10)

        monkeypatch.setitem(STAGES, "authorise", others_fill_it)
        status = run("acquire", "authorise", "inquiry", "--peers", "none", "--json", str(file), folder=disk.place)
        assert [path.name for path in disk.place.iterdir()] == ["ballast"]
    assert status == FOUND
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("bench:")]
    assert len(lines) == 1
    assert lines[0].startswith("bench: stopped: ")
    content = json.loads(file.read_text())
    assert content["complete"] is False
    assert {row["stage"] for row in content["results"]} >= {"acquire", "authorise"}


# -- peers


def test_a_peer_that_is_not_installed_is_left_out_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    packages = {package for *_, package in (*peers.KINDS, *log_peers.KINDS) if package is not None}
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None if name in packages else find(name, *more))
    assert run("acquire", "resolve", "record", folder=tmp_path) == OK
    found = left_out(capsys.readouterr().out)
    for name, *_, package in peers.KINDS:
        line = f"peer:{name}: {package} is not installed (make peers)"
        assert found.count(line) == (package is not None), name
    assert "record: peer:pymerkle: pymerkle is not installed (make peers)" in found


def test_a_server_that_is_not_installed_is_left_out_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("hiredis", reason="the extra peers is not installed")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run("resolve", "--peers", "redis", folder=tmp_path) == OK
    assert left_out(capsys.readouterr().out) == ["peer:redis at 2k: redis-server is not installed (make peers)"]


REFUSING = {
    "redis": ("hiredis", ("redis-server",), "echo no room for a socket; exit 7", "status 7: no room for a socket"),
    "postgresql": ("psycopg", ("initdb", "postgres"), "echo no locale >&2; exit 1", "status 1: no locale"),
}


@pytest.mark.parametrize("name", REFUSING)
def test_a_server_that_does_not_start_is_left_out_in_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package, programs, text, cause = REFUSING[name]
    pytest.importorskip(package, reason="the extra peers is not installed")
    with readable_folder() as bin_folder:
        for program in programs:
            write_program(bin_folder / program, text)
        monkeypatch.setenv("PATH", f"{bin_folder}{os.pathsep}{os.environ['PATH']}")
        file = tmp_path / "run.json"
        assert run("acquire", "resolve", "--peers", f"dict,{name}", "--json", str(file), folder=tmp_path) == OK
    (line,) = left_out(capsys.readouterr().out)
    assert line.startswith(f"peer:{name} at 2k: ")
    assert line.endswith(cause)
    cases = {row["case"] for row in json.loads(file.read_text())["results"]}
    assert "resolve: 2k hits peer:dict" in cases
    assert f"resolve: 2k hits peer:{name}" not in cases
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_peer_that_breaks_off_is_left_out_and_one_that_lies_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from hub.bench.peers.dict_list import DictList

    def breaking(self: DictList, aliases: Any) -> Any:
        raise RuntimeError("connection lost\nmore of it")

    monkeypatch.setattr(DictList, "resolve", breaking)
    assert run("resolve", "--peers", "dict", folder=tmp_path) == OK
    assert left_out(capsys.readouterr().out) == ["peer:dict at 2k: connection lost"]
    monkeypatch.setattr(DictList, "resolve", lambda self, aliases: aliases)
    assert run("resolve", "--peers", "dict", folder=tmp_path) == FOUND
    assert "WRONG     resolve: 2k hits peer:dict: aliases" in capsys.readouterr().err


# -- an end before the end


@contextlib.contextmanager
def readable_folder() -> Iterator[Path]:
    """A folder that a server's own user can reach, which pytest's are not."""
    folder = Path(tempfile.mkdtemp(prefix="hub-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def children_of(pid: int) -> list[tuple[int, str]]:
    """(pid, name) of a process's children."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            head, _, rest = path.read_text().rpartition(")")
            if int(rest.split()[1]) == pid:
                found.append((int(head.split()[0]), head.partition("(")[2]))
    return found


@contextlib.contextmanager
def run_until_served(name: str, package: str, program: str, folder: Path) -> Iterator[tuple[Any, list[int], Path]]:
    """A bench whose peer's server runs: the process, the server's pids, the folder for temporary ones."""
    pytest.importorskip(package, reason="the extra peers is not installed")
    arguments = ["resolve", "--persons", "100000", "--peers", name, "--json", str(folder / "partial.json")]
    with readable_folder() as temporary:
        process = subprocess.Popen(
            [sys.executable, "-m", "hub.bench", *arguments], cwd=folder, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env=ENVIRONMENT | {"TMPDIR": str(temporary)},
        )  # fmt: skip
        servers: list[int] = []
        # One that has not bound its socket yet would end by itself, for want of the folder.
        while process.poll() is None and not (servers and any(path.is_socket() for path in temporary.glob("*/*"))):
            servers = [pid for pid, called in children_of(process.pid) if called == program]
            time.sleep(0.01)
        if not servers:
            assert f"left out  peer:{name}" in process.communicate(timeout=60)[0]
            pytest.skip(f"{program} does not run here")
        yield process, servers, temporary


def runs(pid: int) -> bool:
    """Whether a process is there, and not only waiting to be asked how it ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_until_gone(pids: list[int]) -> None:
    end = time.monotonic() + 60
    while any(map(runs, pids)):
        assert time.monotonic() < end, "a server outlived the run"
        time.sleep(0.01)


in_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc to see children in")


@in_proc
@pytest.mark.parametrize(("name", "package", "program", "number"), [
    ("redis", "hiredis", "redis-server", signal.SIGTERM), ("postgresql", "psycopg", "postgres", signal.SIGHUP),
])  # fmt: skip
def test_an_interrupted_run_ends_its_peers_servers(
    name: str, package: str, program: str, number: int, tmp_path: Path
) -> None:
    with run_until_served(name, package, program, tmp_path) as (process, servers, temporary):
        process.send_signal(number)
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == INTERRUPTED, stderr
        assert stderr.count("bench: interrupted") == 1
        assert "Traceback" not in stderr
        assert not any(map(runs, servers))
        assert list(temporary.iterdir()) == []
    assert json.loads((tmp_path / "partial.json").read_text())["complete"] is False
    assert [path.name for path in tmp_path.iterdir()] == ["partial.json"]


@in_proc
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed")
def test_a_server_does_not_outlive_a_run_that_is_killed(tmp_path: Path) -> None:
    with run_until_served("redis", "hiredis", "redis-server", tmp_path) as (process, servers, _):
        process.kill()
        process.communicate(timeout=120)
        wait_until_gone(servers)
