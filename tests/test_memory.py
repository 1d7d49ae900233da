"""Freed memory stays with the process, where the C library is glibc."""

import subprocess
import sys

import pytest

_PROGRAM = """
import sys
from eve_core.memory import keep_freed_memory

def resident() -> int:
    fields = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
    return int(fields["VmRSS"].split()[0])

keep = sys.argv[1] == "keep"
if keep and not keep_freed_memory():
    sys.exit(3)
import numpy
block = numpy.ones(32 * 2**20)
full = resident()
del block
print((full - resident()) // 1024)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_freed_memory_is_kept():
    returned = {}
    for how in ("keep", "plain"):
        done = subprocess.run([sys.executable, "-c", _PROGRAM, how], capture_output=True, text=True, check=False)
        if done.returncode == 3:
            pytest.skip("the C library is not glibc")
        returned[how] = int(done.stdout)
    assert returned["plain"] > 200  # of 256 MiB
    assert returned["keep"] < 20
