"""Agents, from random to meta-trained, one file each. Import them as ``daytwo.baselines``."""

if __name__ != "daytwo.baselines":
    raise ImportError(
        f"The folder baselines/ is the package daytwo.baselines, but was imported as {__name__!r}: "
        "write 'import daytwo.baselines'. A second copy of its classes would equal none of the first."
    )

from daytwo.agent import register_agent

register_agent("random", "daytwo.baselines.basic:Random")
register_agent("oracle", "daytwo.baselines.basic:Oracle")
register_agent("gittins", "daytwo.baselines.bandits:Gittins")
register_agent("ucb1", "daytwo.baselines.bandits:UCB1")
register_agent("thompson", "daytwo.baselines.bandits:Thompson")
register_agent("optimistic-thompson", "daytwo.baselines.bandits:OptimisticThompson")
register_agent("epsilon-greedy", "daytwo.baselines.bandits:EpsilonGreedy")
register_agent("epsilon-greedy", "daytwo.baselines.tabular:EpsilonGreedy")
register_agent("greedy", "daytwo.baselines.bandits:Greedy")
register_agent("greedy", "daytwo.baselines.tabular:Greedy")
register_agent("bayes-optimal", "daytwo.baselines.bayes_optimal:BayesOptimal")
register_agent("room-sweep", "daytwo.baselines.dark_room:RoomSweep")
register_agent("room-tour", "daytwo.baselines.dark_room:RoomTour")
register_agent("alchemy-observer", "daytwo.baselines.alchemy_observer:AlchemyObserver")
register_agent("alchemy-heuristic", "daytwo.baselines.alchemy:AlchemyHeuristic")
register_agent("alchemy-blind", "daytwo.baselines.alchemy:AlchemyBlind")
register_agent("map-maker", "daytwo.baselines.maze:MapMaker")
register_agent("wall-follower", "daytwo.baselines.maze:WallFollower")
register_agent("experimenter", "daytwo.baselines.laboratory:Experimenter")
register_agent("last-experiment", "daytwo.baselines.laboratory:LastExperiment")
register_agent("one-feature", "daytwo.baselines.learning_set:OneFeature")
register_agent("rule-posterior", "daytwo.baselines.learning_set:RulePosterior")
register_agent("algebraist", "daytwo.baselines.textbook:Algebraist")
register_agent("memoriser", "daytwo.baselines.textbook:Memoriser")
register_agent("margin-note", "daytwo.baselines.textbook:MarginNote")
register_agent("fix-elimination", "daytwo.baselines.workplace:FixElimination")
register_agent("can-kicker", "daytwo.baselines.workplace:CanKicker")
register_agent("first-day-fixer", "daytwo.baselines.workplace:FirstDayFixer")
register_agent("circle-sweep", "daytwo.baselines.point_robot:CircleSweep")
register_agent("circle-patrol", "daytwo.baselines.point_robot:CirclePatrol")
register_agent("pole-learner", "daytwo.baselines.cart_pole:PoleLearner")
register_agent("pole-reactive", "daytwo.baselines.cart_pole:PoleReactive")
register_agent("win-stay", "daytwo.baselines.win_stay:WinStay")
register_agent("psrl", "daytwo.baselines.tabular:PSRL")
register_agent("opsrl", "daytwo.baselines.tabular:OPSRL")
register_agent("ucrl2", "daytwo.baselines.tabular:UCRL2")
register_agent("beb", "daytwo.baselines.tabular:BEB")
register_agent("posterior-greedy", "daytwo.baselines.tabular:PosteriorGreedy")
register_agent("q-learning", "daytwo.baselines.tabular:QLearning")
