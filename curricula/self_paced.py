"""Self-paced learning: from an easy start towards a target, as fast as the student keeps up.

Klink, Abdulsamad, Belousov, D'Eramo, Peters, Pajarinen, "A probabilistic interpretation of self-paced learning with
applications to reinforcement learning" (JMLR 22, 2021), and Klink, D'Eramo, Peters, Pajarinen, "Self-paced deep
reinforcement learning" (NeurIPS 2020, arXiv 2004.11812), section 4, with a threshold of performance in place of the
weight alpha. Needs ``pip install 'daytwo[teachers]'``.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from daytwo.checks import check_integer, check_number
from daytwo.teacher import Averages, Teacher

CELLS = 256  # per axis: the density is constant within one
CENTRES = (np.arange(CELLS) + 0.5) / CELLS
STATISTICS = np.stack([CENTRES, CENTRES**2], axis=1)
# Of an axis: a >= 0 and a <= -2 b, that is, b <= 0 and a mean inside the box; and b no steeper than that of the
# narrowest Gaussian on the way.
INSIDE = np.array([[1.0, 0.0], [-1.0, -2.0], [0.0, 1.0]])
NARROWEST = 0.01  # of an axis: no standard deviation may be less
STRAY = 0.01  # share of the outcomes that is held to be of tasks from anywhere in the box


def _tools() -> tuple[Any, Any]:
    """SciPy's optimiser and quantiles of chi square; imported when a teacher is made, not with the package."""
    try:
        from scipy.optimize import minimize
        from scipy.special import chdtri
    except ImportError as error:
        raise ImportError("The self-paced teacher needs SciPy: pip install 'daytwo[teachers]'.") from error
    return minimize, chdtri


class SelfPaced(Teacher):
    """Draws tasks from a Gaussian on the box that moves from an easy start to a target distribution.

    After every ``update_every`` outcomes the distribution p of tasks becomes the solution of

        minimise KL(p || target)  subject to  E_p[performance] >= threshold,  KL(p || previous p) <= step,

    with the expected performance estimated from these outcomes by importance weights. Where the previous p is below the
    threshold, expected performance is raised first, within the same step; p stays where it is if the threshold cannot
    be reached so and the gain may as well be luck (beyond 99% by Scheffé's method, as it is the best of many).

    The Gaussian has a mean inside the box, no covariance between axes, a standard deviation along each of at least the
    smaller of initial and target, and is restricted to the box, so that nothing has to be clipped or drawn again. In
    the unit cube its density along an axis is proportional to exp(a x + b x^2) with b <= 0; at a = b = 0 it is uniform,
    which is where the target may be. (The papers' Gaussian has a full covariance and leaves the box.) Densities are
    constant within each of 256 cells of an axis: all sums of this file are exact for what is drawn.

    As with every such teacher, a threshold on the average lets hard tasks be outweighed by easy ones.
    """

    name = "self-paced"
    staged = True
    kinds = (spaces.Box,)
    remembered = ("natural", "tasks", "performance", "lifetimes", "updates")

    def __init__(
        self,
        space: spaces.Space,
        *,
        initial: tuple[Any, Any] | None = None,
        target: tuple[Any, Any] | None = None,
        threshold: float = 0.5,
        step: float = 0.05,
        update_every: int = 250,
        seed: int = 0,
    ) -> None:
        """Prepare to teach.

        Args:
            space: a bounded ``Box``.
            initial: mean and standard deviation of the Gaussian to start from, in units of the tasks, each a number or
                an array of the space's shape. By default the lower corner, where tasks are taken to be easy, and a
                tenth of each axis.
            target: the same of the Gaussian to end at; by default uniform over the whole box, which is what a student
                is usually examined on.
            threshold: of expected performance, in [0, 1].
            step: the most that p may change in one update, a Kullback-Leibler divergence in nats.
            update_every: outcomes from one update to the next; all of them, and none before, are used.
            seed: of the teacher.

        Raises:
            ImportError: SciPy is not installed.
            ValueError: an argument is out of range.
        """
        super().__init__(space, seed=seed)
        _tools()
        self.threshold = check_number("threshold", threshold, 0.0, 1.0)
        self.step = check_number("step", step, 1e-6, 1e3)
        self.update_every = check_integer("update_every", update_every, 2, 10**6)
        low, high = self.space.low.astype(np.float64), self.space.high.astype(np.float64)
        start, narrow = self._natural("initial", initial if initial is not None else (low, 0.1 * (high - low)))
        if target is None:
            self.target, self._steepest = np.zeros_like(start), narrow
        else:
            self.target, other = self._natural("target", target)
            self._steepest = np.minimum(narrow, other)
        self.natural = start  # float64[axes, 2]: a and b
        self.tasks = np.zeros((0, len(start)))  # of the outcomes since the last update, in the unit cube
        self.performance = np.zeros(0)
        self.lifetimes = np.zeros(0)
        self.updates = 0
        self._changed()

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the tasks that are drawn now, in their units and the space's shape."""
        low, high = self.space.low.astype(np.float64), self.space.high.astype(np.float64)
        mean, square = (np.exp(_log_density(self.natural)) @ STATISTICS / CELLS).T
        deviation = np.sqrt(np.maximum(square - mean**2, 0.0))
        shape = self.space.shape
        return low + mean.reshape(shape) * (high - low), deviation.reshape(shape) * (high - low)

    def distance(self) -> float:
        """KL(p || target) in nats: 0 at the end of the course."""
        return _divergence(self.natural, self.target)

    def metrics(self) -> dict[str, float]:
        """Distance to the target in nats, and how many updates there were."""
        return {"distance": self.distance(), "updates": float(self.updates)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._changed()

    # --- drawing ------------------------------------------------------------------------------------------------------

    def _sample(self, n: int) -> np.ndarray:
        axes = np.arange(len(self.natural))
        # The axes' cumulative distributions one after the other, each raised by its number: one search for all.
        found = np.searchsorted(self._cumulative, self.generator.random((n, len(axes))) + axes, side="right")
        cells = np.clip(found - axes * CELLS, 0, CELLS - 1)
        return self.from_unit((cells + self.generator.random((n, len(axes)))) / CELLS)

    def _changed(self) -> None:
        """Prepare drawing from the present distribution."""
        cumulative = np.cumsum(np.exp(_log_density(self.natural)), axis=1)
        cumulative /= cumulative[:, -1:]
        self._cumulative = (cumulative + np.arange(len(cumulative))[:, None]).ravel()

    # --- learning -----------------------------------------------------------------------------------------------------

    def _observe(self, averages: Averages) -> None:
        self.tasks = np.concatenate([self.tasks, self.to_unit(averages.tasks)])
        self.performance = np.concatenate([self.performance, averages.performance])
        self.lifetimes = np.concatenate([self.lifetimes, averages.lifetimes])
        if self.lifetimes.sum() >= self.update_every:
            self.natural = self._updated()
            self.tasks, self.performance, self.lifetimes = self.tasks[:0], self.performance[:0], self.lifetimes[:0]
            self.updates += 1
            self._changed()

    def _updated(self) -> np.ndarray:
        """The next distribution's parameters."""
        previous, expected = self.natural, Expectation(self.natural, self.tasks, self.performance, self.lifetimes)
        best = previous
        if expected(previous)[0] < self.threshold:
            best = self._solve(lambda natural: _negative(expected(natural)))
            if expected(best)[0] < self.threshold:
                gain, error = expected.gain(best)
                # The largest gain along 2 directions per axis, in units of its error, has a chi distribution by luck.
                return best if gain**2 > _tools()[1](previous.size, 0.01) * error**2 else previous
        if expected(self.target)[0] >= self.threshold and _divergence(self.target, previous) <= self.step:
            return self.target.copy()
        closer = self._solve(
            lambda natural: (_divergence(natural, self.target), _divergence_gradient(natural, self.target)),
            start=best,
            expected=expected,
        )
        # An optimiser may end a little on the wrong side, or nowhere.
        admissible = expected(closer)[0] >= self.threshold - 1e-3
        return closer if admissible and _divergence(closer, self.target) <= _divergence(best, self.target) else best

    def _solve(
        self,
        objective: Callable[[np.ndarray], tuple[float, np.ndarray]],
        start: np.ndarray | None = None,
        expected: "Expectation | None" = None,
    ) -> np.ndarray:
        """Minimise over the distributions within a step, and of at least the threshold if ``expected`` is given.

        Args:
            objective: gives a value and its gradient, ``float64[axes, 2]``.
            start: where to begin, by default the present distribution.
            expected: performance under a distribution.

        Returns:
            Parameters within the step, in any case.
        """
        previous = self.natural
        # Coordinates in which KL(p || previous p) is about half the squared length: the square root of the Fisher
        # information, axis by axis. Without them a and b differ in scale by orders of magnitude.
        roots = np.linalg.inv(np.linalg.cholesky(_fisher(previous))).transpose(0, 2, 1)

        def parameters(z: np.ndarray) -> np.ndarray:
            return previous + np.einsum("kij,kj->ki", roots, z.reshape(-1, 2))

        def coordinates(gradient: np.ndarray) -> np.ndarray:
            return np.einsum("kij,ki->kj", roots, gradient).ravel()

        def value_and_gradient(z: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = objective(parameters(z))
            return value, coordinates(gradient)

        axes = len(previous)
        slopes = np.zeros((axes, 3, axes, 2))
        slopes[np.arange(axes), :, np.arange(axes)] = INSIDE @ roots
        scale = np.linalg.norm(INSIDE @ roots, axis=2)
        constraints: list[dict[str, Any]] = [
            {
                "type": "ineq",
                "fun": lambda z: (self._room(parameters(z)) / scale).ravel(),
                "jac": lambda z: (slopes / scale[:, :, None, None]).reshape(3 * axes, 2 * axes),
            },
            {
                "type": "ineq",
                "fun": lambda z: 0.999 * self.step - _divergence(parameters(z), previous),
                "jac": lambda z: -coordinates(_divergence_gradient(parameters(z), previous)),
            },
        ]
        if expected is not None:
            constraints.append(
                {
                    "type": "ineq",
                    "fun": lambda z: expected(parameters(z))[0] - self.threshold,
                    "jac": lambda z: coordinates(expected(parameters(z))[1]),
                }
            )
        begin = np.zeros(2 * axes)
        if start is not None:
            begin = np.linalg.solve(roots, (start - previous)[:, :, None]).ravel()
        found = _tools()[0](
            value_and_gradient,
            begin,
            jac=True,
            method="SLSQP",
            constraints=constraints,
            options={"maxiter": 200, "ftol": 1e-9},
        )
        if not np.isfinite(found.x).all():
            return previous if start is None else start
        natural = parameters(found.x)
        # The rounding of the optimiser, taken back.
        natural[:, 1] = np.clip(natural[:, 1], self._steepest, 0.0)
        natural[:, 0] = np.clip(natural[:, 0], 0.0, -2.0 * natural[:, 1])
        while _divergence(natural, previous) > self.step:  # it grows along a ray from the previous parameters
            natural = previous + 0.95 * (natural - previous)
        return natural

    def _room(self, natural: np.ndarray) -> np.ndarray:
        """How far inside the allowed parameters a distribution is, ``float64[axes, 3]``: nowhere negative if it is."""
        room = natural @ INSIDE.T
        room[:, 2] -= self._steepest
        return room

    def _natural(self, name: str, gaussian: Any) -> tuple[np.ndarray, np.ndarray]:
        """Parameters of a Gaussian on the box, and b of the narrowest that may be reached from it, per axis."""
        low, high = self.space.low.astype(np.float64), self.space.high.astype(np.float64)
        try:
            mean, deviation = (np.broadcast_to(np.asarray(part, np.float64), low.shape) for part in gaussian)
        except (TypeError, ValueError):
            raise ValueError(
                f"{name} must be a mean and a standard deviation, each a number or of shape {list(low.shape)}; "
                f"received {gaussian!r}."
            ) from None
        if not ((mean >= low) & (mean <= high)).all():
            raise ValueError(f"{name}'s mean must lie in {self.space}; received {mean}.")
        least = NARROWEST * (high - low)
        if not ((deviation >= least) & np.isfinite(deviation)).all():
            raise ValueError(
                f"{name}'s standard deviation must be finite and at least {least}, a hundredth of each axis; "
                f"received {deviation}."
            )
        free = (high > low).ravel()  # an axis of one value has nothing to move: uniform from beginning to end
        width = np.where(high > low, high - low, 1.0)
        mean, variance = ((mean - low) / width).ravel(), np.where(free, ((deviation / width) ** 2).ravel(), np.inf)
        steepness = -0.5 / variance
        return np.stack([-2.0 * steepness * mean, steepness], axis=1), steepness


# --- densities on the unit interval, proportional to exp(a x + b x^2); parameters float64[axes, 2] --------------------


def _log_density(natural: np.ndarray) -> np.ndarray:
    """Logarithm of the density in every cell, ``float64[axes, CELLS]``."""
    logits = natural @ STATISTICS.T
    top = logits.max(axis=1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).mean(axis=1, keepdims=True))


def _fisher(natural: np.ndarray) -> np.ndarray:
    """Covariance of x and x^2, ``float64[axes, 2, 2]``."""
    weights = np.exp(_log_density(natural)) / CELLS
    centred = STATISTICS - (weights @ STATISTICS)[:, None, :]
    return np.einsum("kc,kci,kcj->kij", weights, centred, centred)


def _divergence(natural: np.ndarray, other: np.ndarray) -> float:
    """KL(natural || other), summed over axes."""
    mine = _log_density(natural)
    return float(np.maximum((np.exp(mine) * (mine - _log_density(other))).mean(axis=1), 0.0).sum())


def _divergence_gradient(natural: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Gradient of KL(natural || other) with respect to ``natural``."""
    return np.einsum("kij,kj->ki", _fisher(natural), natural - other)


def _negative(value_and_gradient: tuple[float, np.ndarray]) -> tuple[float, np.ndarray]:
    return -value_and_gradient[0], -value_and_gradient[1]


class Expectation:
    """Expected performance under other distributions than the one whose outcomes were seen.

    Importance weights, normalised to sum 1 (JMLR 2021, section 5). Tasks need not have been drawn from the distribution
    they are attributed to: they might come from before the last update, or from another teacher. So a share `STRAY` of
    them is held to be uniform over the box, which bounds every weight (a defensive mixture: Hesterberg, "Weighted
    average importance sampling and defensive mixture distributions", Technometrics 1995).
    """

    def __init__(self, natural: np.ndarray, tasks: np.ndarray, performance: np.ndarray, lifetimes: np.ndarray) -> None:
        """Prepare.

        Args:
            natural: parameters of the distribution that the tasks are attributed to, ``float64[axes, 2]``.
            tasks: points of the unit cube, ``float64[n, axes]``.
            performance: on each, ``float64[n]``.
            lifetimes: how many outcomes each stands for, ``float64[n]``.
        """
        self.natural, self.performance, self.lifetimes = natural, performance, lifetimes
        self.cells = np.clip((tasks * CELLS).astype(np.int64), 0, CELLS - 1)
        self.statistics = STATISTICS[self.cells]
        self.base = np.log(lifetimes) - np.logaddexp(np.log(1.0 - STRAY) + self._log(natural), np.log(STRAY))

    def _log(self, natural: np.ndarray) -> np.ndarray:
        return _log_density(natural)[np.arange(len(natural)), self.cells].sum(axis=1)

    def weights(self, natural: np.ndarray) -> np.ndarray:
        """How much each outcome counts under a distribution, ``float64[n]``, of sum 1."""
        logits = self._log(natural) + self.base
        weights = np.exp(logits - logits.max())
        return weights / weights.sum()

    def __call__(self, natural: np.ndarray) -> tuple[float, np.ndarray]:
        """Expected performance and its gradient, ``float64[axes, 2]``."""
        weights = self.weights(natural)
        expected = float(weights @ self.performance)
        return expected, np.einsum("n,nki->ki", weights * (self.performance - expected), self.statistics)

    def gain(self, natural: np.ndarray) -> tuple[float, float]:
        """How much more is expected than under the distribution of the outcomes, and a bound of its standard error."""
        change = self.weights(natural) - self.weights(self.natural)
        mean = np.average(self.performance, weights=self.lifetimes)
        variance = mean * (1.0 - mean)  # of one outcome, at most, as it lies in [0, 1]
        return float(change @ self.performance), float(np.sqrt(variance * (change**2 / self.lifetimes).sum()))
