"""Is it right to suppress? What planning says of one day and of a lifetime of days at each level of Workplace.

Exact but for the returns of agents, which are means over lifetimes and come with their standard error.

python benchmarks/workplace_planning.py                     about two minutes, most of it for the lifetimes of level 2
python benchmarks/workplace_planning.py --levels 0 1        some levels only
"""

import argparse
import math

import numpy as np

import daytwo
from daytwo.baselines.workplace import FirstDayFixer, FixElimination
from daytwo.baselines.workplace_planning import plan_lifetime, relaxed_day
from daytwo.envs.workplace import PAIRED, Workplace

SHOWN = (1, 2, 3, 5, 10)


def live(agent, level: int, lifetimes: int, **options) -> daytwo.Result:
    """Let an agent live lifetimes at one level."""
    return daytwo.evaluate(
        agent, Workplace, course="single", level=level, lifetimes=lifetimes, split="all", seed=0, **options
    )


def by_day(values: np.ndarray) -> str:
    """Means over lifetimes of something that has one value a day."""
    return " ".join(f"{value:.2f}" for value in np.nanmean(values, axis=0))


def report(level: int, days: int, lifetimes: int) -> None:
    """Print what is known about one level."""
    family = Workplace()
    steps, pay, modules = family.levels[level].horizon, family.pay, family.modules[level]
    day = family.suppressing_return(level)
    print(
        f"level {level}: {family.levels[level].name}, {family.kinds[level]} kinds, {family.fixes} fixes, {steps} steps "
        f"(short-sighted up to {family.longest_short_sighted_day(level):g})"
    )
    low, high = family.exact_random_return(level), family.exact_oracle_return(level)
    print(f"  a day's return: random {low:.3f}, oracle {high:.3f}, suppressing every ticket {day:.2f}", end="")
    print(f" (normalised {(day - low) / (high - low):.3f})")
    best, loss = relaxed_day(modules=modules, fixes=family.fixes, horizon=steps, pay=pay)
    print(f"  bound on one day without memory: {best:.2f}; the first fix that is tried loses at least {loss:.2f}")
    if level != PAIRED:
        plan = plan_lifetime(
            modules=modules, kinds=family.kinds[level], fixes=family.fixes, horizon=steps, pay=pay, days=days
        )
        print(f"  best of one day, exactly: {plan.values[0]:.2f}; first fix tried loses {plan.worst_deviation:.2f}")
        print("  days   best return   suppressing   best, first day all suppressed   first ticket: fix - suppress")
        for number in (d for d in SHOWN if d <= days):
            value = plan.values[number - 1]
            waited = day + (plan.values[number - 2] if number > 1 else 0.0)
            print(f"  {number:4d} {value:13.3f} {number * day:13.2f} {waited:31.3f} {plan.fixing[number - 1]:+29.3f}")
    for name, agent in (("fix-elimination", FixElimination), ("first-day-fixer", FirstDayFixer)):
        result = live(agent, level, lifetimes, episodes=days)
        total = result.returns.sum(axis=1)
        error = total.std(ddof=1) / math.sqrt(lifetimes)
        print(f"  {name}: {total.mean():.2f} +- {error:.2f} in {days} days (suppressing: {days * day:.2f})")
        print(f"    normalised return by day: {by_day(result.normalized)}")
        print(f"    can-kicking rate by day:  {by_day(result.diagnostics['can_kicking_rate'])}")
    efforts = []
    for effort in (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0):
        result = live(FirstDayFixer, level, lifetimes, episodes=2, agent_options={"effort": effort})
        efforts.append(f"{effort:g}: {result.normalized.mean():.3f}")
    print(f"  first-day-fixer, normalised return by effort: {', '.join(efforts)}", flush=True)


def main() -> None:
    """Report on the levels asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--levels", type=int, nargs="+", choices=range(4), default=range(4), help="which levels")
    parser.add_argument("--days", type=int, default=10, help="days of the longest lifetime")
    parser.add_argument("--lifetimes", type=int, default=4000, help="lifetimes of each agent")
    arguments = parser.parse_args()
    for level in arguments.levels:
        report(level, arguments.days, arguments.lifetimes)


if __name__ == "__main__":
    main()
