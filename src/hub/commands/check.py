"""``hub verify FOLDER``: a whole hub re-derived from its bytes."""

from __future__ import annotations

import argparse
from pathlib import Path

import hub
from hub.commands.progress import Progress
from hub.errors import StorageError, TamperError
from hub.verify import check_pages


def verify_folder(arguments: argparse.Namespace) -> int:
    """Walk the pages, then re-derive everything; 0 all fits, 1 something does not."""
    folder = Path(arguments.folder)
    problems = check_pages(folder)
    records = blocks = 0
    # A store whose pages are damaged may end a process that opens it.
    if not problems:
        try:
            with hub.open(folder, readonly=True) as h, Progress(
                "verified", h.stats()["records"], show=arguments.progress
            ) as progress:
                report = h.verify(progress=progress)
                problems, records, blocks = list(report.problems), report.records, report.blocks
        except (StorageError, TamperError) as error:
            problems = [str(error)]
    for problem in problems:
        print(f"problem: {problem}")
    print(f"{folder}: {records:,} records re-derived, {blocks:,} alias blocks checked, {len(problems)} problems")
    return 1 if problems else 0
