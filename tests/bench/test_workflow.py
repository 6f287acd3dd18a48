"""The workflow that runs the gate on pull requests, as far as it can be tried without its host.

Its form by the host's schema and by a linter; each shell block by the shell, and those that decide something run, with
a gate that only says what it is told to; its script in Node with comments that are kept in a list.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[2]
PATH = ROOT / ".github" / "workflows" / "bench.yml"
STEPS: list[dict[str, Any]] = yaml.safe_load(PATH.read_text(encoding="utf-8"))["jobs"]["gate"]["steps"]
SHELL = [step for step in STEPS if "run" in step]


def step_of(name: str) -> dict[str, Any]:
    (found,) = (step for step in STEPS if step.get("name") == name)
    return found


def test_it_has_the_form_that_the_hosts_schema_wants() -> None:
    if importlib.util.find_spec("check_jsonschema") is None:
        pytest.skip("check-jsonschema is not installed (the extra test)")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(PATH)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_linter_of_workflows_finds_nothing() -> None:
    found = shutil.which("zizmor", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if found is None:
        pytest.skip("zizmor is not installed (the extra test)")
    done = subprocess.run([found, "--offline", "--no-progress", str(PATH)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_pins_what_it_uses_and_asks_for_few_rights() -> None:
    text = PATH.read_text(encoding="utf-8")
    used = re.findall(r"uses: (.+)", text)
    assert used
    # A tag can be moved, a commit not; the tag stands behind it for the reader.
    assert all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one) for one in used)
    assert "pull_request_target" not in text
    assert step_of("Judge")["id"] == "gate"
    whole = yaml.safe_load(text)
    assert whole["permissions"] == {}
    assert whole["jobs"]["gate"]["permissions"] == {"contents": "read", "pull-requests": "write"}
    assert STEPS[0]["with"]["persist-credentials"] is False


@pytest.mark.parametrize("step", SHELL, ids=lambda step: step["name"].split()[0])
def test_the_shell_reads_every_block(step: dict[str, Any]) -> None:
    done = subprocess.run(["bash", "-n"], input=step["run"], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (0, "")


def run_block(name: str, folder: Path, gate: str = "") -> tuple[int, dict[str, str]]:
    """A block as the host runs it; its status, and the files that it wrote.

    Args:
        gate: what stands for ``python -m hub.bench gate``, a shell script.
    """
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{gate}\n")
    python.chmod(0o755)
    outside = {"GITHUB_OUTPUT": str(folder / "output"), "GITHUB_STEP_SUMMARY": str(folder / "summary"), "BASE": "abc"}
    done = subprocess.run(
        ["bash", "-e", "-c", step_of(name)["run"]], cwd=folder, env=os.environ | outside, capture_output=True,
        text=True, timeout=20,
    )  # fmt: skip
    files = (path for path in folder.rglob("*") if path.is_file() and path != python)
    return done.returncode, {str(path.relative_to(folder)): path.read_text() for path in files}


@pytest.mark.parametrize("status", [0, 1])
def test_the_table_is_kept_whatever_the_verdict(status: int, tmp_path: Path) -> None:
    gate = f'echo "$@" > arguments; echo "gate: words" >&2; echo table > gate/gate.md; exit {status}'
    done, files = run_block("Judge", tmp_path, gate)
    assert done == 0
    assert files.pop("arguments").startswith("-m hub.bench gate --base abc --json gate/gate.json --junit gate/gate.xml")
    assert files == {
        "gate/gate.md": "table\n", "gate/stderr.txt": "gate: words\n", "summary": "table\n",
        "output": f"status={status}\n",
    }  # fmt: skip


def test_a_gate_that_could_not_judge_says_why_in_the_comment(tmp_path: Path) -> None:
    done, files = run_block("Judge", tmp_path, "echo 'gate: base does not build: x' >&2; exit 2")
    assert (done, files["output"]) == (0, "status=2\n")
    assert files["gate/gate.md"] == "**Speed gate: not judged**\n\n    gate: base does not build: x\n"
    assert files["summary"] == files["gate/gate.md"]


def test_what_is_not_passed_fails_in_the_end(tmp_path: Path) -> None:
    last = STEPS[-1]
    assert last["if"] == "always() && steps.gate.outputs.status != '0'"
    assert run_block(last["name"], tmp_path)[0] == 1


OUTSIDE = """
const comments = JSON.parse(process.env.COMMENTS);
const context = { repo: { owner: 'o', repo: 'r' }, payload: { pull_request: { number: 7 } } };
const issues = {
  listComments: 'list',
  updateComment: async given => { console.log(JSON.stringify(['update', given])); },
  createComment: async given => { console.log(JSON.stringify(['create', given])); },
};
const paginate = async (what, given) => what === 'list' && given.issue_number === 7 ? comments : [];
const github = { rest: { issues }, paginate };
const work = Object.getPrototypeOf(async function () {}).constructor;
new work('github', 'context', 'require', process.env.SCRIPT)(github, context, require);
"""

OTHER = {"id": 3, "user": {"type": "User"}, "body": "<!-- speed gate -->\nquoted by a reader"}
OURS = {"id": 4, "user": {"type": "Bot"}, "body": "<!-- speed gate -->\nold"}


@pytest.mark.parametrize(
    ("comments", "told"),
    [
        ([], ["create", {"issue_number": 7}]),
        ([OTHER], ["create", {"issue_number": 7}]),
        ([OTHER, OURS], ["update", {"comment_id": 4}]),
    ],
    ids=["first", "another's", "again"],
)
def test_one_comment_is_kept_up_to_date(comments: list[Any], told: list[Any], tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed")
    (tmp_path / "gate").mkdir()
    (tmp_path / "gate" / "gate.md").write_text("table\n")
    environment = os.environ | {"COMMENTS": json.dumps(comments), "SCRIPT": step_of("Comment")["with"]["script"]}
    done = subprocess.run(
        [node, "-e", OUTSIDE], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    body = {"owner": "o", "repo": "r", "body": "<!-- speed gate -->\ntable\n"}
    assert [json.loads(line) for line in done.stdout.splitlines()] == [[told[0], body | told[1]]]
