"""Gittins indices: published values, another method, rigorous bounds, and the limits of the approximation."""

import numpy as np
import pytest

from daytwo.baselines import gittins
from daytwo.baselines.gittins import LOWER, UPPER, approximate_index, index_bounds, index_table
from daytwo.kernels import interpreted

# Gittins (1989), tables 8.1; (discount, a, b, index of Beta(a, b)).
PUBLISHED = [
    (0.9, 1, 1, 0.7029),
    (0.9, 2, 2, 0.6346),
    (0.9, 3, 3, 0.6010),
    (0.9, 10, 2, 0.8695),
    (0.99, 1, 1, 0.8699),
    (0.99, 1, 2, 0.7005),
    (0.99, 2, 1, 0.9102),
]


@pytest.mark.parametrize(("discount", "a", "b", "index"), PUBLISHED)
def test_the_table_agrees_with_the_published_values_to_four_decimals(discount, a, b, index):
    assert index_table(discount, 12)[a - 1, b - 1] == pytest.approx(index, abs=5.1e-5)


def restart_index(discount, wins, losses, reach=70):
    """Katehakis & Veinott's (1987) restart formulation, by value iteration on all states up to ``reach`` pulls more."""
    total = np.arange(reach + 1)[:, None] + wins + losses
    won = np.arange(reach + 1)[None, :] + wins
    mean = np.where(won <= total - losses, (won + 1.0) / (total + 2.0), 0.5)
    value = np.full((reach + 2, reach + 2), 0.5 / (1 - discount))
    for _ in range(3000):
        go_on = mean + discount * (mean * value[1:, 1:] + (1 - mean) * value[1:, :-1])
        restart = go_on[0, 0]
        new = np.maximum(go_on, restart)
        if np.abs(new - value[:-1, :-1]).max() < 1e-10:
            break
        value[:-1, :-1] = new
        value[-1], value[:, -1] = restart, restart
    return (1 - discount) * restart


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (3, 0), (0, 2), (4, 5)])
def test_the_restart_formulation_gives_the_same_index(wins, losses):
    assert index_table(0.9, 12)[wins, losses] == pytest.approx(restart_index(0.9, wins, losses), abs=1e-4)


@pytest.mark.parametrize("discount", [0.9, 0.99, 0.999])
def test_the_bounds_enclose_the_table_and_close_in(discount):
    table = index_table(discount, 10)
    reachable = np.add.outer(np.arange(11), np.arange(11)) <= 10
    lower, upper = index_bounds(discount, 10, grid=2000)
    assert np.isnan(table[~reachable]).all()
    assert np.isfinite(table[reachable]).all()
    # The table's own grid is coarser than that of these bounds.
    assert (table[reachable] >= lower[reachable] - 1e-4).all()
    assert (table[reachable] <= upper[reachable] + 1e-4).all()
    assert (upper - lower)[reachable].max() < {0.9: 1e-4, 0.99: 1e-4, 0.999: 1e-3}[discount]
    near, far = (np.subtract(*index_bounds(discount, 10, reach=reach)[::-1])[reachable].max() for reach in (40, 200))
    assert far < near


def test_an_index_exceeds_the_mean_rises_with_wins_and_falls_with_losses():
    table = index_table(0.99, 60)
    wins, losses = np.nonzero(np.isfinite(table))
    assert (table[wins, losses] > (1 + wins) / (2 + wins + losses)).all()
    assert np.nanmin(np.diff(table, axis=0)) > 0
    assert np.nanmax(np.diff(table, axis=1)) < 0


def test_patience_raises_every_index():
    tables = [index_table(discount, 20) for discount in (0.9, 0.99, 0.999, 0.9999)]
    for less, more in zip(tables, tables[1:], strict=False):
        assert np.nanmin(more - less) > 0


@pytest.mark.parametrize(("discount", "error"), [(0.9, 1e-3), (0.99, 2e-3), (0.999, 0.01)])
def test_the_approximation_takes_over_smoothly_at_the_end_of_the_table(discount, error):
    pulls = 400
    table = index_table(discount, pulls)
    exact = np.array([table[wins, pulls - wins] for wins in range(pulls + 1)])
    approximate = np.array([approximate_index(discount, wins, pulls - wins) for wins in range(pulls + 1)])
    assert np.abs(exact - approximate).max() < error


@pytest.mark.parametrize("terminal", [LOWER, UPPER])
def test_interpreted_and_compiled_tables_are_the_same(terminal):
    compiled = gittins._solve(0.9, 4, 12, 40, terminal)
    with interpreted():
        assert np.array_equal(gittins._solve(0.9, 4, 12, 40, terminal), compiled, equal_nan=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((1.0, 10), "discount"), (("high", 10), "discount"), ((0.9, -1), "pulls"), ((0.9, 2.5), "pulls")],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        index_table(*arguments)
    with pytest.raises(ValueError, match=message):
        index_bounds(*arguments)


def test_the_induction_must_reach_beyond_the_table():
    with pytest.raises(ValueError, match="reach must be more than pulls=10, received 10"):
        index_bounds(0.9, 10, reach=10)
