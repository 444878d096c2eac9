"""Running, storing, scoring and reporting. Import it as ``daytwo.evaluation``."""

if __name__ != "daytwo.evaluation":
    raise ImportError(
        f"The folder evaluation/ is the package daytwo.evaluation, but was imported as {__name__!r}: "
        "write 'import daytwo.evaluation'. A second copy of its classes would equal none of the first."
    )

from daytwo.evaluation.report import write_report
from daytwo.evaluation.running import Result, evaluate
from daytwo.evaluation.scoring import Scores, score
from daytwo.evaluation.store import Store, StoreError
from daytwo.evaluation.suite import Cell, Outcome, benchmark_cells, run_suite

__all__ = [
    "Cell",
    "Outcome",
    "Result",
    "Scores",
    "Store",
    "StoreError",
    "benchmark_cells",
    "evaluate",
    "run_suite",
    "score",
    "write_report",
]
