"""``python -m hub.bench``: measure the hub on this machine, beside its peers, with every answer checked.

Exit status: 0 all measured and every answer right; 1 an answer differed from the model, or the run could not go on
(no space, no permission); 2 usage; 130 interrupted: what was measured is printed and written all the same.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import tempfile
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hub.bench import html
from hub.bench import machine as machines
from hub.bench.arguments import USAGE, Files, read_arguments
from hub.bench.ending import FOUND, INTERRUPTED, OK, Interrupts, run_to_end
from hub.bench.report import Progress, document, limits_text, machine_text, table, write_json
from hub.bench.run import MEMORY_BYTES_PER_PERSON, Options, Run
from hub.bench.runpage import page_of
from hub.bench.stages import ABOUT, STAGES
from hub.bench.subcommands import SUBCOMMANDS, dispatch, is_subcommand


def main(argv: Sequence[str] | None = None) -> int:
    """Run the bench, or the subcommand that the first argument names, with these arguments; returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    if is_subcommand(argv):
        return dispatch(argv)
    options, files = read_arguments(argv)
    if options is None:
        for name, about in (ABOUT | SUBCOMMANDS).items():
            print(f"{name:10} {about}")
        return OK
    try:
        folder = Path(tempfile.mkdtemp(prefix="hub-bench-", dir=options.folder))
    except OSError as error:
        print(f"bench: make a folder in {options.folder}: {error.strerror}", file=sys.stderr)
        return USAGE
    try:
        with Interrupts():
            return measure(options, folder, files, command_of(argv))
    except KeyboardInterrupt:
        # Before anything was measured, or while it was being written.
        print("bench: interrupted", file=sys.stderr)
        return INTERRUPTED
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def command_of(argv: Sequence[str]) -> str:
    """The command as it is recorded: where its files went is nobody's business."""
    words = re.sub(r" --(json|html|folder)( |=)('[^']*'|\S+)", "", " " + shlex.join(argv))
    return "python -m hub.bench" + words.rstrip()


def measure(options: Options, folder: Path, files: Files, command: str) -> int:
    """Run the stages, then print and write what was found, complete or not."""
    machine = machines.describe(folder)
    disk, memory = options.disk_bytes, sum(options.sizes) * MEMORY_BYTES_PER_PERSON
    if machine["disk_free_bytes"] < disk:
        bound = f"{machines.gib(disk)} for {options.persons:,} persons"
        print(f"bench: space in {options.folder}: expected {bound}, got {machines.gib(machine['disk_free_bytes'])}; "
              "use --folder, --persons or --records", file=sys.stderr)  # fmt: skip
        return FOUND
    warnings = machines.warnings_before(machine, machines.spin_spread(), disk, memory)
    print(machine_text(machine))
    for warning in warnings:
        print(f"WARNING   {warning}")
    neighbours = machines.Neighbours()
    progress = Progress()
    bench = Run(options, folder, progress)
    status = run_stages(bench)
    progress.clear()
    disturbed = machines.warning_after(neighbours.cores())
    if disturbed:
        warnings.append(disturbed)
        print(f"WARNING   {disturbed}")
    machine["warnings"] = warnings
    show(bench, complete=status in (OK, FOUND))
    content = content_of(bench, machine, command, complete=status == OK)
    if not write_files(files, content):
        return FOUND
    return FOUND if status == OK and bench.truth.problems else status


def run_stages(bench: Run) -> int:
    """Run what was asked for; the exit status, with one line on stderr where it could not end well."""

    def work() -> None:
        for name in bench.options.stages:
            begin = time.monotonic()
            STAGES[name](bench)
            bench.stage_seconds[name] = time.monotonic() - begin

    try:
        return run_to_end("bench", "cases", bench.progress, work)
    finally:
        bench.close()


def show(bench: Run, *, complete: bool) -> None:
    """Print the table and what belongs below it."""
    print(table(bench.results))
    for line in limits_text(bench.results):
        print(line)
    for note in bench.notes:
        print(textwrap.fill(note, 100, initial_indent="note      ", subsequent_indent=" " * 10))
    for reason in bench.left_out:
        print(f"left out  {reason}")
    truth = bench.truth
    for problem in truth.problems:
        print(f"WRONG     {problem}", file=sys.stderr)
    verdict = "all as the model's" if not truth.problems else f"{len(truth.problems)} cases differ from the model"
    print(f"answers   {truth.hexdigest()}")
    part = "" if complete else " so far"
    print(f"truth     {truth.rows:,} rows checked{part}, {verdict}; took {bench.seconds():.0f} s")


def content_of(bench: Run, machine: dict[str, Any], command: str, *, complete: bool) -> dict[str, Any]:
    return document(
        machine, bench.results, seed=bench.options.seed, answers=bench.truth.hexdigest(), complete=complete,
        problems=bench.truth.problems, command=command, stage_seconds=bench.stage_seconds, notes=bench.notes,
        left_out=bench.left_out, rows_checked=bench.truth.rows,
    )  # fmt: skip


def write_files(files: Files, content: dict[str, Any]) -> bool:
    """Write what was asked for; whether all of it could be."""
    good = True
    for path, write in ((files.json, write_json), (files.html, write_page)):
        if path is None:
            continue
        try:
            write(path, content)
        except OSError as error:
            print(f"bench: write {path}: {error.strerror}", file=sys.stderr)
            good = False
    return good


def write_page(path: Path, content: dict[str, Any]) -> None:
    html.write_page(path, page_of(content))


if __name__ == "__main__":
    sys.exit(main())
