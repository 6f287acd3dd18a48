"""``hub proxies``: who may read for whom in the portal, for its operator."""

from __future__ import annotations

import argparse
import datetime as dt
from typing import Any

from hub.citizens.proxystate import ProxyKind
from hub.commands.opening import open_hub
from hub.commands.options import add_folder, print_table, spell_moment, take_alias, take_folder, take_moment
from hub.errors import RequestError

EPILOG = """\
Both people are named by their aliases at the portal, 32 hex digits; - reads one from the standard
input (--alias first). A proxy is granted by law (--statutory: a parent, a guardian) or by the person's
word, and can be read in the person's history. --label is how the person calls the agent, --called how
the agent calls the person. list shows a person's proxies with the handles by which revoke takes them;
--agent ALIAS shows for whom somebody may act instead.

Examples:
  cat pair.txt | hub proxies grant linkage --alias - --agent - --label 母 --called 子 --statutory --until 2030-04-02
  hub proxies list linkage --alias -
  hub proxies list linkage --agent -
  hub proxies revoke linkage --alias - --handle 5a1f...

Exit status: 0 done; 1 nothing found; 2 wrong request, nothing changed; 3 disk.
"""


def add_commands(commands: Any) -> None:
    """Add ``proxies``."""
    parser = commands.add_parser("proxies", help="who may read for whom in the portal", epilog=EPILOG)
    parser.description = "Grant, revoke and list proxies (代理人)."
    under = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=type(parser))

    parser = under.add_parser("grant", help="let somebody read for a person", epilog=EPILOG)
    parser.description = "Let somebody read for a person."
    add_folder(parser)
    parser.add_argument("--alias", required=True, metavar="HEX", help="the person, at the portal")
    parser.add_argument("--agent", required=True, metavar="HEX", help="who acts, at the portal")
    parser.add_argument("--label", required=True, help="how the person calls the agent")
    parser.add_argument("--called", required=True, help="how the agent calls the person")
    parser.add_argument("--statutory", action="store_true", help="by law (法定代理人), not by the person's word")
    parser.add_argument("--until", metavar="DATE", help="the first day on which it is over (default: open; by law: "
                        "needed, 15 years ahead at most)")
    parser.add_argument("--clerk", metavar="NAME", help="of the portal, for auditors")
    parser.set_defaults(run=run_grant)

    parser = under.add_parser("revoke", help="end a proxy", epilog=EPILOG)
    parser.description = "End a proxy, from the next call on; the agent is not told."
    add_folder(parser)
    parser.add_argument("--alias", required=True, metavar="HEX", help="the person, or the agent, at the portal")
    parser.add_argument("--handle", required=True, metavar="HEX", help="of the proxy, as list shows it")
    parser.add_argument("--clerk", metavar="NAME", help="of the portal, for auditors")
    parser.set_defaults(run=run_revoke)

    parser = under.add_parser("list", help="a person's proxies, or for whom one may act", epilog=EPILOG)
    parser.description = "List a person's proxies, or for whom somebody may act."
    add_folder(parser)
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--alias", metavar="HEX", help="the person, at the portal")
    who.add_argument("--agent", metavar="HEX", help="who acts, at the portal")
    parser.set_defaults(run=run_list)


def run_grant(arguments: argparse.Namespace) -> int:
    """Grant one proxy."""
    folder, _ = take_folder(arguments)
    until = None if arguments.until is None else take_moment("--until", arguments.until)
    if isinstance(until, dt.datetime):
        raise RequestError("--until: expected a date such as 2026-04-01, got a moment")
    person, agent = take_alias(arguments.alias), take_alias(arguments.agent)
    kind = ProxyKind.STATUTORY if arguments.statutory else ProxyKind.VOLUNTARY
    with open_hub(arguments, folder) as h:
        handle = h.grant_proxy(
            person, agent, kind, label=arguments.label, called=arguments.called, until=until, clerk=arguments.clerk
        )
    print(f"granted; handle {handle.hex()}")
    return 0


def run_revoke(arguments: argparse.Namespace) -> int:
    """Revoke one proxy."""
    folder, _ = take_folder(arguments)
    try:
        handle = bytes.fromhex(arguments.handle)
    except ValueError:
        raise RequestError("--handle: expected hex digits, got something else") from None
    alias = take_alias(arguments.alias)
    with open_hub(arguments, folder) as h:
        ended = h.revoke_proxy(alias, handle, clerk=arguments.clerk)
    print("revoked" if ended else "nothing found")
    return 0 if ended else 1


def run_list(arguments: argparse.Namespace) -> int:
    """List a person's proxies, or for whom one may act."""
    folder, _ = take_folder(arguments)
    alias = take_alias(arguments.alias or arguments.agent)
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    with open_hub(arguments, folder, readonly=True) as h:
        if arguments.agent is not None:
            rows = [(one.handle.hex(), _spell(one.kind), one.label, _day(one.until)) for one in h.principals(alias)]
            header = ("handle", "kind", "person", "until")
        else:
            rows = [
                (
                    one.handle.hex(), _spell(one.kind), one.label, _day(one.until), _spell(one.state),
                    spell_moment(one.granted_at),
                )
                for one in h.proxies(alias)
            ]  # fmt: skip
            header = ("handle", "kind", "agent", "until", "state", "granted")
    if rows:
        print_table([header, *rows])
    else:
        print("nothing found")
    return 0 if rows else 1


def _spell(word: Any) -> str:
    return str(word.name).lower().replace("_", " ")


def _day(day: dt.date | None) -> str:
    return "" if day is None else str(day)
