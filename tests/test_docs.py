"""What README and the pages of docs/ print is run as printed, each block in an empty folder of its own.

A page that is one story is run from top to bottom in one folder, its programs too. The shell is a real one; its ``hub``
is a few lines that hand the arguments to this process, where all is loaded; but a server is a process of its own.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import pytest

from hub.cli import main

ROOT = Path(__file__).parent.parent
TOPICS = (
    "agency", "blast", "desk", "exchange", "identifiers", "lives", "mislinks", "portal", "proxies", "push",
)  # fmt: skip
PAGES = ("README", *(f"docs/{topic}" for topic in TOPICS))
STORIES = ("docs/connect",)
RUNS_MAX_S = 300
"""For so long a block may run: a loop that waits for a server which never comes must end."""
COMMAND = re.compile("^hub (?!serve --(?:demo|config))", re.MULTILINE)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)

CLIENT = """\
#!{python} -IS
import json, os, socket, stat, sys
if sys.argv[1:2] == ["serve"] and "--key-sha256" not in sys.argv:
    os.execv({python!r}, [{python!r}, "-m", "hub", *sys.argv[1:]])
mode = os.fstat(0).st_mode
typed = sys.stdin.read() if stat.S_ISFIFO(mode) or stat.S_ISREG(mode) else ""
with socket.socket(socket.AF_UNIX) as asked:
    asked.connect({address!r})
    asked.sendall(json.dumps([sys.argv[1:], typed]).encode())
    asked.shutdown(socket.SHUT_WR)
    status, out, err = json.loads(asked.makefile("rb").read())
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(status)
"""


def blocks(page: str) -> list[tuple[str, str]]:
    """Language and text of what a page has between fences: commands where a line begins with ``hub``."""
    found = BLOCK.findall((ROOT / f"{page}.md").read_text(encoding="utf-8"))
    return [(language or "sh", text) for language, text in found if language or re.search("^hub ", text, re.MULTILINE)]


def run_shell(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], int, str]]:
    """Run commands with bash in this folder; arguments, status and errors of each ``hub``."""
    address, tools = str(folder / "s"), folder / "bin"
    tools.mkdir()
    (tools / "hub").write_text(CLIENT.format(python=sys.executable, address=address), encoding="utf-8")
    (tools / "hub").chmod(0o755)
    work = folder / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.delenv("HUB_FOLDER", raising=False)
    told = []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        listening.settimeout(0.05)
        path = f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        words = ["bash", "-c", text]
        shell = subprocess.Popen(words, cwd=work, env={**os.environ, "PATH": path}, start_new_session=True)
        until = time.monotonic() + RUNS_MAX_S
        while shell.poll() is None:
            if time.monotonic() > until:
                end_all_of(shell)
            try:
                asking, _ = listening.accept()
            except TimeoutError:
                continue
            with asking, asking.makefile("rwb") as file:
                arguments, typed = json.loads(file.read())
                monkeypatch.setattr("sys.stdin", io.StringIO(typed))
                out, err = io.StringIO(), io.StringIO()
                with redirect_stdout(out), redirect_stderr(err):
                    try:
                        status = main(arguments)
                    except SystemExit as end:
                        status = int(end.code or 0)
                told.append((arguments, status, err.getvalue()))
                file.write(json.dumps([status, out.getvalue(), err.getvalue()]).encode())
    end_all_of(shell)
    return told


def end_all_of(shell: subprocess.Popen[bytes]) -> None:
    """End a shell and what it left behind."""
    with suppress(ProcessLookupError):
        os.killpg(shell.pid, signal.SIGKILL)


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run_as_printed(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [text for language, text in blocks(page) if language == "sh"]
    # A page may have programs only.
    for number, text in enumerate(texts):
        folder = tmp_path / str(number)
        folder.mkdir()
        told = run_shell(text, folder, monkeypatch)
        assert len(told) >= len(COMMAND.findall(text))
        # 1 says that there was something to see, such as a ticket that is held.
        assert [one for one in told if one[1] > 1] == []


@pytest.mark.parametrize("page", STORIES)
def test_a_page_that_is_one_story_runs_as_printed(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    parts, expected = ["set -u"], []
    for language, text in BLOCK.findall((ROOT / f"{page}.md").read_text(encoding="utf-8")):
        if language == "python":
            # What a line prints is told behind it.
            expected += re.findall(r"print\(.*\) +# (.*)$", text, re.MULTILINE)
            parts.append(f"python - >> printed 2>> failed <<'PROGRAM'\n{text}PROGRAM")
        elif not language:
            parts.append(text)
    text = "\n".join(parts).replace("7411", str(port))
    told = run_shell(text, tmp_path, monkeypatch)
    assert len(told) >= len(COMMAND.findall(text))
    assert [one for one in told if one[1] > 1] == []
    work = tmp_path / "work"
    assert (work / "failed").read_text() == ""
    assert (work / "printed").read_text().splitlines() == expected


@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_page_runs_as_printed(page: str, tmp_path: Path) -> None:
    for number, text in enumerate(text for language, text in blocks(page) if language == "python"):
        folder = tmp_path / str(number)
        folder.mkdir()
        done = subprocess.run([sys.executable, "-c", text], cwd=folder, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        # What a line prints is told behind it.
        assert [line for line in done.stdout.splitlines() if line not in text] == []
