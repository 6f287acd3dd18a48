"""``hub serve``: answer institutions over the wire."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hub.errors import RequestError

DEMO_PORT = 7411
PEM_BYTES_MAX = 1 << 20

EPILOG = """\
The folder stays marked as served: from then on "hub acquire" is refused there, since whoever calls it
learns two aliases of a person. Stop it with SIGTERM: it takes no more calls and answers those that are
open. With SIGHUP it reads the revocation lists again, as it does when they change.

hub.toml:
  folder = "linkage"
  listen = "0.0.0.0:7411"
  address = "hubs://hub.example.go.jp:7411"    # as clients connect to it

  [tls]                                        # PEM files
  certificate = "server.pem"
  key = "server.key"
  ca = "clients-ca.pem"                        # who issues the clients' certificates
  crls = ["clients-ca.crl"]

  [[certificates]]                             # one for each client: for whom it may call
  name = "kanto-platform"                      # recorded as operator
  key_sha256 = "<64 hex digits>"               # of its public key; or: san = "wire.kanto.example"
  institutions = ["131016", "131024"]

  [http]                                       # the same over HTTP, see docs/http.md; one of both, or both
  listen = "0.0.0.0:7443"                      # with the same certificates
  [http.proxy]
  socket = "/run/hub/http.sock"                # for a proxy that checks certificates and passes them on

  [quotas.default]                             # of each institution; or [quotas.131016], of one
  rows_per_s = 200000                          # beyond them: BUSY, with the time after which there is room
  burst_rows = 2000000                         # at once; one call may have more, and pays it off afterwards
  bytes_in_flight = 268435456
  open_requests = 1000

  [metrics]                                    # for Prometheus, plain HTTP
  listen = "127.0.0.1:9411"

  [log]                                        # JSON lines; without it, to standard error
  file = "hub.log"
  level = "info"
  slow_s = 1.0                                 # a call that takes longer leaves a line
  slow_bulk_s = 60.0

  [limits]                                     # of the whole server, see docs/operations.md
  free_bytes_min = 67108864                    # with less room on the disk, what writes is BUSY

The SHA-256 of the public key of a certificate, or of a request for one (CSR):
  hub serve --key-sha256 client.pem

Examples:
  hub serve --config hub.toml
  hub serve --demo                  try it: a hub with people who do not exist, on this machine only
  hub serve --demo try --port 0     the same in the folder try, at any port

Exit status: 0 stopped; 2 the configuration is wrong, or the folder is in use; 3 disk.
"""


def add_commands(commands: Any) -> None:
    """Add ``serve``."""
    parser = commands.add_parser("serve", help="answer institutions over the network", epilog=EPILOG)
    parser.description = "Answer institutions over the network, each by its certificate."
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", metavar="FILE", help="TOML, see below")
    what.add_argument("--key-sha256", metavar="PEM", help="print what hub.toml needs to know of a client's certificate")
    what.add_argument(
        "--demo", nargs="?", const="", metavar="FOLDER",
        help="for trying only: make a small hub and certificates in FOLDER (default: a temporary one), and serve it",
    )  # fmt: skip
    parser.add_argument("--port", type=int, metavar="N", help=f"of --demo, on loopback (default: {DEMO_PORT}; 0: any)")
    parser.add_argument("--plain", action="store_true", help="agree to [plain] instead of [tls], on loopback only")
    parser.set_defaults(run=run_serve)


def run_serve(arguments: argparse.Namespace) -> int:
    """Serve until stopped."""
    if arguments.port is not None and arguments.demo is None:
        raise RequestError("--port: expected with --demo only (hub.toml has listen), got it without")
    if arguments.key_sha256 is not None:
        return run_key_sha256(Path(arguments.key_sha256))
    if arguments.demo is None:
        return _serve(Path(arguments.config), plain=arguments.plain, told=lambda address: [])
    if arguments.demo:
        return run_demo(Path(arguments.demo), arguments.port)
    with tempfile.TemporaryDirectory(prefix="hub-demo-") as folder:
        return run_demo(Path(folder), arguments.port)


def run_key_sha256(path: Path) -> int:
    """Print the SHA-256 of a certificate's public key."""
    from hub.commands.trial import key_sha256_of

    with path.open("rb") as file:
        print(key_sha256_of(file.read(PEM_BYTES_MAX)))
    return 0


def run_demo(folder: Path, port: int | None) -> int:
    """Make what there is to try, and serve it."""
    from hub.commands.trial import Trial

    port = DEMO_PORT if port is None else port
    if not 0 <= port <= 65_535:
        raise RequestError(f"--port: expected 0 to 65535, got {port}")
    trial = Trial(folder)
    trial.prepare(port)
    return _serve(trial.config, plain=False, told=trial.welcome)


def _serve(path: Path, *, plain: bool, told: Callable[[str], list[str]]) -> int:
    # Here and not above: no other command waits for what a network needs.
    from hub.server import Server, serve
    from hub.wire.config import load_config

    config = load_config(path, plain=plain)

    def ready(server: Server) -> None:
        more = "" if server.http is None or server.http.address is None else f" and {server.http.address}"
        print(f"serving {config.folder} at {server.address}{more}", *told(server.address), sep="\n", flush=True)

    try:
        serve(config, ready=ready)
    except OSError as error:
        raise RequestError(f"listen {config.listen}: {error.strerror or error}") from None
    print("stopped")
    return 0
