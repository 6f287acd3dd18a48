"""``hub suspend`` and ``hub resume``: stop a provider's linkage of some people or of everybody, and go on."""

from __future__ import annotations

import argparse
from typing import Any

from hub.commands.opening import open_hub
from hub.commands.options import add_folder, take_alias, take_folder
from hub.commands.progress import Progress, Stopping, add_progress
from hub.errors import RequestError
from hub.files.inquiries import read_all_aliases
from hub.files.tables import ENCODINGS
from hub.limits import FLAGS_PER_CALL_MAX
from hub.messages import Aliases

SUSPEND_EPILOG = """\
The people are named by the institution's own aliases: one (--alias, - reads it from the standard
input), or the column alias of a file; or --everybody. An alias that is not its own refuses all of them.

From then on, also in programs that are running, a question about them to this institution is answered
SUSPENDED: recorded, but not put to it. What was asked before is still collected, for a clerk to decide.

Examples:
  hub suspend linkage 131016 --alias - --reason "another person's data" --clerk sato
  hub suspend linkage 131016 --aliases doubtful.csv --reason "household 12 is being checked" --clerk sato
  hub suspend linkage 131016 --everybody --reason "register is restored from a copy" --clerk sato

Exit status: 0 suspended; 1 they all were before; 2 wrong request; 3 disk; 130 Ctrl-C.
"""

RESUME_EPILOG = """\
The counterpart of hub suspend. With --everybody those who were suspended by alias stay so.

Examples:
  hub resume linkage 131016 --alias - --reason "the link was right" --clerk sato
  hub resume linkage 131016 --everybody --reason "restored and compared" --clerk sato

Exit status: 0 resumed; 1 nobody was suspended; 2 wrong request; 3 disk; 130 Ctrl-C.
"""


def add_commands(commands: Any) -> None:
    """Add ``suspend`` and ``resume``."""
    _add(commands, "suspend", "stop a provider's linkage of some people or of everybody", SUSPEND_EPILOG)
    _add(commands, "resume", "end what hub suspend began", RESUME_EPILOG)


def _add(commands: Any, name: str, told: str, epilog: str) -> None:
    parser = commands.add_parser(name, help=told, epilog=epilog)
    parser.description = told[0].upper() + told[1:] + "."
    add_folder(parser, "INSTITUTION")
    people = parser.add_mutually_exclusive_group(required=True)
    people.add_argument("--alias", metavar="HEX", help="one person, 32 hex digits; - for the standard input")
    people.add_argument("--aliases", metavar="FILE", help="people, by a file with the column alias")
    people.add_argument("--everybody", action="store_true", help="the institution as a whole")
    parser.add_argument("--reason", required=True, help="why, for auditors")
    parser.add_argument("--clerk", required=True, metavar="NAME", help="who decides, for auditors")
    parser.add_argument("--encoding", choices=ENCODINGS, default="auto", help="of FILE (default: auto)")
    add_progress(parser)
    parser.set_defaults(run=run_switch, suspends=name == "suspend")


def run_switch(arguments: argparse.Namespace) -> int:
    """Suspend or resume in calls of bounded size, all people known before the first."""
    folder, (institution,) = take_folder(arguments)
    aliases: Aliases | None = None
    if arguments.aliases is not None:
        aliases = read_all_aliases(arguments.aliases, encoding=arguments.encoding)
        if not len(aliases):
            # Nobody must not become everybody by an empty file.
            raise RequestError("--aliases: expected at least one alias, got none")
    elif arguments.alias is not None:
        aliases = take_alias(arguments.alias).reshape(1, 16)
    words = {"clerk": arguments.clerk, "reason": arguments.reason}
    changed = done = 0
    try:
        with open_hub(arguments, folder) as h:
            switch = h.suspend if arguments.suspends else h.resume
            if aliases is None:
                changed = switch(institution, **words)
            else:
                h.flags(institution, aliases)
                with (
                    Stopping() as stopping,
                    Progress("people", len(aliases), show=arguments.progress) as progress,
                ):
                    while done < len(aliases):
                        part = aliases[done : done + FLAGS_PER_CALL_MAX]
                        changed += switch(institution, part, **words)
                        done += len(part)
                        progress(done)
                        stopping.check()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped: {done:,} rows are durable; give the command again to go on") from None
    who = "everybody" if aliases is None else f"{len(aliases):,} aliases"
    word = "suspended" if arguments.suspends else "resumed"
    print(f"{institution}: {word} {who}; {changed:,} changed")
    return 0 if changed else 1
