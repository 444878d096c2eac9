"""Lifetimes for people: playing one in the terminal, and filming one as a GIF."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from daytwo.agent import make_agent
from daytwo.lifetime import LifetimeEnv, LifetimeVectorEnv
from daytwo.pictures import Canvas
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
            if family.continuous:
                say(f"{family.actions} numbers between -1 and 1, or what the rules name")
                continue
            names = [f"{k} {family.describe_action(k)}" for k in range(family.actions) if family.action_masks[level, k]]
            say("; ".join(names))
            continue
        try:
            action = family.parse_action(text, level)
        except ValueError as error:
            say(str(error))
            continue
        observation, _, over, _, info = env.step(action)
        say(f"{family.describe_action(action)}: reward {info['raw_reward']:g}")
        if "episode_return" in info:
            if "final_observation" in env.layout:
                part = env.layout["final_observation"] if not over else slice(0, env.layout.family_size)
                say(f"The last you see of it: {family.describe_observation(_flat(env, observation)[part], level)}")
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


def _flat(env: LifetimeEnv, observation: Any) -> np.ndarray:
    """An observation as one row, also where the environment was made with observation="dict"."""
    return np.concatenate(list(observation.values())) if isinstance(observation, dict) else observation


class _Filmed:
    """A lifetime of one agent, picture by picture."""

    def __init__(self, env_id: str, agent: Any, seed: int, settings: Mapping[str, Any], titled: bool) -> None:
        self.env = LifetimeVectorEnv(env_id, 1, privileged=True, autoreset_mode="Disabled", **settings)
        self.agent = make_agent(agent, self.env.lifetime_spec)
        self.name = agent if isinstance(agent, str) else type(agent).__name__
        self.titled, self.over = titled, False
        self.returns: list[float] = []
        seeds = lifetime_seeds(seed, 0, 1)
        self.observations, _ = self.env.reset(seed=seeds)
        self.agent.begin(self.env.lifetime_spec, seeds)
        if getattr(self.agent, "privileged", False):
            self.agent.attach(self.env)  # type: ignore[attr-defined]
        self.fresh = np.ones(1, dtype=np.bool_)

    def step(self) -> bool:
        """Take a step, unless the lifetime is over; whether an inner episode ended."""
        if self.over:
            return False
        self.observations, _, terminated, _, info = self.env.step(self.agent.act(self.observations, self.fresh))
        self.fresh, self.over = np.zeros(1, dtype=np.bool_), bool(terminated[0])
        if "episode_normalized_return" in info:
            self.returns.append(float(info["episode_normalized_return"][0]))
        return "episode_normalized_return" in info

    def picture(self, reveal: bool) -> np.ndarray:
        """The scene, under a title with the agent's name and what it reached in its episodes so far."""
        scene = self.env.family.render_rgb(self.env.scene(0, reveal=reveal))
        if not self.titled:
            return scene
        title = Canvas(scene.shape[1], 44)
        title.text(12, 4, self.name, size=15)
        title.text(12, 24, "episodes: " + " ".join(f"{g:.2f}" for g in self.returns[-8:]), size=13, colour="dark")
        return np.concatenate([title.array(), scene])


def film(
    env_id: str,
    path: str | Path,
    *,
    agent: Any = "reference",
    seed: int = 0,
    frames: int = 200,
    fps: int = 8,
    every: int = 1,
    width: int | None = None,
    reveal: bool = True,
    settings: Mapping[str, Any] | None = None,
) -> int:
    """Film one lifetime of an agent as a GIF, or the same lifetime of several agents side by side.

    Args:
        env_id: the environment's id.
        path: of the GIF.
        agent: a name or an `daytwo.Agent`, or a list of them.
        seed: which lifetime.
        frames: stop after this many; at least 1.
        fps: frames a second.
        every: show every so manieth step, besides the first and the last of each inner episode; at least 1.
        width: pixels of the picture of each agent, at most; the family's own by default.
        reveal: draw what is hidden from the agent, too.
        settings: keyword arguments of the environment.

    Returns:
        How many frames were written.

    Raises:
        ImportError: Pillow is missing.
        ValueError: a number below 1, or no agent.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("A GIF needs Pillow: pip install 'daytwo[report]'.") from error
    if frames < 1 or fps < 1 or every < 1 or (width is not None and width < 1):
        raise ValueError(f"frames, fps, every and width must be at least 1: {frames}, {fps}, {every}, {width}.")
    agents = list(agent) if isinstance(agent, list | tuple) else [agent]
    if not agents:
        raise ValueError("Expected at least one agent to film.")
    lives = [_Filmed(env_id, one, seed, settings or {}, len(agents) > 1) for one in agents]

    def picture() -> Any:
        image = Image.fromarray(np.concatenate([life.picture(reveal) for life in lives], axis=1))
        if width is not None and image.width > width * len(lives):
            height = round(image.height * width * len(lives) / image.width)
            image = image.resize((width * len(lives), height), Image.Resampling.LANCZOS)
        return image

    images, steps = [picture()], 0
    while not all(life.over for life in lives) and len(images) < frames:
        steps += 1
        ended = [life.step() for life in lives]
        if any(ended) or steps % every == 0:
            images.append(picture())
    # One palette for all, so that what does not move is the same in every picture and costs nothing.
    shown = images[:: max(1, len(images) // 8)]
    sheet = Image.new("RGB", (shown[0].width, sum(image.height for image in shown)))
    for k, image in enumerate(shown):
        sheet.paste(image, (0, sum(one.height for one in shown[:k])))
    palette = sheet.quantize(96, method=Image.Quantize.FASTOCTREE)
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    images[0].save(path, save_all=True, append_images=images[1:], duration=max(20, 1000 // fps), loop=0, optimize=True)
    return len(images)
