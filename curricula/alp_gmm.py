"""ALP-GMM: practise where performance is changing, with a mixture of Gaussians over a ``Box`` as the map of where.

Portelas, Colas, Hofmann, Oudeyer, "Teacher algorithms for curriculum learning of Deep RL in continuously parameterized
environments" (CoRL 2019, arXiv 1910.07224), section 4. Needs ``pip install 'daytwo[teachers]'``.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from daytwo.checks import check_integer, check_number
from daytwo.teacher import Averages, Teacher

NOTHING = 9  # decimals: a difference of performance below that is rounding


def _tools() -> tuple[Any, Any, Any]:
    """What scikit-learn and SciPy are needed for; imported when a teacher is made, not with the package."""
    try:
        from scipy.spatial import cKDTree
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture
    except ImportError as error:
        raise ImportError("ALP-GMM needs scikit-learn: pip install 'daytwo[teachers]'.") from error
    return cKDTree, GaussianMixture, ConvergenceWarning


class ALPGMM(Teacher):
    """Draws tasks where absolute learning progress (ALP) is high.

    The ALP of an outcome is how far its performance is from the one last seen on the nearest task of an earlier batch.
    After every ``fit_every`` outcomes, mixtures of 2, 3, ... Gaussians are fitted to the latest pairs of task and ALP,
    and the one of least AIC is kept. A draw chooses a Gaussian in proportion to its mean ALP, then a task from it,
    moved to the border where it lies outside. A share ``floor`` of the draws is uniform; all are until the first fit,
    and while there is no progress at all.

    Departures from the paper, for outcomes that arrive in batches: no outcome is compared with its own batch, which was
    practised at the same time, so that the first batch shows no progress yet; and a task seen again replaces what was
    known of it. EM starts from k-means++ centres, which needs no pool of threads.
    """

    name = "alp-gmm"
    kinds = (spaces.Box,)
    remembered = (
        "history_tasks",
        "history_performance",
        "latest",
        "since_fit",
        "fits",
        "progress",
        "means",
        "covariances",
    )

    def __init__(
        self,
        space: spaces.Space,
        *,
        floor: float = 0.2,
        fit_every: int = 250,
        most_components: int = 10,
        history: int = 2_500,
        seed: int = 0,
    ) -> None:
        """Prepare to teach.

        Args:
            space: a bounded ``Box``.
            floor: share of the draws that are uniform over the box, in (0, 1].
            fit_every: outcomes from one fit to the next, and how many of the latest are fitted (of equal tasks in one
                batch, the average).
            most_components: the largest mixture that is tried.
            history: how many tasks are kept to find the nearest earlier one; the oldest are dropped. The longer it is,
                the nearer is that task, and the longer ago: what was learned then still counts as progress.
            seed: of the teacher.

        Raises:
            ImportError: scikit-learn is not installed.
            ValueError: an argument is out of range.
        """
        super().__init__(space, seed=seed)
        _tools()
        self.floor = check_number("floor", floor, 0.0, 1.0)
        if self.floor == 0.0:
            raise ValueError("floor must be above 0: a task that is never drawn again is never judged anew.")
        self.most_components = check_integer("most_components", most_components, 2, 1_000)
        self.fit_every = check_integer("fit_every", fit_every, 10, 10**6)
        if self.fit_every < self.most_components:
            raise ValueError(
                f"fit_every must be at least most_components ({most_components}), received {fit_every}: a Gaussian "
                "needs an outcome."
            )
        self.history = check_integer("history", history, 1, 10**7)
        d = int(np.prod(self.space.shape))
        self.axes = d
        self.history_tasks = np.zeros((0, d))  # in the unit cube, oldest first, each task once
        self.history_performance = np.zeros(0)  # when it was last seen
        self.latest = np.zeros((0, d + 1))  # the last outcomes with progress known: task, ALP
        self.since_fit = 0
        self.fits = 0
        self.progress = np.zeros(0)  # of the Gaussians: mean ALP; none before the first fit and without progress
        self.means = np.zeros((0, d))
        self.covariances = np.zeros((0, d, d))
        self._changed()

    def metrics(self) -> dict[str, float]:
        """How many fits there were, Gaussians in the last, and the mean ALP of the latest outcomes."""
        progress = float(self.latest[:, -1].mean()) if len(self.latest) else 0.0
        return {"fits": float(self.fits), "components": float(len(self.progress)), "learning_progress": progress}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._changed()

    # --- drawing ------------------------------------------------------------------------------------------------------

    def _sample(self, n: int) -> np.ndarray:
        unit = self.generator.random((n, self.axes))
        if len(self.progress):
            chosen = self.generator.random(n) >= self.floor
            which = np.searchsorted(self._cumulative, self.generator.random(n) * self._cumulative[-1], side="right")
            which = np.minimum(which, len(self.progress) - 1)
            noise = self.generator.standard_normal((n, self.axes))
            drawn = self.means[which] + np.einsum("nij,nj->ni", self._factors[which], noise)
            unit = np.where(chosen[:, None], drawn, unit)
        return self.from_unit(unit)

    def _changed(self) -> None:
        """Prepare drawing from the present mixture."""
        self._cumulative = np.cumsum(self.progress)
        self._factors = np.linalg.cholesky(self.covariances)

    # --- learning -----------------------------------------------------------------------------------------------------

    def _observe(self, averages: Averages) -> None:
        # Outcomes come in the order of their tasks. Where only some fit into the window or the history, these should
        # not be those of one corner of the box.
        order = self.generator.permutation(len(averages.tasks))
        unit, performance = self.to_unit(averages.tasks)[order], averages.performance[order]
        if len(self.history_tasks):
            tree, _, _ = _tools()
            distance, nearest = tree(self.history_tasks, compact_nodes=False, balanced_tree=False).query(unit)
            progress = np.abs(performance - self.history_performance[nearest]).round(NOTHING)
            self.latest = np.concatenate([self.latest, np.column_stack([unit, progress])])[-self.fit_every :]
            self.since_fit += int(averages.lifetimes.sum())
            outdated = nearest[distance == 0.0]
            self.history_tasks = np.delete(self.history_tasks, outdated, axis=0)
            self.history_performance = np.delete(self.history_performance, outdated)
        self.history_tasks = np.concatenate([self.history_tasks, unit])[-self.history :]
        self.history_performance = np.concatenate([self.history_performance, performance])[-self.history :]
        if self.since_fit >= self.fit_every:
            self.since_fit = 0
            self.fits += 1
            self._fit()
            self._changed()

    def _fit(self) -> None:
        """Fit mixtures to the latest outcomes and keep the one of least AIC (section 4, algorithm 1)."""
        _, mixture, convergence_warning = _tools()
        self.progress, self.means, self.covariances = self.progress[:0], self.means[:0], self.covariances[:0]
        if len(self.latest) < 2 or not self.latest[:, -1].any():
            return
        different = len(np.unique(self.latest, axis=0))
        best, least = None, np.inf
        for components in range(min(2, different), min(self.most_components, different) + 1):
            random_state = int(self.generator.integers(2**31))
            candidate = mixture(components, init_params="k-means++", random_state=random_state)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", convergence_warning)  # the AIC judges a fit as it is
                candidate.fit(self.latest)
            criterion = candidate.aic(self.latest)
            if best is None or criterion < least:
                best, least = candidate, criterion
        assert best is not None
        progress = np.maximum(best.means_[:, -1], 0.0)
        if progress.sum() > 0.0:
            self.progress = progress
            self.means = best.means_[:, :-1]
            self.covariances = best.covariances_[:, :-1, :-1]
