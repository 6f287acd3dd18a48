"""The gate by itself: ``python -m hub.bench.gate`` is ``python -m hub.bench gate``."""

import sys

from hub.bench.gate.command import main

sys.exit(main(sys.argv[1:]))
