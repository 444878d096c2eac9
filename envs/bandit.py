"""Bandit: which arm pays, found out once and used for a lifetime."""

import numpy as np
from gymnasium import spaces
from numba.extending import register_jitable

from daytwo.course import Level
from daytwo.family import Scene, TaskFamily
from daytwo.narration import Symbols, Vocabulary
from daytwo.streams import integer, normal, uniform

BERNOULLI, GAUSSIAN, INFORMATIVE = 0, 1, 2
KINDS = (
    "bernoulli",
    "gaussian",
    "dependent-uniform",
    "dependent-easy",
    "dependent-medium",
    "dependent-hard",
    "informative",
)
# Dependent arms: p1 is one of these two with equal odds, p2 = 1 - p1 (Wang et al. 2016, section 3.1.2).
_DEPENDENT = {"dependent-easy": (0.1, 0.9), "dependent-medium": (0.25, 0.75), "dependent-hard": (0.4, 0.6)}
GAUSSIAN_NOISE = 0.3
INFORMATIVE_ARMS, INFORMATIVE_PULLS = 11, 5


@register_jitable
def draw(settings, task, stream, i):
    if settings.payoff == INFORMATIVE:
        target = integer(stream, i, 10)
        for k in range(10):
            task.p[i, k] = 5.0 if k == target else 1.0
        task.p[i, 10] = (target + 1.0) / 10.0
    elif settings.dependent == 2:
        task.p[i, 0] = settings.pair[integer(stream, i, 2)]
        task.p[i, 1] = 1.0 - task.p[i, 0]
    elif settings.dependent == 1:
        task.p[i, 0] = uniform(stream, i)
        task.p[i, 1] = 1.0 - task.p[i, 0]
    else:
        for k in range(settings.arms):
            task.p[i, k] = uniform(stream, i)


@register_jitable
def begin(settings, task, state, level, stream, i):
    state.pulls[i] = 0


@register_jitable
def step(settings, task, state, level, stream, i, action):
    state.pulls[i] += 1
    if settings.payoff == BERNOULLI:
        reward = 1.0 * (uniform(stream, i) < task.p[i, action])  # a product: a branch would be mispredicted
    elif settings.payoff == GAUSSIAN:
        reward = task.p[i, action] + GAUSSIAN_NOISE * normal(stream, i)
    else:
        reward = task.p[i, action]
    return reward, False


@register_jitable
def observe(settings, task, state, level, i, out):
    pass


@register_jitable
def oracle(settings, task, state, level, i):
    best = 0
    for k in range(1, settings.offered[level]):
        if task.p[i, k] > task.p[i, best]:
            best = k
    return best


class Bandit(TaskFamily):
    """A row of arms with hidden payoffs that stay for a lifetime.

    What it tests:
        Exploration: trading what is known to pay against what might pay more.
    Task:
        ``p``: the success probability of each arm, iid uniform on [0, 1]. By ``kind``: ``gaussian`` (means uniform
        on [0, 1], standard deviation 0.3), ``dependent-*`` (two arms, p2 = 1 - p1, with p1 uniform, or one of
        {.1, .9}, {.25, .75}, {.4, .6}), ``informative`` (11 arms: one of the first ten pays 5, the others 1, and the
        last pays a tenth of the target's number, counted from 1).
    Episode:
        ``pulls`` pulls (20).
    Observation:
        Nothing of its own: the previous action and reward say it all.
    Action:
        ``Discrete(arms)``: the arm to pull.
    Reward:
        1 with the arm's probability, else 0; for ``gaussian`` the arm's mean plus noise; for ``informative`` the
        arm's pay.
    Levels:
        The first 2, 5 and 10 arms of the same task (those numbers below ``arms``, then ``arms``); ``dependent-*``
        and ``informative`` have one level.
    Oracle:
        Pulls the best arm: ``pulls * k / (k + 1)`` per episode with k Bernoulli arms.
    Reference learner:
        The Gittins index for Bernoulli arms, Thompson sampling for Gaussian ones, exact Bayes for ``informative``.
    Source:
        Duan et al. 2016 (RL2, arXiv 1611.02779), section 3.1; Wang et al. 2016 (arXiv 1611.05763), section 3.1; Lee et
        al. 2023 (DPT, arXiv 2306.14892) for the Gaussian arms.
    """

    name = "Bandit"
    tags = ("exploration",)
    reactive = "win-stay"
    harder = {"pulls": 10}
    draw = staticmethod(draw)
    begin = staticmethod(begin)
    step = staticmethod(step)
    observe = staticmethod(observe)
    oracle = staticmethod(oracle)

    def __init__(self, *, arms: int | None = None, pulls: int | None = None, kind: str = "bernoulli") -> None:
        """Set the size.

        Args:
            arms: how many arms, 2 to 1000; 10 by default, and fixed for ``dependent-*`` (2) and ``informative`` (11).
            pulls: pulls per episode, 1 to 100000; 20 by default, 5 for ``informative``.
            kind: one of ``bernoulli``, ``gaussian``, ``dependent-uniform``, ``dependent-easy``,
                ``dependent-medium``, ``dependent-hard``, ``informative``.
        """
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}; received {kind!r}.")
        dependent = kind.startswith("dependent")
        informative = kind == "informative"
        fixed = 2 if dependent else INFORMATIVE_ARMS if informative else None
        arms = (fixed or 10) if arms is None else arms
        pulls = (INFORMATIVE_PULLS if informative else 20) if pulls is None else pulls
        if fixed is not None and arms != fixed:
            raise ValueError(f"kind={kind!r} has {fixed} arms, received arms={arms!r}.")
        if isinstance(arms, bool) or not isinstance(arms, int | np.integer) or not 2 <= arms <= 1000:
            raise ValueError(f"arms must be an integer in 2..1000, received {arms!r}.")
        if isinstance(pulls, bool) or not isinstance(pulls, int | np.integer) or not 1 <= pulls <= 100_000:
            raise ValueError(f"pulls must be an integer in 1..100000, received {pulls!r}.")
        arms, pulls = int(arms), int(pulls)
        sizes = [arms] if fixed else [size for size in (2, 5, 10) if size < arms] + [arms]
        self.reference = "bayes-optimal" if informative else "thompson" if kind == "gaussian" else "gittins"
        super().__init__(
            keywords={"arms": arms, "pulls": pulls, "kind": kind},
            settings={
                "arms": arms,
                "payoff": INFORMATIVE if informative else GAUSSIAN if kind == "gaussian" else BERNOULLI,
                "dependent": 2 if kind in _DEPENDENT else int(dependent),
                "pair": _DEPENDENT.get(kind, (0.0, 1.0)),
                "offered": sizes,
            },
            # Room for at least the standard number of arms, so that smaller ones share the compiled loop.
            task=[("p", "f8", (max(arms, 10),))],
            state=[("pulls", "i8")],
            levels=[Level(f"{size} arms", pulls, actions=tuple(arm < size for arm in range(arms))) for size in sizes],
            actions=spaces.Discrete(arms),
            reward_range=(-20.0, 20.0) if kind == "gaussian" else (0.0, 5.0) if informative else (0.0, 1.0),
            distinct_tasks=10 if informative else 2 if kind in _DEPENDENT else None,
            action_names=[f"arm {arm}" for arm in range(arms)],
        )

    def exact_oracle_return(self, level: int) -> float | None:
        """The oracle's mean episode return in closed form, or None where there is none."""
        pulls, size = self.keywords["pulls"], sum(self.levels[level].actions or ())
        kind = self.keywords["kind"]
        if kind in ("bernoulli", "gaussian"):
            return pulls * size / (size + 1)
        if kind == "dependent-uniform":
            return pulls * 0.75
        return pulls * 5.0 if kind == "informative" else pulls * max(_DEPENDENT[kind])

    def describe_rules(self, level: int) -> str:
        size = sum(self.levels[level].actions or ())
        return (
            f"There are {size} arms, numbered from 0. Each pull of an arm pays according to that arm's own hidden "
            f"chances, which never change. You have {self.keywords['pulls']} pulls an episode; the arms stay the same."
        )

    def describe_observation(self, values: np.ndarray, level: int) -> str:
        return "pull an arm"

    def describe_action(self, action: int) -> str:
        return f"arm {int(action)}"

    def vocabulary(self, rename: bool) -> Vocabulary:
        return Vocabulary(
            (Symbols("arm", tuple(map(str, range(self.actions))), r"\barm NAME\b"),),
            rewrites=((r"^pull an arm$", "Pull an arm."), (r", numbered from 0\.", ".")),
        )

    def render_ansi(self, scene: Scene) -> str:
        size = sum(self.levels[scene.level].actions or ())
        arms = ["[*]" if scene.action == arm else "[ ]" for arm in range(size)]
        lines = [
            f"Bandit  {size} arms  pull {scene.time} of {self.keywords['pulls']}  return {scene.total:g}",
            "  ".join(f"{arm:^5}" for arm in range(size)),
            "  ".join(f"{arm:^5}" for arm in arms) + (f"   paid {scene.reward:g}" if scene.action is not None else ""),
        ]
        if scene.reveal:
            lines.append("  ".join(f"{scene.task.p[arm]:^5.2f}" for arm in range(size)))
        return "\n".join(lines)

    def render_rgb(self, scene: Scene) -> np.ndarray:
        from daytwo.pictures import Canvas

        size = sum(self.levels[scene.level].actions or ())
        canvas = Canvas(480, 260)
        canvas.text(
            12, 8, f"Bandit: {size} arms, pull {scene.time} of {self.keywords['pulls']}, return {scene.total:g}"
        )
        width = 456 // size
        top = float(max(self.reward_range[1], 1.0)) if self.keywords["kind"] != "gaussian" else 1.0
        for arm in range(size):
            left = 12 + arm * width
            pulled = scene.action == arm
            canvas.rectangle(left + 2, 60, left + width - 2, 220, fill="light", outline="ink")
            if scene.reveal:
                height = int(158 * min(1.0, max(0.0, float(scene.task.p[arm]) / top)))
                canvas.rectangle(left + 3, 219 - height, left + width - 3, 219, fill="goal")
            if pulled:
                canvas.rectangle(left + 2, 40, left + width - 2, 56, fill="agent")
                canvas.text(left + 4, 41, f"{scene.reward:g}", colour="paper")
            if size <= 20:
                canvas.text(left + width // 2 - 4, 228, str(arm))
        return canvas.array()
