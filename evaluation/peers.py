"""Other projects' environments, measured in a Python of their own: what `daytwo speed --peers` talks to.

This file imports nothing of DayTwo. It is run by the interpreter of another virtual environment (`make peers` makes
one), so that what the peers depend on never meets what DayTwo depends on:

    python peers.py xland-minigrid NUM_ENVS

It prints ``ready NAME`` and then answers every line that holds a number of steps with ``done`` once all the
environments have taken that many. So the caller can take turns between its own environments and the peer's. Everything
runs on one core.

XLand-MiniGrid (Nikulin et al. 2023, arXiv 2312.12044) is measured as its own benchmark does it: one compiled scan over
steps of vectorised environments with automatic resets, with random actions drawn inside.
"""

import os
import sys
from typing import Any

XLAND_ENVIRONMENT = "MiniGrid-FourRooms"
SCAN_STEPS = 16


def hold_to_one_core() -> None:
    """Run on one core, as the environments that the peers are compared with."""
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ["JAX_PLATFORMS"] = "cpu"
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def xland_minigrid(num_envs: int) -> Any:
    """``run(steps)`` for XLand-MiniGrid with ``num_envs`` environments side by side."""
    import jax  # type: ignore[import-not-found]
    import xminigrid  # type: ignore[import-not-found]
    from xminigrid.wrappers import GymAutoResetWrapper  # type: ignore[import-not-found]

    env, params = xminigrid.make(XLAND_ENVIRONMENT)
    env = GymAutoResetWrapper(env)
    actions = env.num_actions(params)

    def step(carry: Any, _: None) -> tuple[Any, Any]:
        key, timestep = carry
        key, drawn = jax.random.split(key)
        chosen = jax.random.randint(drawn, (num_envs,), 0, actions)
        timestep = jax.vmap(env.step, in_axes=(None, 0, 0))(params, timestep, chosen)
        return (key, timestep), timestep.reward.sum()

    scan = jax.jit(lambda carry: jax.lax.scan(step, carry, None, SCAN_STEPS))
    keys = jax.random.split(jax.random.key(0), num_envs)
    carry = (jax.random.key(1), jax.jit(jax.vmap(env.reset, in_axes=(None, 0)))(params, keys))

    def run(steps: int) -> None:
        nonlocal carry
        for _ in range(max(1, round(steps / SCAN_STEPS))):
            carry, paid = scan(carry)
        jax.block_until_ready(paid)

    run(SCAN_STEPS)
    return run


PEERS = {"xland-minigrid": (xland_minigrid, "XLand-MiniGrid")}


def main() -> None:
    """Answer lines with numbers of steps until there are no more."""
    name, num_envs = sys.argv[1], int(sys.argv[2])
    make, title = PEERS[name]
    hold_to_one_core()
    run = make(num_envs)
    print(f"ready {title}", flush=True)
    for line in sys.stdin:
        run(int(line))
        print("done", flush=True)


if __name__ == "__main__":
    main()
