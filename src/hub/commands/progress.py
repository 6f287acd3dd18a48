"""A progress bar on the standard error, and Ctrl-C that waits for a durable chunk."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
from types import FrameType, TracebackType

BAR_WIDTH = 24
SHOW_EVERY_S = 0.2
LOG_EVERY_S = 5.0
"""Where the standard error is no terminal and --progress asks for it all the same, a line this often."""


def add_progress(parser: argparse.ArgumentParser) -> None:
    """Add --progress and --no-progress; without either, a bar is shown on a terminal."""
    parser.add_argument(
        "--progress", action=argparse.BooleanOptionalAction, help="show rows and rows/s (default: on a terminal)"
    )


class Progress:
    """Rows done of rows expected, on the standard error. Used in a ``with`` block, from one thread."""

    def __init__(self, label: str, rows: int | None, *, show: bool | None) -> None:
        """Args: rows: expected at most, or None; show: None for where the standard error is a terminal."""
        self._label, self._rows = label, None if rows is None else max(rows, 1)
        self._terminal = sys.stderr.isatty()
        self._show = self._terminal if show is None else show
        self._started = self._shown = time.monotonic()
        self._done = 0

    def __enter__(self) -> Progress:
        return self

    def __call__(self, done: int) -> None:
        """Say how many rows are done in all."""
        self._done = done
        now = time.monotonic()
        if self._show and now - self._shown >= (SHOW_EVERY_S if self._terminal else LOG_EVERY_S):
            self._shown = now
            self._print()

    def _print(self) -> None:
        rate = self._done / max(time.monotonic() - self._started, 1e-9)
        share = min(1.0, self._done / self._rows) if self._rows else 0.0
        of = f"of {self._rows:,} rows  {share:4.0%}" if self._rows else "rows"
        text = f"{self._label} {self._done:,} {of}  {rate:,.0f} rows/s"
        if not self._terminal:
            print(text, file=sys.stderr, flush=True)
            return
        filled = round(share * BAR_WIDTH)
        width = shutil.get_terminal_size().columns - 1
        line = f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {text}"
        print("\r" + line[:width].ljust(width), end="", file=sys.stderr, flush=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._show and self._done:
            if kind is None:
                self._rows = self._done
            self._print()
            if self._terminal:
                print(file=sys.stderr)


class Stopping:
    """Turns the first Ctrl-C (or SIGTERM) into a question asked between two chunks; a second one stops at once.

    Either is safe: what is durable stays, the rest is done when the command is given again.
    """

    def __init__(self) -> None:
        # Set by the signal handler, which Python runs in the main thread; read between chunks by the same thread.
        self._asked = False

    def __enter__(self) -> Stopping:
        self._before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        print("\nstopping at the next durable chunk (Ctrl-C again to stop at once)", file=sys.stderr, flush=True)

    def check(self) -> None:
        """Raise KeyboardInterrupt where a stop was asked for."""
        if self._asked:
            raise KeyboardInterrupt

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
