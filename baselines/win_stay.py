"""Win-stay, lose-shift: what can be done with the last action and its reward alone, and no memory beyond them."""

import numpy as np
from numba.extending import register_jitable

from daytwo.agent import LifetimeSpec
from daytwo.checks import check_number
from daytwo.kernels import kernel
from daytwo.random_policy import offered_action
from daytwo.streams import agent_streams

# The least reward that counts as a win, tuned on the validation split.
THRESHOLDS = {"Bandit": 0.5, "TabularMDP": 0.0}


@register_jitable
def another(mask, streams, i, last):
    """An offered action other than the last one, all equally likely; the last one where there is no other."""
    mask[i, last] = False
    action = offered_action(mask, streams, i)
    return action if mask[i, action] else last


@kernel
def _act(observations, mask, at_action, at_reward, threshold, streams, actions):
    for i in range(len(actions)):
        last = -1
        for k in range(mask.shape[1]):
            if observations[i, at_action + k] > 0.5:
                last = k
        if last < 0:
            actions[i] = offered_action(mask, streams, i)
        elif observations[i, at_reward] >= threshold and mask[i, last]:
            actions[i] = last
        else:
            actions[i] = another(mask, streams, i, last)


class WinStay:
    """Repeats the last action if it paid enough, and takes another one, at random, if it did not.

    Source: Robbins 1952, "Some aspects of the sequential design of experiments" (for two arms).
    """

    name = "win-stay"

    def __init__(self, *, threshold: float | None = None) -> None:
        """Set the aspiration.

        Args:
            threshold: the least reward that counts as a win; tuned for each family by default.

        Raises:
            ValueError: it is not a finite number.
        """
        self._threshold = None if threshold is None else check_number("threshold", threshold, -1e9, 1e9)

    @staticmethod
    def fits(spec: LifetimeSpec) -> bool:
        """Whether this is one of the families it is meant for, with the last action and reward shown."""
        return spec.family in THRESHOLDS and "previous_action" in spec.layout and "previous_reward" in spec.layout

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        """Begin ``len(seeds)`` lifetimes."""
        self._spec = spec
        self._streams = agent_streams(seeds)
        self._least = THRESHOLDS[spec.family] if self._threshold is None else self._threshold

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """One action per lifetime, ``int64[N]``."""
        layout = self._spec.layout
        actions = np.zeros(len(fresh), dtype=np.int64)
        mask = np.array(self._spec.observed_mask(observations), dtype=np.bool_)  # a copy: it is written to
        at_action, at_reward = layout.start("previous_action"), layout.start("previous_reward")
        _act(observations, mask, at_action, at_reward, self._least, self._streams, actions)
        return actions


__all__ = ["WinStay"]
