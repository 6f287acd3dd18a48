"""The command line: ``hub COMMAND``; each command is a module of ``hub.commands``.

Exit status: 0 done; 1 done, and there was something to see (lines rejected, rows denied, nothing found, problems);
2 the request or the command line is wrong, nothing was changed; 3 disk, stored data or connection failed; 130 stopped
by Ctrl-C.
An error is one line on the standard error.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NoReturn

from hub.commands import (
    acquire,
    agency,
    aliases,
    arrivals,
    bench,
    blast,
    catalog,
    desk,
    exchange,
    flag,
    history,
    holders,
    identifiers,
    inquire,
    keep,
    keys,
    links,
    lives,
    marks,
    mislink,
    portal,
    proxies,
    release,
    retain,
    send,
    serve,
    suspend,
    tlog,
)
from hub.errors import HubError, StorageError, TamperError

EXIT_DONE, EXIT_FOUND, EXIT_REQUEST, EXIT_STORAGE, EXIT_STOPPED = 0, 1, 2, 3, 130

LOST = ("wire", "late")
"""Codes of the errors of a connection (``wire/faults.py``, which no command on a folder loads)."""

_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS}

DESCRIPTION = """\
Administrative bodies ask each other about a person without a shared number: every row of an
inquiry is checked against the law, translated, recorded durably and answered, and the person
can read who asked.
"""

EPILOG = """\
A day with the hub:
  hub init linkage                                        make a hub in the folder linkage
  hub catalog search 児童手当                             find the procedure that allows a question
  hub acquire linkage nenkin codes.csv --out aliases.csv  give an institution its aliases
  hub inquire linkage ask.csv --requester nenkin --procedure 19-8/73/75.3 --item 市町村民税 \\
      --role 納付義務者 --section 年金給付課 --id tax-2026 --out answers.csv
  hub collect linkage 131016 --out permits.csv            what a municipality is asked
  hub provide linkage 131016 provided.csv                 what it answers
  hub answers linkage nenkin tax-2026 --out data.csv      what came back
  hub history linkage --alias 8d0c...                     what a citizen sees
  hub verify record.tlog-proof --key log.key              what anybody can check
  hub tlog export linkage /srv/www/log                    the log for those who check it

The folder is the first argument, or --folder, or the variable HUB_FOLDER. Instead of a folder most commands take
an address at which one is served, with the same results (--cert, --key, --ca; docs/connect.md):
  hub collect hubs://hub.example.go.jp:7411 131016 --out permits.csv --cert town.pem --key town.key --ca hub-ca.pem
Exit status: 0 done; 1 done, with lines rejected, rows denied, nothing found or problems;
2 wrong request or command line, nothing changed; 3 disk, stored data or connection failed; 130 Ctrl-C.
"""


class Parser(argparse.ArgumentParser):
    """argparse with one-line errors and texts that keep their lines."""

    def __init__(self, **options: object) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(**options)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        # argparse repeats what was typed, and that may be an alias; a column of errors may be kept somewhere.
        if message.startswith("unrecognized arguments"):
            message = "arguments that it does not know"
        self.exit(EXIT_REQUEST, f"{self.prog}: {message} (see {self.prog} --help)\n")


class _Unasked:
    """Stands for the parser of a command that was not asked for: takes what is added to it and makes nothing."""

    def __getattr__(self, name: str) -> _Unasked:
        return self

    def __call__(self, *_: object, **__: object) -> _Unasked:
        return self


class _OneCommand:
    """Takes all commands and adds the one that was asked for."""

    def __init__(self, commands: Any, name: str) -> None:
        self._commands, self._name = commands, name
        self.found = False

    def add_parser(self, name: str, **options: Any) -> Any:
        """As of what ``add_subparsers`` gives."""
        if name != self._name:
            return _Unasked()
        self.found = True
        return self._commands.add_parser(name, **options)


def make_parser(asked: str | None = None) -> argparse.ArgumentParser:
    """The whole command line, or as much of it as the command with this name needs: a hundred take a while to make."""
    parser = Parser(prog="hub", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"hub {_version()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    modules = (
        keep, catalog, acquire, aliases, links, holders, identifiers, inquire, exchange, release, send, arrivals,
        agency, keys, history, proxies, marks, flag, suspend, blast, mislink, lives, retain, tlog, serve, portal, desk,
        bench,
    )  # fmt: skip
    only = None if asked is None else _OneCommand(commands, asked)
    for module in modules:
        module.add_commands(only or commands)
    return parser if only is None or only.found else make_parser()


def _version() -> str:
    try:
        return version("hub")
    except PackageNotFoundError:
        return "(not installed)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    asked = words[0] if words and not words[0].startswith("-") else None
    arguments = make_parser(asked).parse_args(words)
    arguments.argv = words
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt as stop:
        print("\n".join(map(str, stop.args)) or "stopped", file=sys.stderr)
        return EXIT_STOPPED
    except BrokenPipeError:
        # Whoever read our output (head, less) has gone; the interpreter must not complain when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FOUND
    except (StorageError, TamperError) as error:
        print(f"hub: {error}" + ("; the same command may be given again" if error.retry_safe else ""), file=sys.stderr)
        return EXIT_STORAGE
    except HubError as error:
        # Where a connection failed nobody knows whether the call was done; the command finds out when it is given
        # again, as after a crash.
        lost = error.code in LOST
        again = lost or error.retry_safe
        print(f"hub: {error}" + ("; the same command may be given again" if again else ""), file=sys.stderr)
        return EXIT_STORAGE if lost else EXIT_REQUEST
    except OSError as error:
        print(f"hub: {error.filename or 'input or output'}: {error.strerror or error}", file=sys.stderr)
        return EXIT_STORAGE if error.errno in _DISK_ERRORS else EXIT_REQUEST


if __name__ == "__main__":
    sys.exit(main())
