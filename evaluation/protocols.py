"""Protocols: named, versioned suites of evaluations, each of which answers one question about learning to learn.

A protocol's id carries its version, such as ``core-v1``. The version changes whenever its evaluations do, so that
results under one id are always comparable. `daytwo benchmark` runs them and the report has a section for each.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from daytwo.agent import LifetimeSpec, agent_names, find_checkpoint, fitting_agents
from daytwo.course import Course, Stage
from daytwo.evaluation.cells import Cell
from daytwo.family import TaskFamily
from daytwo.lifetime import LifetimeVectorEnv
from daytwo.registration import env_ids

KEPT, WIPED, REDRAWN = ("kept", "fixed"), ("wiped", "fixed"), ("kept", "redrawn")
LENGTHS = (1, 2, 5)  # the protocol `length` has so many times the family's own number of episodes


@dataclass(frozen=True)
class Part:
    """What a protocol asks of every agent on one family: one course under one or several conditions.

    Attributes:
        settings: keyword arguments of the environment.
        conditions: pairs (memory, task).
        split: which tasks; families with too few tasks to split are run on ``"all"``.
    """

    settings: Mapping[str, Any]
    conditions: tuple[tuple[str, str], ...] = (KEPT, WIPED)
    split: str = "test"


@dataclass(frozen=True)
class Protocol:
    """A named suite of evaluations.

    Attributes:
        name: what `daytwo benchmark` calls it.
        version: raised whenever its evaluations change.
        question: what it answers, in one sentence.
        parts: family -> its `Part`s.
        lifetimes: of every evaluation.
        agents: names of the agents that live it by default; None is every registered agent that fits.
    """

    name: str
    version: int
    question: str
    parts: Callable[[TaskFamily], Iterable[Part]] = field(repr=False)
    lifetimes: int
    agents: tuple[str, ...] | None = None

    @property
    def id(self) -> str:
        """Name and version, such as ``core-v1``."""
        return f"{self.name}-v{self.version}"

    def cells(
        self,
        families: Sequence[str] | None = None,
        agents: Sequence[str] | None = None,
        *,
        lifetimes: int | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> list[Cell]:
        """Its evaluations.

        Args:
            families: environment ids, or ``"module:Class"`` of families; all registered ones by default.
            agents: names, ``"module:Class"``, or folders of checkpoints; the protocol's own by default. Those that
                are not meant for a family are left out there.
            lifetimes: of every evaluation, where not the protocol's own number: cells then carry another protocol id,
                so that nobody takes them for the protocol.
            seed: of the evaluations.
            settings: further keyword arguments for every environment; they, too, change the id.

        Returns:
            The cells, longest first.

        Raises:
            ValueError: an unknown family, agent or setting.
        """
        changes = [f"lifetimes={lifetimes}"] if lifetimes not in (None, self.lifetimes) else []
        changes += [f"{name}={value}" for name, value in settings.items()]
        protocol = f"{self.id} with {', '.join(changes)}" if changes else self.id
        wanted = self.agents if agents is None else tuple(agents)
        for agent in wanted or ():
            if agent not in _known_agents() and ":" not in agent and find_checkpoint(agent) is None:
                raise ValueError(
                    f"Unknown agent {agent!r}: expected some of {', '.join(_known_agents())}, the folder of a "
                    "checkpoint, or module:Class."
                )
        found = []
        for env_id in families or env_ids():
            for part in self.parts(_make(env_id, **settings)[0]):
                arguments = {**part.settings, **settings}
                family, spec = _make(env_id, **arguments)
                steps = sum(stage.episodes * spec.levels[stage.level].horizon for stage in spec.course.stages)
                count = self.lifetimes if lifetimes is None else lifetimes
                for agent in _agents(spec, wanted):
                    for memory, task in part.conditions:
                        found.append(
                            Cell(
                                agent=agent,
                                env_id=env_id,
                                settings=arguments,
                                memory=memory,
                                task=task,
                                split=part.split if part.split in family.splits else "all",
                                lifetimes=count,
                                seed=seed,
                                steps=float(steps * count),
                                protocol=protocol,
                            )
                        )
        return sorted(found, key=lambda cell: -cell.steps)


def _make(env_id: str, **settings: Any) -> tuple[TaskFamily, LifetimeSpec]:
    """The family, and what agents are told about it; unknown names raise, naming those there are."""
    env = LifetimeVectorEnv(env_id, num_envs=1, **settings)
    try:
        return env.family, env.lifetime_spec
    finally:
        env.close()


def _known_agents() -> tuple[str, ...]:
    return ("reference", "reactive", *agent_names())


def _agents(spec: LifetimeSpec, wanted: tuple[str, ...] | None) -> list[str]:
    """The agents that fit, by their own names where they are registered, each once.

    A family's reference learner is the same agent under both its names, and is evaluated once.
    """
    known = _known_agents()
    named = [] if wanted is None else [agent for agent in wanted if agent not in known]
    fitting = fitting_agents(spec, None if wanted is None else [agent for agent in wanted if agent in known])
    own = {"reference": spec.reference, "reactive": spec.reactive}
    resolved = [own[agent] if own.get(agent) in agent_names() else agent for agent in (*fitting, *named)]
    return list(dict.fromkeys(resolved))


# --- what the protocols ask -----------------------------------------------------------------------------------------


def _core(family: TaskFamily) -> Iterator[Part]:
    yield Part({"course": "progressive"}, (KEPT, WIPED, REDRAWN))


def _adapt(family: TaskFamily) -> Iterator[Part]:
    yield Part({"course": "single"}, (KEPT, WIPED, REDRAWN))


def pair_course(first: int, second: int, episodes: int) -> Course:
    """The course from which an entry of the transfer matrix is read: one level, then another, with the same task."""
    return Course([Stage(first, episodes), Stage(second, episodes)], name=f"level {first} then {second}")


def _transfer(family: TaskFamily) -> Iterator[Part]:
    levels = range(len(family.levels))
    yield Part({"course": "progressive"})
    yield Part({"course": "shuffled"})
    yield Part({"course": "isolated"}, (KEPT,))
    for level in levels:
        yield Part({"course": "single", "level": level}, (KEPT,))
    for first in levels:
        for second in levels:
            yield Part({"course": pair_course(first, second, family.episodes)}, (KEPT,))


def _retention(family: TaskFamily) -> Iterator[Part]:
    yield Part({"course": "review"})


def _switch(family: TaskFamily) -> Iterator[Part]:
    yield Part({"course": "switch", "episodes": 2 * family.episodes})


def _length(family: TaskFamily) -> Iterator[Part]:
    for factor in LENGTHS:
        yield Part({"course": "single", "episodes": factor * family.episodes})


def _generalisation(family: TaskFamily) -> Iterator[Part]:
    yield Part({"course": "progressive"}, split="test")
    yield Part({"course": "progressive"}, split="train")
    if family.harder:
        yield Part({"course": "progressive", **family.harder}, split="test")


LADDER = ("random", "reactive", "reference", "oracle")

PROTOCOLS: dict[str, Protocol] = {
    one.name: one
    for one in (
        Protocol(
            "core",
            1,
            "How well does an agent live a whole course, from the easiest level to the hardest, on unseen tasks?",
            _core,
            lifetimes=1024,
        ),
        Protocol(
            "adapt",
            1,
            "How well does an agent adapt to one new task at the hardest level, episode by episode?",
            _adapt,
            lifetimes=1024,
        ),
        Protocol(
            "transfer",
            1,
            "Does what is learnt at one level help at another, and does it harm where the task is another one?",
            _transfer,
            lifetimes=256,
            agents=("reactive", "reference"),
        ),
        Protocol(
            "retention",
            1,
            "Does an agent still know the first level when it returns from the last?",
            _retention,
            lifetimes=512,
            agents=LADDER,
        ),
        Protocol(
            "switch",
            1,
            "How soon does an agent recover when the hidden task changes without a word?",
            _switch,
            lifetimes=512,
            agents=LADDER,
        ),
        Protocol(
            "length",
            1,
            "Does an agent go on gaining, or at least hold its level, in lifetimes longer than usual?",
            _length,
            lifetimes=256,
            agents=LADDER,
        ),
        Protocol(
            "generalisation",
            1,
            "Does an agent do as well on tasks it was not trained on, and under harder settings?",
            _generalisation,
            lifetimes=512,
            agents=LADDER,
        ),
        Protocol(
            "quick",
            1,
            "A first look in a minute: the progressive course with four agents and few lifetimes.",
            _core,
            lifetimes=128,
            agents=LADDER,
        ),
    )
}


def find_protocols(names: str | Sequence[str]) -> list[Protocol]:
    """Protocols by name.

    Args:
        names: ``"core"``, ``"core,adapt"``, a list of names, or ``"all"`` (all but ``quick``, which is part of core).

    Raises:
        ValueError: an unknown name, or none.
    """
    words = [word.strip() for word in names.split(",")] if isinstance(names, str) else list(names)
    words = [word for word in words if word]
    if words == ["all"]:
        words = [name for name in PROTOCOLS if name != "quick"]
    for word in words:
        if word not in PROTOCOLS:
            raise ValueError(f"Unknown protocol {word!r}: expected some of {', '.join(PROTOCOLS)}, or all.")
    if not words:
        raise ValueError(f"Expected at least one protocol of {', '.join(PROTOCOLS)}, or all; received {names!r}.")
    return [PROTOCOLS[word] for word in dict.fromkeys(words)]
