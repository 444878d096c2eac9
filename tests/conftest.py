"""What holds for every test: one thread, a compilation cache, and property tests that are the same each time."""

import os
import shutil
import signal
import sys
import tempfile

import hypothesis
import pytest

# Before NumPy or torch is imported, and inherited by the worker processes and by every subprocess a test starts: two
# pools of spinning threads on two cores stall each other.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("MPLBACKEND", "Agg")

# A shell's background jobs ignore Ctrl-C and hand that on to whatever they start; tests of interrupts need it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# `make test` names a folder that lasts. Otherwise compiled code goes to one that all workers of this run share.
_own_cache = None
if "NUMBA_CACHE_DIR" not in os.environ:
    _own_cache = tempfile.mkdtemp(prefix="daytwo-numba-")
    os.environ["NUMBA_CACHE_DIR"] = _own_cache

hypothesis.settings.register_profile("daytwo", derandomize=True, database=None, deadline=None)
hypothesis.settings.load_profile("daytwo")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Hold torch to one thread, as soon as some test has imported it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the compilation cache, unless it was given; workers never made one, they inherit it."""
    if _own_cache is not None:
        shutil.rmtree(_own_cache, ignore_errors=True)
