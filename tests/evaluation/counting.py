"""Agents that count how often they were made to live, for the tests of suites, and what a results file holds."""

import json
import sqlite3

from daytwo.evaluation.cells import Cell

BANDIT = "daytwo/Bandit-v0"
SMALL = {"course": "single", "level": 0, "episodes": 1}

AGENTS = '''
"""Agents that say in a file when they begin, for tests that count."""

import os
import time

import numpy as np


class Counting:
    def __init__(self, arm=0, wait=0.0):
        self.arm, self.wait = arm, wait

    def begin(self, spec, seeds):
        with open(os.environ["DAYTWO_TEST_LOG"], "a") as file:
            file.write(f"{self.arm}\\n")

    def act(self, observations, fresh):
        time.sleep(self.wait)
        return np.full(len(fresh), self.arm % 2)


class Failing(Counting):
    def act(self, observations, fresh):
        raise RuntimeError("no idea what to do")


class Mended(Counting):
    """Fails until the file ``mended`` is there."""

    def act(self, observations, fresh):
        if not os.path.exists(os.environ["DAYTWO_TEST_LOG"] + "-mended"):
            raise RuntimeError("not yet")
        return super().act(observations, fresh)


class Stopping(Counting):
    def act(self, observations, fresh):
        raise SystemExit(3)


class Exiting(Counting):
    def act(self, observations, fresh):
        os._exit(self.arm)


class Killed(Counting):
    """Killed the first time, as the system kills processes that are in want of memory; well the second time."""

    def act(self, observations, fresh):
        marker = os.environ["DAYTWO_TEST_LOG"] + "-killed"
        if not os.path.exists(marker):
            open(marker, "w").close()
            os.kill(os.getpid(), 9)
        return super().act(observations, fresh)
'''


def counting_cells(count, wait=0.0):
    return [
        Cell("counting_agents:Counting", BANDIT, SMALL, lifetimes=3, agent_options={"arm": arm, "wait": wait})
        for arm in range(count)
    ]


def bad_cell(name, **options):
    return Cell(f"counting_agents:{name}", BANDIT, SMALL, lifetimes=3, agent_options=options)


def contents(path):
    """Everything in a results file that does not tell when, and how fast, it was made."""
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    rows = [dict(row) for row in connection.execute("SELECT * FROM cells ORDER BY key")]
    linked = connection.execute("SELECT protocol, key FROM protocols ORDER BY protocol, key").fetchall()
    failed = connection.execute("SELECT key, cell FROM failures ORDER BY key").fetchall()
    connection.close()
    for row in rows:
        del row["seconds"], row["stored"]
        row["result"] = json.loads(row["result"])
        del row["result"]["seconds"]
    return rows, list(map(tuple, linked)), list(map(tuple, failed))
