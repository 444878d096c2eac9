"""Scores of whole suites: aggregates over environments and training seeds, profiles, and differences of agents.

An agent's suite is a mapping from environments to its results there with their amnesiac twins, one pair for each
training seed (an agent that is not trained has one). The statistics are rliable's, which it imports when they are
asked for. The bootstrap is our own, so that it stays paired: in every resample, lifetimes are drawn anew, the same ones
for all agents and environments that share a seed, and training seeds are drawn anew for each agent.

Source: Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice": interquartile
mean, optimality gap, performance profiles, probability of improvement, stratified bootstrap intervals.
"""

import importlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from daytwo.checks import check_choice
from daytwo.evaluation.metrics import area, first, first_episode_deficit, split_stages
from daytwo.evaluation.scoring import (
    BestMemoryless,
    check_shared,
    memoryless_area,
    paired,
    paired_weights,
    random_error,
)
from daytwo.evaluation.statistics import (
    RESAMPLES,
    TAIL,
    Estimate,
    Exported,
    bootstrap_weights,
    difference,
    estimate,
    interval,
    resampled_means,
)

if TYPE_CHECKING:
    from daytwo.evaluation.running import Result

    # Environment -> one pair of result and amnesiac twin for every training seed.
    Entries = Mapping[str, Sequence[tuple[Result, Result]]]

IMPROVEMENT_RESAMPLES = 500  # each costs a product of matrices as wide as there are lifetimes


def _rliable(module: str) -> Any:
    """One of rliable's modules; it is imported here because it brings SciPy and pandas along."""
    try:
        return importlib.import_module(f"rliable.{module}")
    except ImportError as error:
        missing = (error.name or "rliable").partition(".")[0]
        raise ImportError(f"Suite scores need {missing}: pip install 'daytwo[report]'.") from error


# --- statistics of one number per training seed and environment -----------------------------------------------------


@dataclass(frozen=True)
class _Sampled:
    """One number per training seed and environment, as it is and under every resample."""

    values: np.ndarray  # float64[seeds, environments]
    samples: np.ndarray  # float64[resamples, seeds, environments]


def interquartile_means(samples: np.ndarray) -> np.ndarray:
    """The interquartile means of many matrices at once, each as rliable's ``aggregate_iqm`` has it.

    Args:
        samples: ``float64[resamples, seeds, environments]``.

    Returns:
        ``float64[resamples]``; NaN where any entry is NaN.
    """
    flat = samples.reshape(len(samples), -1)
    cut = int(0.25 * flat.shape[1])
    means = np.sort(flat, axis=1)[:, cut : flat.shape[1] - cut].mean(axis=1)
    return np.where(np.isnan(flat).any(axis=1), np.nan, means)


# rliable's statistic of a matrix, and the same of many matrices at once.
_STATISTICS: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "interquartile mean": ("aggregate_iqm", interquartile_means),
    "mean": ("aggregate_mean", lambda samples: samples.mean(axis=(1, 2))),
    "median": ("aggregate_median", lambda samples: np.median(samples.mean(axis=1), axis=1)),
    "optimality gap": ("aggregate_optimality_gap", lambda samples: 1.0 - np.minimum(samples, 1.0).mean(axis=(1, 2))),
}


def _aggregate(statistic: str, sampled: _Sampled) -> Estimate:
    name, of_samples = _STATISTICS[statistic]
    value = float(getattr(_rliable("metrics"), name)(sampled.values))
    return Estimate(value, *interval(of_samples(sampled.samples)))


def _aggregate_difference(statistic: str, sampled: _Sampled, other: _Sampled) -> Estimate:
    name, of_samples = _STATISTICS[statistic]
    of_matrix = getattr(_rliable("metrics"), name)
    value = float(of_matrix(sampled.values) - of_matrix(other.values))
    return Estimate(value, *interval(of_samples(sampled.samples) - of_samples(other.samples)))


# --- the suite of one agent -----------------------------------------------------------------------------------------


def check_environments(agents: Mapping[str, Mapping[str, Any]], expected: Sequence[str] | None = None) -> list[str]:
    """Refuse to compare agents over different sets of environments.

    Args:
        agents: agent -> environment -> anything.
        expected: the environments that each must have; by default all that any of them has.

    Returns:
        The environments.

    Raises:
        ValueError: naming the environments that an agent lacks or has beyond those.
    """
    if not agents or not any(agents.values()):
        raise ValueError("Expected at least one agent with at least one environment, received none.")
    every = list(dict.fromkeys(env for found in agents.values() for env in found)) if expected is None else [*expected]
    for agent, found in agents.items():
        lacking = [env for env in every if env not in found]
        beyond = [env for env in found if env not in every]
        if lacking or beyond:
            faults = [f"lacks {', '.join(lacking)}"] if lacking else []
            faults += [f"has {', '.join(beyond)} beyond them"] if beyond else []
            raise ValueError(
                f"Suite scores are compared over the same environments only ({', '.join(every)}): "
                f"{agent} {' and '.join(faults)}."
            )
    return every


def _hashed(*parts: Any) -> int:
    """A seed of the bootstrap that depends on all of the parts."""
    return zlib.crc32(repr(parts).encode())


def _lifetime_weights(result: "Result", resamples: int, seed: int) -> np.ndarray:
    """Equal for all results of one seed, whatever the agent and the environment.

    Lifetime l begins with the same random streams everywhere, so that its luck in one environment has to do with its
    luck in another: lifetimes are resampled jointly over environments.
    """
    return bootstrap_weights(result.lifetimes, resamples=resamples, seed=_hashed(seed, result.seed))


def _drawn_seeds(seeds: int, resamples: int, *key: Any) -> np.ndarray:
    """Which training seeds are in each resample, ``int[resamples, seeds]``."""
    if seeds == 1:
        return np.zeros((resamples, 1), dtype=np.int64)
    return np.random.default_rng(_hashed(*key)).integers(seeds, size=(resamples, seeds))


@dataclass(frozen=True)
class _Suite:
    """An agent's suite, resampled."""

    agent: str
    environments: list[str]
    area: _Sampled
    twin_area: _Sampled
    learning: _Sampled
    memoryless: np.ndarray  # float64[environments]
    firsts: list[Estimate]  # first episodes of all stages
    errors: list[float]  # that they would have at random
    notes: list[str]


def _check_suite(entries: "Entries") -> tuple[str, int]:
    """The agent's name and the number of its training seeds."""
    counts = {env: len(pairs) for env, pairs in entries.items()}
    if not counts or not all(counts.values()) or len(set(counts.values())) > 1:
        raise ValueError(
            "Expected one or more environments with one pair of result and twin for every training seed, the same "
            f"number of them everywhere, received {counts}."
        )
    base = next(iter(entries.values()))[0][0]
    for env, pairs in entries.items():
        reference = pairs[0][0]
        for number, (result, twin) in enumerate(pairs):
            role = f"Result {number} of {env}"
            check_shared(base, result, role, ("agent",), memory="kept", task="fixed")
            check_shared(reference, result, role, ("env_id", "settings", "split"))
            check_shared(result, twin, f"The twin of result {number} of {env}", memory="wiped", task="fixed")
    return base.agent, next(iter(counts.values()))


def _resample(
    entries: "Entries",
    resamples: int,
    seed: int,
    role: str,
    best_memoryless: Mapping[str, BestMemoryless] | None = None,
) -> _Suite:
    agent, seeds = _check_suite(entries)
    values: dict[str, list[np.ndarray]] = {"area": [], "twin": [], "learning": []}
    samples: dict[str, list[np.ndarray]] = {"area": [], "twin": [], "learning": []}
    rungs: list[float] = []
    firsts: list[Estimate] = []
    errors: list[float] = []
    unmeasured: list[str] = []
    for env, pairs in entries.items():
        drawn = _drawn_seeds(seeds, resamples, seed, env, role)
        rung, unknown = memoryless_area(pairs[0][0], (best_memoryless or {}).get(env))
        rungs.append(rung)
        if unknown:
            unmeasured.append(f"{env} (level{'s' * (len(unknown) > 1)} {', '.join(map(str, unknown))})")
        columns: dict[str, list[np.ndarray]] = {"area": [], "twin": []}
        means: dict[str, list[float]] = {"area": [], "twin": []}
        for pair in pairs:
            for name, result in zip(columns, pair, strict=True):
                weights = _lifetime_weights(result, resamples, seed)
                areas = area(result.normalized)
                columns[name].append(resampled_means(areas, weights))
                means[name].append(float(np.nanmean(areas)))
            result = pair[0]
            weights = _lifetime_weights(result, resamples, seed)
            for part in split_stages(result.normalized, result.stages, result.levels):
                firsts.append(estimate(first(part.g), weights))
                errors.append(random_error(result, part.level))
        for name in columns:
            values[name].append(np.array(means[name]))
            samples[name].append(np.take_along_axis(np.array(columns[name]).T, drawn, axis=1))
        # Held against twin or rung as the values themselves are, in every resample: see `metrics.learning`.
        bound = np.where(values["twin"][-1] >= rung, np.array(columns["twin"]).T, rung)
        learnt = np.array(columns["area"]).T - bound
        values["learning"].append(values["area"][-1] - np.maximum(values["twin"][-1], rung))
        samples["learning"].append(np.take_along_axis(learnt, drawn, axis=1))
    sampled = {name: _Sampled(np.stack(values[name], -1), np.stack(samples[name], -1)) for name in values}
    notes = []
    if unmeasured:
        notes.append(
            "learning is held against the random policy's 0 where no memoryless rung was measured: "
            + ", ".join(unmeasured)
        )
    return _Suite(
        agent=agent,
        environments=list(entries),
        area=sampled["area"],
        twin_area=sampled["twin"],
        learning=sampled["learning"],
        memoryless=np.array(rungs),
        firsts=firsts,
        errors=errors,
        notes=notes,
    )


@dataclass(frozen=True)
class EnvironmentScore:
    """An agent on one environment of a suite, over its training seeds.

    Attributes:
        environment: which.
        area: mean g.
        twin_area: of the amnesiac twin.
        learning: area minus the larger of the twin's area and the best memoryless rung, of each training seed, on
            average.
        memoryless: area of the best memoryless rung.
        learning_bound: which of the two is the larger, ``"twin"`` or ``"memoryless"``.
    """

    environment: str
    area: Estimate
    twin_area: Estimate
    learning: Estimate
    memoryless: float
    learning_bound: str


@dataclass(frozen=True)
class SuiteScore(Exported):
    """An agent over a suite of environments, each number with its 95% interval over lifetimes and training seeds.

    Attributes:
        agent: the agent's name.
        environments: which, in order.
        training_seeds: how many; the luck of a single one is in no interval.
        area: interquartile mean of the area over environments and training seeds: the suite score.
        learning: likewise of learning.
        twin_area: likewise of the amnesiac twin's area.
        mean: mean of the area.
        median: median over environments of the mean over training seeds.
        optimality_gap: by how much the area falls short of the oracle's 1, on average.
        first_episode_deficit: min(0, g_1) of the worst stage of all environments.
        deficit_chance: that an agent no worse than random has such a deficit at some stage of some environment.
        by_environment: the agent on each environment.
        notes: what is not known.
    """

    agent: str
    environments: tuple[str, ...]
    training_seeds: int
    area: Estimate
    learning: Estimate
    twin_area: Estimate
    mean: Estimate
    median: Estimate
    optimality_gap: Estimate
    first_episode_deficit: Estimate
    deficit_chance: float
    by_environment: tuple[EnvironmentScore, ...]
    notes: tuple[str, ...]

    @property
    def deficit_flagged(self) -> bool:
        """The first-episode deficit is there beyond chance."""
        return self.deficit_chance < TAIL


def _mean_at(sampled: _Sampled, k: int) -> Estimate:
    """Mean over training seeds on environment ``k``."""
    return Estimate(float(sampled.values[:, k].mean()), *interval(sampled.samples[:, :, k].mean(axis=1)))


def suite_score(
    entries: "Entries",
    *,
    environments: Sequence[str] | None = None,
    best_memoryless: Mapping[str, BestMemoryless] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> SuiteScore:
    """The score of an agent over a suite.

    Args:
        entries: environment -> pairs of result and amnesiac twin, one for every training seed, as many everywhere.
        environments: those of the suite; an agent that lacks one has no suite score. By default those of ``entries``.
        best_memoryless: environment -> as in `daytwo.evaluation.scoring.score`; by default what the results say.
        resamples: bootstrap resamples.
        seed: of the bootstrap.

    Raises:
        ImportError: rliable is not installed.
        ValueError: an environment is missing, or results do not belong together.
    """
    check_environments({_name_of(entries): entries}, environments)
    suite = _resample(entries, resamples, seed, "agent", best_memoryless)
    deficit, deficit_chance = first_episode_deficit(suite.firsts, suite.errors)
    rows = []
    for k, env in enumerate(suite.environments):
        twin_area, rung = _mean_at(suite.twin_area, k), float(suite.memoryless[k])
        rows.append(
            EnvironmentScore(
                environment=env,
                area=_mean_at(suite.area, k),
                twin_area=twin_area,
                learning=_mean_at(suite.learning, k),
                memoryless=rung,
                learning_bound="twin" if twin_area.value >= rung else "memoryless",
            )
        )
    return SuiteScore(
        agent=suite.agent,
        environments=tuple(suite.environments),
        training_seeds=len(suite.area.values),
        area=_aggregate("interquartile mean", suite.area),
        learning=_aggregate("interquartile mean", suite.learning),
        twin_area=_aggregate("interquartile mean", suite.twin_area),
        mean=_aggregate("mean", suite.area),
        median=_aggregate("median", suite.area),
        optimality_gap=_aggregate("optimality gap", suite.area),
        first_episode_deficit=deficit,
        deficit_chance=deficit_chance,
        by_environment=tuple(rows),
        notes=tuple(suite.notes),
    )


def by_tag(entries: "Entries", *, of: str = "area", resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Estimate]:
    """Mean over the environments that ask for an ability, by ability.

    Args:
        entries: as in `suite_score`.
        of: ``"area"`` or ``"learning"``.
        resamples: bootstrap resamples.
        seed: of the bootstrap.

    Returns:
        Tag -> estimate, in alphabetical order; environments without tags count nowhere.

    Raises:
        ImportError: rliable is not installed.
        ValueError: results do not belong together.
    """
    check_choice("of", of, ("area", "learning"))
    suite = _resample(entries, resamples, seed, "agent")
    sampled: _Sampled = getattr(suite, of)
    tags = [tuple(getattr(pairs[0][0], "tags", ())) for pairs in entries.values()]
    found = {}
    for tag in sorted({tag for some in tags for tag in some}):
        columns = [k for k, some in enumerate(tags) if tag in some]
        found[tag] = _aggregate("mean", _Sampled(sampled.values[:, columns], sampled.samples[:, :, columns]))
    return found


def lifetime_areas(entries: "Entries") -> dict[str, np.ndarray]:
    """Environment -> `area` of every lifetime, ``float64[training seeds, lifetimes]``.

    Raises:
        ValueError: results do not belong together, or training seeds lived different numbers of lifetimes.
    """
    _check_suite(entries)
    found = {}
    for env, pairs in entries.items():
        counts = [result.lifetimes for result, _ in pairs]
        if len(set(counts)) > 1:
            raise ValueError(f"The training seeds on {env} must have equally many lifetimes, received {counts}.")
        found[env] = np.array([area(result.normalized) for result, _ in pairs])
    return found


# --- differences of two agents --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AgentDifference(Exported):
    """One agent minus another one on one environment.

    Attributes:
        agent: the one.
        other: the other.
        env_id: the environment's id.
        area: the one's area minus the other's.
        paired: both lived the same lifetimes, so that luck that they share cancels.
        notes: why they are not paired.
    """

    agent: str
    other: str
    env_id: str
    area: Estimate
    paired: bool
    notes: tuple[str, ...]

    def mirrored(self) -> "AgentDifference":
        """The other agent minus this one."""
        return replace(self, agent=self.other, other=self.agent, area=-self.area)


def _check_same_place(result: "Result", other: "Result", role: str) -> None:
    check_shared(result, other, role, ("env_id", "settings", "split"), memory=result.memory, task=result.task)


def _not_paired(result: "Result", other: "Result") -> str:
    return (
        f"not paired: {result.lifetimes} lifetimes of seed {result.seed} against {other.lifetimes} of seed {other.seed}"
    )


def paired_difference(
    result: "Result", other: "Result", *, resamples: int = RESAMPLES, seed: int = 0
) -> AgentDifference:
    """The area of one agent minus that of another one, on one environment and course.

    Args:
        result: of the one.
        other: of the other; of the same seed and number of lifetimes, or the difference is not paired.
        resamples: bootstrap resamples.
        seed: of the bootstrap.

    Raises:
        ValueError: they differ in environment, settings, split, memory or task.
    """
    _check_same_place(result, result, "result")
    _check_same_place(result, other, "other")
    weights = paired_weights(result, result, resamples=resamples, seed=seed)
    others = paired_weights(result, other, resamples=resamples, seed=seed)
    same = paired(result, other)
    return AgentDifference(
        agent=result.agent,
        other=other.agent,
        env_id=result.env_id,
        area=difference(area(result.normalized), area(other.normalized), weights, others),
        paired=same,
        notes=() if same else (_not_paired(result, other),),
    )


@dataclass(frozen=True)
class SuiteDifference(Exported):
    """One agent minus another one over a suite.

    Attributes:
        agent: the one.
        other: the other.
        environments: which, in order.
        area: difference of the interquartile means of the area.
        learning: likewise of learning.
        mean: difference of the means of the area.
        by_environment: environment -> difference of the areas.
        paired: both lived the same lifetimes on every environment.
        notes: where they are not paired, and what is not known.
    """

    agent: str
    other: str
    environments: tuple[str, ...]
    area: Estimate
    learning: Estimate
    mean: Estimate
    by_environment: dict[str, Estimate]
    paired: bool
    notes: tuple[str, ...]

    def mirrored(self) -> "SuiteDifference":
        """The other agent minus this one."""
        return replace(
            self,
            agent=self.other,
            other=self.agent,
            area=-self.area,
            learning=-self.learning,
            mean=-self.mean,
            by_environment={env: -one for env, one in self.by_environment.items()},
        )


def suite_difference(
    entries: "Entries",
    others: "Entries",
    *,
    best_memoryless: Mapping[str, BestMemoryless] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> SuiteDifference:
    """The suite score of one agent minus that of another one.

    Args:
        entries: of the one, as in `suite_score`.
        others: of the other, on the same environments.
        best_memoryless: as in `suite_score`.
        resamples: bootstrap resamples.
        seed: of the bootstrap.

    Raises:
        ImportError: rliable is not installed.
        ValueError: the environments or their settings are not the same, or results do not belong together.
    """
    names = _name_of(entries), _name_of(others)
    # Two versions of one agent have one name.
    check_environments({names[0]: entries, names[1] if names[1] != names[0] else f"the other {names[1]}": others})
    ordered = {env: others[env] for env in entries}
    notes = []
    for env in entries:
        one, other = entries[env][0][0], ordered[env][0][0]
        _check_same_place(one, other, f"{names[1]} on {env}")
        lived = [sorted({(pair[0].seed, pair[0].lifetimes) for pair in found[env]}) for found in (entries, ordered)]
        if lived[0] != lived[1]:
            notes.append(f"{env}: {_not_paired(one, other)}")
    sampled = _resample(entries, resamples, seed, "agent", best_memoryless)
    against = _resample(ordered, resamples, seed, "other", best_memoryless)
    by_environment = {}
    for k, env in enumerate(entries):
        samples = sampled.area.samples[:, :, k].mean(axis=1) - against.area.samples[:, :, k].mean(axis=1)
        value = sampled.area.values[:, k].mean() - against.area.values[:, k].mean()
        by_environment[env] = Estimate(float(value), *interval(samples))
    return SuiteDifference(
        agent=names[0],
        other=names[1],
        environments=tuple(entries),
        area=_aggregate_difference("interquartile mean", sampled.area, against.area),
        learning=_aggregate_difference("interquartile mean", sampled.learning, against.learning),
        mean=_aggregate_difference("mean", sampled.area, against.area),
        by_environment=by_environment,
        paired=not notes,
        notes=tuple(dict.fromkeys([*notes, *sampled.notes, *against.notes])),
    )


def _name_of(entries: "Entries") -> str:
    for pairs in entries.values():
        for result, _ in pairs:
            return result.agent
    raise ValueError("Expected at least one environment with a result and its twin, received none.")


# --- distributions over lifetimes -----------------------------------------------------------------------------------


def _by_seed(env: str, areas: np.ndarray) -> np.ndarray:
    """``float64[seeds, lifetimes]`` of finite numbers."""
    array = np.asarray(areas, dtype=np.float64)
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2 or not array.size or not np.isfinite(array).all():
        raise ValueError(
            f"The areas on {env} must be finite numbers with the axes [lifetimes] or [training seeds, lifetimes], "
            f"received the shape {np.shape(areas)} and {int((~np.isfinite(array)).sum())} that are not finite."
        )
    return array


def _seed_weights(seeds: int, resamples: int, *key: Any) -> np.ndarray:
    """How often each training seed is in each resample, ``float64[resamples, seeds]``, each row's sum 1."""
    drawn = _drawn_seeds(seeds, resamples, *key)
    return (drawn[:, :, None] == np.arange(seeds)).mean(axis=1)


def performance_profile(
    areas: Mapping[str, Mapping[str, np.ndarray]],
    thresholds: Sequence[float] | np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """The share of lifetimes whose area exceeds each threshold, averaged over environments.

    Args:
        areas: agent -> environment -> `area` of every lifetime, ``float64[lifetimes]`` or ``float64[training seeds,
            lifetimes]`` (`lifetime_areas`).
        thresholds: ``float64[thresholds]``.
        resamples: bootstrap resamples.
        seed: of the bootstrap.

    Returns:
        Agent -> ``float64[3, thresholds]``: share, and the lower and upper end of its pointwise 95% interval.

    Raises:
        ImportError: rliable is not installed.
        ValueError: agents have different environments, or areas are not finite.
    """
    environments = check_environments(areas)
    taus = np.asarray(thresholds, dtype=np.float64)
    share = _rliable("library").score_distributions
    profiles = {}
    for agent, found in areas.items():
        values, samples = np.zeros(len(taus)), np.zeros((resamples, len(taus)))
        for env in environments:
            by_seed = _by_seed(env, found[env])
            values += share(by_seed, taus) / len(environments)
            weights = bootstrap_weights(by_seed.shape[1], resamples=resamples, seed=_hashed(seed))
            picked = _seed_weights(len(by_seed), resamples, seed, env, agent)
            for row, often in zip(by_seed, picked.T, strict=True):
                above = (row[:, None] > taus).astype(np.float64)
                samples += often[:, None] * resampled_means(above, weights) / len(environments)
        ends = np.array([interval(samples[:, k]) for k in range(len(taus))]).reshape(-1, 2).T
        profiles[agent] = np.vstack([values, ends])
    return profiles


@dataclass(frozen=True)
class Improvement(Exported):
    """How probably one agent does better than another one.

    Attributes:
        probability: P(a lifetime of the one has the larger area than a lifetime of the other on the same environment),
            ties counting half, averaged over environments.
        same_lifetime: the same, of one and the same lifetime: luck that both share cancels. None if not paired.
        by_environment: environment -> the former.
        paired: row l of both is the same lifetime.
    """

    probability: Estimate
    same_lifetime: Estimate | None
    by_environment: dict[str, Estimate]
    paired: bool

    def mirrored(self) -> "Improvement":
        """How probably the other agent does better than this one."""
        return replace(
            self,
            probability=_complement(self.probability),
            same_lifetime=None if self.same_lifetime is None else _complement(self.same_lifetime),
            by_environment={env: _complement(one) for env, one in self.by_environment.items()},
        )


def _complement(probability: Estimate) -> Estimate:
    return Estimate(1.0 - probability.value, 1.0 - probability.high, 1.0 - probability.low)


def _wins(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """1 where a value is the larger, 0.5 where both are equal, 0 otherwise."""
    return (values > others) + 0.5 * (values == others)


def probability_of_improvement(
    areas: Mapping[str, np.ndarray],
    others: Mapping[str, np.ndarray],
    *,
    paired: bool = True,
    resamples: int = IMPROVEMENT_RESAMPLES,
    seed: int = 0,
) -> Improvement:
    """How probably a lifetime of one agent is better than a lifetime of another one.

    Args:
        areas: of the one: environment -> `area` of every lifetime, ``float64[lifetimes]`` or ``float64[training seeds,
            lifetimes]`` (`lifetime_areas`).
        others: of the other, on the same environments.
        paired: row l of both is the same lifetime, as under one seed; they are then resampled together.
        resamples: bootstrap resamples.
        seed: of the bootstrap.

    Raises:
        ImportError: rliable is not installed.
        ValueError: the environments differ, areas are not finite, or paired ones differ in number.
    """
    environments = check_environments({"the one agent": areas, "the other": others})
    of_matrices = _rliable("metrics").probability_of_improvement
    values, samples, same_values, same_samples = [], [], [], []
    for env in environments:
        ones, twos = _by_seed(env, areas[env]), _by_seed(env, others[env])
        lifetimes = ones.shape[1], twos.shape[1]
        if paired and lifetimes[0] != lifetimes[1]:
            raise ValueError(
                f"Paired areas must be of the same lifetimes, received {lifetimes[0]} and {lifetimes[1]} on {env}; "
                "hand in paired=False."
            )
        weights = bootstrap_weights(lifetimes[0], resamples=resamples, seed=_hashed(seed))
        other_weights = weights
        if not paired:
            other_weights = bootstrap_weights(lifetimes[1], resamples=resamples, seed=_hashed(seed, env, "other"))
        picked = _seed_weights(len(ones), resamples, seed, env, "agent")
        other_picked = _seed_weights(len(twos), resamples, seed, env, "other")
        # All pairs of lifetimes, of all pairs of training seeds.
        values.append(np.mean([of_matrices(one[:, None], two[:, None]) for one in ones for two in twos]))
        found, found_same = np.zeros(resamples), np.zeros(resamples)
        for one, often in zip(ones, picked.T, strict=True):
            for two, other_often in zip(twos, other_picked.T, strict=True):
                won = ((weights @ _wins(one[:, None], two)) * other_weights).sum(axis=1)
                known = min(lifetimes) > 1
                found += often * other_often * (won / lifetimes[0] / lifetimes[1] if known else np.nan)
                if paired:
                    found_same += often * other_often * resampled_means(_wins(one, two), weights)
        samples.append(found)
        if paired:
            same_values.append(_wins(ones[:, None], twos[None]).mean())
            same_samples.append(found_same)
    same = Estimate(float(np.mean(same_values)), *interval(np.mean(same_samples, axis=0))) if paired else None
    return Improvement(
        probability=Estimate(float(np.mean(values)), *interval(np.mean(samples, axis=0))),
        same_lifetime=same,
        by_environment={
            env: Estimate(float(value), *interval(some))
            for env, value, some in zip(environments, values, samples, strict=True)
        },
        paired=paired,
    )


__all__ = [
    "AgentDifference",
    "EnvironmentScore",
    "Improvement",
    "SuiteDifference",
    "SuiteScore",
    "by_tag",
    "check_environments",
    "interquartile_means",
    "lifetime_areas",
    "paired_difference",
    "performance_profile",
    "probability_of_improvement",
    "suite_difference",
    "suite_score",
]
