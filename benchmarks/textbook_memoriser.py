"""Textbook: how far learning answers by heart leads, beside the reference learner.

python benchmarks/textbook_memoriser.py                  1024 lifetimes of the progressive course

For each chapter the mean normalised return over its first sheets, with 95% bootstrap intervals over lifetimes; the
difference is paired, since both agents live the same lifetimes.
"""

import argparse

import daytwo
from daytwo.evaluation.statistics import bootstrap_weights, difference, estimate


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lifetimes", type=int, default=1024, help="how many")
    parser.add_argument("--sheets", type=int, default=5, help="over the first how many sheets of each chapter")
    parser.add_argument("--seed", type=int, default=0, help="of the lifetimes")
    arguments = parser.parse_args()
    returns = {}
    for agent in ("algebraist", "memoriser"):
        returns[agent] = daytwo.evaluate(
            agent, "daytwo/Textbook-v0", lifetimes=arguments.lifetimes, seed=arguments.seed, course="progressive"
        )
    weights = bootstrap_weights(arguments.lifetimes)
    print("| chapter | algebraist | memoriser | difference |")
    print("|---|---|---|---|")
    for chapter, name in enumerate(returns["algebraist"].level_names):
        first = 10 * chapter
        means = [result.normalized[:, first : first + arguments.sheets].mean(axis=1) for result in returns.values()]
        cells = [*(estimate(values, weights) for values in means), difference(*means, weights)]
        print(f"| {chapter} {name} | {' | '.join(map(str, cells))} |")


if __name__ == "__main__":
    main()
