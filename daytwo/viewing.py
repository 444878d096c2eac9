"""Lifetimes for people: playing one in the terminal, and filming one as a GIF."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from daytwo.agent import make_agent
from daytwo.lifetime import LifetimeEnv, LifetimeVectorEnv
from daytwo.streams import lifetime_seeds

Say = Callable[[str], None]


def play(
    env_id: str,
    *,
    seed: int = 0,
    ask: Callable[[str], str] = input,
    say: Say = print,
    settings: Mapping[str, Any] | None = None,
) -> list[float]:
    """Let a person live one lifetime.

    Args:
        env_id: the environment's id.
        seed: which lifetime.
        ask: shows a prompt and returns a line; EOFError or the line ``quit`` ends the game.
        say: shows a text.
        settings: keyword arguments of the environment.

    Returns:
        The normalised returns of the episodes that were finished.
    """
    env = LifetimeEnv(env_id, **{"episodes": 3, **(settings or {})})
    env.reset(seed=seed)
    family, course = env.family, env.course
    curve: list[float] = []
    stage_levels = [stage.level for stage in course.stages]
    say(f"{family.id}: a lifetime of {course.episodes} episodes. Type an action, ? for the actions, or quit.")
    level, over = -1, False
    while not over:
        scene = env.scene(reveal=False)
        if scene.level != level:
            level = scene.level
            say(f"\n=== Level {level}: {family.levels[level].name} ===\n{family.describe_rules(level)}")
        if scene.time == 0:
            say(f"\n--- Episode {scene.episode + 1} of {course.episodes}; the bar to beat is {scene.bar:.2f} ---")
        say(family.render_ansi(scene))
        try:
            text = ask("> ").strip()
        except EOFError:
            text = "quit"
        if text in ("quit", "q", "exit"):
            say("You left.")
            break
        if text in ("?", "help"):
            names = [f"{k} {family.describe_action(k)}" for k in range(family.actions) if family.action_masks[level, k]]
            say("; ".join(names) if not family.continuous else f"{family.actions} numbers between -1 and 1")
            continue
        try:
            action = family.parse_action(text, level)
        except ValueError as error:
            say(str(error))
            continue
        _, _, over, _, info = env.step(action)
        say(f"{family.describe_action(action)}: reward {info['raw_reward']:g}")
        if "episode_return" in info:
            g = info["episode_normalized_return"]
            curve.append(g)
            verdict = "beat" if info["improvement"] > 0 else "stayed below"
            say(
                f"Episode over: return {info['episode_return']:g}, normalised {g:.2f} (0 is random, 1 the oracle). "
                f"You {verdict} the bar of {info['bar']:.2f}: improvement {info['improvement']:+.2f}."
            )
    if curve:
        say("\nYour adaptation curve (normalised return by episode):")
        for k, g in enumerate(curve):
            say(f"  {k + 1:3d}  {g:6.2f}  {'#' * max(0, min(50, round(25 * g)))}")
        if len(stage_levels) > 1 and over:
            say("Each level keeps a bar of its own.")
    return curve


def film(
    env_id: str,
    path: str | Path,
    *,
    agent: Any = "reference",
    seed: int = 0,
    frames: int = 200,
    fps: int = 8,
    reveal: bool = True,
    settings: Mapping[str, Any] | None = None,
) -> int:
    """Film one lifetime of an agent as a GIF.

    Args:
        env_id: the environment's id.
        path: of the GIF.
        agent: a name or an `daytwo.Agent`.
        seed: which lifetime.
        frames: stop after this many; at least 1.
        fps: frames a second.
        reveal: draw what is hidden from the agent, too.
        settings: keyword arguments of the environment.

    Returns:
        How many frames were written.

    Raises:
        ImportError: Pillow is missing.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("A GIF needs Pillow: pip install 'daytwo[report]'.") from error
    if frames < 1 or fps < 1:
        raise ValueError(f"frames and fps must be at least 1, received {frames} and {fps}.")
    env = LifetimeVectorEnv(env_id, 1, privileged=True, autoreset_mode="Disabled", **(settings or {}))
    made = make_agent(agent, env.lifetime_spec)
    seeds = lifetime_seeds(seed, 0, 1)
    observations, _ = env.reset(seed=seeds)
    made.begin(env.lifetime_spec, seeds)
    if getattr(made, "privileged", False):
        made.attach(env)  # type: ignore[attr-defined]
    pictures = [env.family.render_rgb(env.scene(0, reveal=reveal))]
    fresh, over = np.ones(1, dtype=np.bool_), False
    while not over and len(pictures) < frames:
        observations, _, terminated, _, _ = env.step(made.act(observations, fresh))
        fresh, over = np.zeros(1, dtype=np.bool_), bool(terminated[0])
        pictures.append(env.family.render_rgb(env.scene(0, reveal=reveal)))
    images = [Image.fromarray(picture).quantize(64) for picture in pictures]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    images[0].save(path, save_all=True, append_images=images[1:], duration=max(20, 1000 // fps), loop=0)
    return len(pictures)
