"""What a server frees goes back to the system, whatever small thing stands behind it in the heap."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from hub.wire.memory import return_memory

def mib():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) / 1024

# As uploads do it: a large buffer first, which teaches glibc to take such ones from the heap from then on.
bytearray(8 << 20)
# Holes that the imports left behind are filled, or the small ones would go into them instead of behind the parts.
part, small = 200_000, 2_000  # Not written out below: a constant product would be one object.
holes = [b"\\1" * small for _ in range(10_000)]
before, kept, parts = mib(), [], []
for _ in range(400):
    parts.append(b"\\1" * part)
    kept.append(b"\\1" * small)
most = mib()
parts.clear()
if sys.argv[1] == "little":
    assert not return_memory(1 << 30)
if sys.argv[1] == "yes" and not return_memory(1 << 20):
    print("none")
    sys.exit()
print(most - before, mib() - before)
"""


@pytest.mark.parametrize("how", ["yes", "little", "no"])
def test_freed_parts_of_uploads_do_not_stay(how: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True, timeout=60)
    if done.stdout.strip() == "none":
        pytest.skip("no glibc here")
    most, left = map(float, done.stdout.split())
    assert most > 70
    # Without it they do, all of them: if that were to change the switch could go.
    assert (left < 6) == (how == "yes"), f"{left:.0f} MiB are left"
