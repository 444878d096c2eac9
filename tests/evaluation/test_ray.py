"""A suite on a Ray cluster: what is stored is what one process stores, and cells that fail are noted there, too.

The cluster is simulated: two nodes on this machine, each with one processor and processes of its own.
"""

import dataclasses
import os
import sys
import threading
import time

import pytest

from daytwo.evaluation.cells import Cell
from daytwo.evaluation.protocols import PROTOCOLS
from daytwo.evaluation.store import Store
from daytwo.evaluation.suite import run_suite
from tests.evaluation.counting import BANDIT, SMALL, contents

ray = pytest.importorskip("ray", reason="needs Ray: pip install 'daytwo[ray]'")
cluster_utils = pytest.importorskip("ray.cluster_utils", reason="needs a Ray that can simulate a cluster")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="Ray cannot simulate a cluster on this system"),
]

AGENTS = '''
"""Agents that say in a file on which node they live."""

import os
import time

import numpy as np


class Placed:
    def __init__(self, arm=0, wait=0.0):
        self.arm, self.wait = arm, wait

    def begin(self, spec, seeds):
        import ray

        node = ray.get_runtime_context().get_node_id() if ray.is_initialized() else "none"
        with open(os.environ["DAYTWO_TEST_LOG"], "a") as file:
            file.write(f"{self.arm} {node}\\n")

    def act(self, observations, fresh):
        time.sleep(self.wait)
        return np.full(len(fresh), self.arm % 2)


class Failing(Placed):
    def act(self, observations, fresh):
        raise RuntimeError("no idea what to do")


class Exiting(Placed):
    def act(self, observations, fresh):
        os._exit(1)
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Holds ``placed_agents``, importable here and by the processes of the nodes, and the file that they write."""
    folder = tmp_path_factory.mktemp("ray")
    (folder / "placed_agents.py").write_text(AGENTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]))
        patch.setenv("DAYTWO_TEST_LOG", str(folder / "log"))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        patch.delenv("RAY_ADDRESS", raising=False)
        yield folder
    sys.modules.pop("placed_agents", None)


@pytest.fixture(scope="module")
def cluster(folder):
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


class Places:
    """What the agents wrote since the test began."""

    def __init__(self, path):
        self.path = path
        path.write_text("")

    def read(self):
        """The pairs (arm, node)."""
        return [(int(arm), node) for arm, node in (line.split() for line in self.path.read_text().splitlines())]


@pytest.fixture
def places(folder):
    return Places(folder / "log")


def placed(count, wait=0.0, name="Placed"):
    return [
        Cell(f"placed_agents:{name}", BANDIT, SMALL, lifetimes=3, agent_options={"arm": arm, "wait": wait})
        for arm in range(count)
    ]


def test_a_cluster_stores_the_same_bytes_as_one_process(tmp_path, cluster, places):
    cells = PROTOCOLS["core"].cells([BANDIT], ["random", "oracle", "reference"], lifetimes=9, episodes=2)
    cells += [*placed(4, wait=0.01), *placed(1, name="Failing")]
    cells = [dataclasses.replace(cell, protocol="core-v1") for cell in cells]
    here = run_suite(cells, tmp_path / "here.sqlite", jobs=1, progress=False)
    before = len(places.read())
    there = run_suite(cells, tmp_path / "ray.sqlite", progress=False, backend="ray", address=cluster.address)
    assert (here.computed, len(here.failures)) == (there.computed, len(there.failures)) == (13, 1), there.failures
    rows, linked, failed = contents(tmp_path / "here.sqlite")
    assert len(rows) == 13 and len(linked) == 14 and len(failed) == 1
    assert contents(tmp_path / "ray.sqlite") == (rows, linked, failed)
    nodes = {node for _, node in places.read()[before:]}
    assert len(nodes) == 2 and "none" not in nodes  # cells ran on both
    assert not ray.is_initialized()  # the connection was ours to close
    again = run_suite(cells[:9], tmp_path / "ray.sqlite", progress=False, backend="ray", address="127.0.0.1:1")
    assert (again.computed, again.skipped) == (0, 9)  # no cluster is needed where there is nothing to do


def test_cells_that_fail_on_a_cluster_are_noted(tmp_path, cluster, places):
    raising, dying = placed(1, name="Failing") + placed(1, name="Exiting")
    cells = [raising, dying, *placed(3)]
    ray.init(address=cluster.address, log_to_driver=False)
    outcome = run_suite(cells, tmp_path / "r.sqlite", jobs=2, progress=False, backend="ray")
    assert ray.is_initialized()  # the connection was there before
    ray.shutdown()
    assert outcome.computed == 3
    errors = {cell.agent: error for cell, error in outcome.failures}
    assert "Traceback" in errors[raising.agent] and "RuntimeError: no idea what to do" in errors[raising.agent]
    assert "The process that ran it died" in errors[dying.agent]
    with Store(tmp_path / "r.sqlite") as store:
        assert {one.key: one.error for one in store.failures()} == {
            raising.key: errors[raising.agent],
            dying.key: errors[dying.agent],
        }


def test_machines_may_come_and_go(tmp_path, cluster, places):
    """A node that joins is given cells, and the cells of one that is lost are computed elsewhere."""
    late = cluster.add_node(num_cpus=1)
    seen = []

    def lose_the_late_one():
        end = time.monotonic() + 60.0
        while time.monotonic() < end and not seen:
            time.sleep(0.05)
            seen.extend(arm for arm, node in places.read() if node == late.node_id)
        cluster.remove_node(late, allow_graceful=False)

    watcher = threading.Thread(target=lose_the_late_one)
    watcher.start()
    cells = placed(8, wait=0.05)  # a second each
    outcome = run_suite(cells, tmp_path / "r.sqlite", progress=False, backend="ray", address=cluster.address)
    watcher.join()
    assert (outcome.computed, outcome.failures) == (8, ())
    lived = [arm for arm, _ in places.read()]
    assert set(lived) == set(range(8))
    assert seen and lived.count(seen[0]) == 2  # begun on the node that was lost, and again elsewhere
