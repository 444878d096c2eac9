"""The published tables that DayTwo reproduces, theirs beside ours.

python benchmarks/paper_tables.py                                     everything
python benchmarks/paper_tables.py --table bandits --pulls 10 --arms 5
python benchmarks/paper_tables.py --table mdps
"""

import argparse


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", choices=("bandits", "mdps", "all"), default="all", help="which tables")
    parser.add_argument("--pulls", type=int, nargs="+", default=[10, 100], help="bandits: pulls n (any)")
    parser.add_argument("--arms", type=int, nargs="+", default=[5, 10], help="bandits: arms k (any)")
    parser.add_argument("--episodes", type=int, nargs="+", default=[10, 25], help="mdps: episodes n (any)")
    parser.add_argument("--tasks", type=int, default=None, help="test tasks per cell (4000 for bandits)")
    parser.add_argument("--seed", type=int, default=0, help="of the tasks")
    parser.add_argument("--retune", action="store_true", help="tune again where tuned options are stored")
    arguments = parser.parse_args()
    tasks = {} if arguments.tasks is None else {"tasks": arguments.tasks}
    if arguments.table in ("bandits", "all"):
        import paper_bandits

        paper_bandits.print_tables(
            pulls=arguments.pulls, arms=arguments.arms, seed=arguments.seed, retune=arguments.retune, **tasks
        )
    if arguments.table in ("mdps", "all"):
        import paper_mdps

        paper_mdps.print_tables(episodes=arguments.episodes, seed=arguments.seed, retune=arguments.retune, **tasks)


if __name__ == "__main__":
    main()
