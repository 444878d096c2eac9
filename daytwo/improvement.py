"""The improvement rules: what an episode is paid, and how the bar moves.

Everything is in normalised returns ``g`` (0 is the random policy, 1 the oracle). Each level keeps a bar that starts
at 0, the random policy, a fixed anchor that the agent cannot lower:

    improvement_k = g_k - bar_k            bar_{k+1} = (1 - rate) * bar_k + rate * g_k

In the undiscounted sum over K episodes the weight of g_j is ``(1 - rate) ** (K - j)``: never negative, so playing an
episode badly on purpose never pays. That holds for ``improvement``, ``return`` (rate 0), ``final`` (rate 1) and
``best``. The rules ``mean`` and ``difference`` break it and exist for research on reward hacking only: under them
the optimal agent fails on purpose first.
"""

from dataclasses import dataclass
from numbers import Real

from numba.extending import register_jitable

LINEAR, BEST, MEAN, DIFFERENCE, RAW = 0, 1, 2, 3, 4
RULES = ("improvement", "return", "final", "best", "raw", "mean", "difference")
SAFE_RULES = ("improvement", "return", "final", "best")
EXPLOITABLE_RULES = ("mean", "difference")


@register_jitable
def next_bar(kind, rate, bar, g, played):
    """The bar after an episode.

    Args:
        kind: LINEAR, BEST, MEAN, DIFFERENCE or RAW.
        rate: how far the bar moves towards ``g``, in [0, 1] (LINEAR only).
        bar: the bar before the episode.
        g: the episode's normalised return.
        played: episodes finished at this level before this one.
    """
    if kind == LINEAR:
        return (1.0 - rate) * bar + rate * g
    if kind == BEST:
        return max(bar, g)
    if kind == MEAN:
        return (bar * played + g) / (played + 1.0)
    if kind == DIFFERENCE:
        return g
    return bar


@register_jitable
def improvement(kind, bar, g, played):
    """What an episode of normalised return ``g`` is paid in total, given the bar it met (RAW is paid elsewhere)."""
    if kind == BEST:
        return max(0.0, g - bar)
    if kind == DIFFERENCE and played == 0:
        return 0.0
    return g - bar


@dataclass(frozen=True)
class ImprovementRule:
    """A validated reward rule.

    Attributes:
        name: one of `RULES`. ``improvement`` (the default), ``return`` (normalised return), ``final`` (pays for the
            last episode of each level alone), ``best`` (beats the best so far; pays for luck when returns are
            noisy), ``raw`` (the family's own reward untouched), and, exploitable on purpose, ``mean`` (bar at the
            mean of past episodes) and ``difference`` (gain over the previous episode, the first one unpaid).
        rate: how far the bar moves towards each episode's return, in [0, 1]; used by ``improvement`` alone.
        dense: pay on every step (the sum over an episode is the same), or all of it on the episode's last step.
    """

    name: str = "improvement"
    rate: float = 0.25
    dense: bool = True

    def __post_init__(self) -> None:
        if self.name not in RULES:
            raise ValueError(f"Unknown reward rule {self.name!r}: expected one of {', '.join(RULES)}.")
        if isinstance(self.rate, bool) or not isinstance(self.rate, Real) or not 0.0 <= self.rate <= 1.0:
            raise ValueError(f"rate must be a number in [0, 1], received {self.rate!r}.")
        if not isinstance(self.dense, bool):
            raise ValueError(f"dense must be True or False, received {self.dense!r}.")

    @property
    def kind(self) -> int:
        """The rule's code in compiled loops."""
        codes = {"best": BEST, "mean": MEAN, "difference": DIFFERENCE, "raw": RAW}
        return codes.get(self.name, LINEAR)

    @property
    def effective_rate(self) -> float:
        """The rate that the rule uses: 0 for ``return``, 1 for ``final``."""
        return {"return": 0.0, "final": 1.0}.get(self.name, float(self.rate))

    def pay(self, normalized_returns: list[float]) -> list[float]:
        """What each of a level's successive episodes is paid, given their normalised returns in lived order."""
        bar, paid = 0.0, []
        for played, g in enumerate(normalized_returns):
            paid.append(improvement(self.kind, bar, g, played))
            bar = next_bar(self.kind, self.effective_rate, bar, g, played)
        return paid
