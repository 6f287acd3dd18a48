"""``hub portal``: the citizen's pages."""

from __future__ import annotations

import argparse
import csv
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub.errors import RequestError

if TYPE_CHECKING:
    from hub.portal.config import Config

EPILOG = """\
A process of its own, which is a client of the hub: its certificate may call for "portal" and nobody else.
Stop it with SIGTERM.

portal.toml:
  listen = "0.0.0.0:8443"
  address = "https://history.example.go.jp"    # as browsers see it
  links = "portal.sqlite"                      # who is who; made with mode 0600
  tlog = "public"                              # "hub tlog export" writes there; served under /tlog/

  [tls]                                        # PEM; or a proxy in front, and listen on loopback
  certificate = "portal.pem"
  key = "portal.key"

  [hub]
  address = "hubs://hub.example.go.jp:7411"
  certificate = "portal-client.pem"
  key = "portal-client.key"
  ca = "hub-ca.pem"

  [signin]                                     # OpenID Connect
  issuer = "https://auth.example.go.jp"
  client_id = "history-portal"
  key = "signin.key"                           # for private_key_jwt
  acr = ["card"]                               # of which one must be in every ID token

  [link]                                       # who signs in for the first time is found by this
  claim = "certificate_serial"
  namespace = "jpki-auth"

  [own]                                        # own data; left out: no such page
  keys = ["own.key"]                           # "hub key new"; its public half: "hub key register HUB portal KEY"
  looks_a_day = 20                             # of one person

  [alerts]                                     # by mail; left out: no such page
  sender = "no-reply@history.example.go.jp"
  hour = 9                                     # of the day in Japan, from which mails go

  [alerts.smtp]
  host = "mail.example.go.jp"
  port = 587
  tls = "starttls"                             # or "implicit"; "none" on loopback only
  user = "history"
  password = "smtp.password"                   # a file

Examples:
  hub portal --config portal.toml
  hub portal --own-rules rules                 the law by which it may ask for own data, for "hub catalog import"
  hub portal --config portal.toml --link people.csv     where sign-in gives no identifier to find people by
  hub portal --demo                            hub, portal and a stand-in for sign-in, with invented people

Exit status: 0 stopped; 2 the configuration is wrong; 3 disk.
"""


def add_commands(commands: Any) -> None:
    """Add ``portal``."""
    parser = commands.add_parser("portal", help="the citizen's pages: who asked about me, and why", epilog=EPILOG)
    parser.description = "Serve the citizen's pages."
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--config", metavar="FILE", help="TOML, see below")
    which.add_argument("--demo", action="store_true", help="everything on this machine, with invented people")
    which.add_argument("--own-rules", metavar="FOLDER", help="write the rules for own data there, and end")
    parser.add_argument("--link", metavar="FILE", help="enter who is who from a CSV (sub,alias), and end; - for stdin")
    parser.add_argument("--port", type=int, default=8080, help="of --demo (default: 8080)")
    parser.set_defaults(run=run_portal)


def run_portal(arguments: argparse.Namespace) -> int:
    """Serve until stopped."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    try:
        # Here and not above: no other command waits for what pages need, or needs it.
        from hub.portal.app import serve
        from hub.portal.config import load_config
    except ModuleNotFoundError as error:
        raise RequestError(f"portal: {error.name} is not installed (pip install 'hub[portal]')") from None
    if arguments.own_rules:
        return write_own_rules(Path(arguments.own_rules))
    if arguments.demo:
        from hub.portal.demo import run_demo

        return run_demo(arguments.port, lambda text: print(text, flush=True))
    config = load_config(Path(arguments.config))
    if arguments.link:
        print(f"{link_people(config, arguments.link):,} people")
        return 0
    try:
        serve(config, ready=lambda: print(f"serving {config.address}", flush=True))
    except OSError as error:
        raise RequestError(f"listen {config.listen}: {error.strerror or error}") from None
    print("stopped")
    return 0


def write_own_rules(folder: Path) -> int:
    """Write the rules for own data, each file as it is to be imported, in the order of their printing.

    Raises:
        RequestError: a file is there already, or cannot be written.
    """
    from hub.portal.owndata import rule_files

    try:
        folder.mkdir(exist_ok=True)
        for name, content in rule_files().items():
            with (folder / name).open("xb") as file:
                file.write(content)
            print(folder / name)
    except OSError as error:
        raise RequestError(f"{folder}: {error.strerror}") from None
    return 0


def link_people(config: Config, name: str) -> int:
    """Enter the people of a CSV file, with the columns ``sub`` and ``alias`` (32 hex digits); returns how many.

    Raises:
        RequestError: the file or a line of it has another form; nothing was changed.
    """
    from hub.portal.links import Links, who_of

    found: list[tuple[bytes, bytes]] = []
    try:
        with open(0 if name == "-" else name, encoding="utf-8-sig", newline="", closefd=name != "-") as file:
            for number, line in enumerate(csv.DictReader(file), 2):
                sub, alias = line.get("sub") or "", line.get("alias") or ""
                try:
                    raw = bytes.fromhex(alias)
                except ValueError:
                    raw = b""
                if not sub or len(alias) != 32 or len(raw) != 16:
                    raise RequestError(f"line {number}: expected sub,alias with 32 hex digits, got something else")
                found.append((who_of(config.signin.issuer, sub), raw))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RequestError(f"{name}: cannot be read: {type(error).__name__}") from None
    links = Links(config.links)
    try:
        links.put_all(found)
    finally:
        links.close()
    return len(found)
