"""What verifiers loads for the taskset id ``daytwo-verifiers``: its plugins are top-level modules."""

from daytwo.integrations.verifiers import LifetimeEnv, LifetimeHarness, LifetimeTaskset

__all__ = ["LifetimeEnv", "LifetimeHarness", "LifetimeTaskset"]
