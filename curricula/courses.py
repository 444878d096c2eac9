"""The named courses: each a function from a family's levels to the stages of a lifetime.

``episodes`` is the number of episodes of a stage, and every level from 0 up to ``levels - 1`` exists. Functions that
take a ``level`` are about that level alone. Your own: a `daytwo.Course`, a file that `Course.save` wrote, or a function
like these under a name (`daytwo.register_course`); see ``docs/curricula.md``.
"""

from daytwo.course import Course, Stage


def progressive(levels: int, episodes: int) -> Course:
    """Every level in order."""
    return Course([Stage(k, episodes) for k in range(levels)])


def single(levels: int, episodes: int, level: int) -> Course:
    """One level alone."""
    return Course([Stage(level, episodes)])


def shuffled(levels: int, episodes: int) -> Course:
    """The stages of progressive, in an order drawn anew for every lifetime."""
    return Course([Stage(k, episodes) for k in range(levels)], shuffle=True)


def reversed_(levels: int, episodes: int) -> Course:
    """From the top level down."""
    return Course([Stage(k, episodes) for k in reversed(range(levels))])


def isolated(levels: int, episodes: int) -> Course:
    """As progressive, with a new task at each stage: the control for building on what was learnt."""
    return Course([Stage(k, episodes, new_task=k > 0) for k in range(levels)])


def review(levels: int, episodes: int) -> Course:
    """Progressive, then level 0 again."""
    return Course([Stage(k, episodes) for k in (*range(levels), 0)])


def switch(levels: int, episodes: int, level: int) -> Course:
    """One level, whose task is redrawn, unannounced, after half of the episodes."""
    if episodes < 2:
        raise ValueError(f"course='switch' needs at least 2 episodes, received {episodes}.")
    return Course([Stage(level, episodes, switch_after=episodes // 2)])


def interleaved(levels: int, episodes: int) -> Course:
    """One episode of every level in turn, ``episodes`` times: mixed practice (Rohrer and Taylor 2007)."""
    return Course([Stage(k, 1) for _ in range(episodes) for k in range(levels)])


def spaced(levels: int, episodes: int) -> Course:
    """Progressive with reviews: level j returns after 1, 2, 4, 8... further levels, for a fifth of a stage each time.

    Spaced repetition at expanding intervals (Landauer and Bjork 1978); the reviews come after the new level, the latest
    one first.
    """
    stages = []
    for k in range(levels):
        stages.append(Stage(k, episodes))
        gaps = [1 << power for power in range(k.bit_length())]
        stages += [Stage(k - gap, max(1, episodes // 5)) for gap in gaps if gap <= k]
    return Course(stages)
