"""Running, storing, scoring and reporting. Import it as ``daytwo.evaluation``."""

if __name__ != "daytwo.evaluation":
    raise ImportError(
        f"The folder evaluation/ is the package daytwo.evaluation, but was imported as {__name__!r}: "
        "write 'import daytwo.evaluation'. A second copy of its classes would equal none of the first."
    )

from daytwo.evaluation.cells import Cell
from daytwo.evaluation.protocols import PROTOCOLS, Protocol, find_protocols
from daytwo.evaluation.report import write_report
from daytwo.evaluation.running import Result, evaluate
from daytwo.evaluation.scoring import Scores, score
from daytwo.evaluation.store import Store, StoreError
from daytwo.evaluation.suite import Outcome, run_suite

__all__ = [
    "PROTOCOLS",
    "Cell",
    "Outcome",
    "Protocol",
    "Result",
    "Scores",
    "Store",
    "StoreError",
    "evaluate",
    "find_protocols",
    "run_suite",
    "score",
    "write_report",
]
