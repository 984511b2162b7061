"""Least squares without negative amounts, for many events at once."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.optimize import nnls as one_by_one

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

# how often the whole set may be exchanged without gain before one variable is moved at a time (Kim and Park: 3)
_PATIENCE: Final = 3


def nonnegative_least_squares(values: NDArray[np.floating], *, spectra: NDArray[np.floating]) -> NDArray[np.float64]:
    """Find for each event the amounts, none below zero, whose mixed signal comes nearest to what was measured.

    values: events × detectors. spectra: components × detectors, linearly independent rows. Returns events ×
    components: the minimum of ``|amounts @ spectra - values|`` over amounts >= 0; nan for an event that holds
    something not finite. The same minimum as ``scipy.optimize.nnls`` finds, from the normal equations.

    Source: block principal pivoting with Murty's rule behind it (Kim and Park 2011, SIAM J Sci Comput 33:3261), begun
    from the signs of the unconstrained solution; the normal equations are formed once for all events (Bro and de Jong
    1997, J Chemometrics 11:393).

    >>> import numpy as np
    >>> nonnegative_least_squares(np.array([[1.0, 0.0], [2.0, 1.5]]), spectra=np.array([[1.0, 0.5], [0.0, 1.0]]))
    array([[0.8, 0. ], [2. , 0.5]])
    """
    measured = np.asarray(values, dtype=np.float64)
    mixed = np.asarray(spectra, dtype=np.float64)
    finite = np.isfinite(measured).all(axis=1)
    amounts = np.full((len(measured), len(mixed)), np.nan)
    gram = np.ascontiguousarray(mixed @ mixed.T)
    right = measured[finite] @ mixed.T
    free = np.linalg.solve(gram, right.T).T
    found = np.maximum(free, 0.0)
    rows = np.flatnonzero((free < 0).any(axis=1))
    if len(rows):
        solved, settled = _kernel()(gram, np.ascontiguousarray(right[rows]), free[rows] > 0, _PATIENCE)
        found[rows] = solved
        for row in rows[~settled]:
            found[row] = one_by_one(mixed.T, measured[finite][row])[0]
    amounts[finite] = found
    return amounts


@cache
def _kernel() -> Callable[..., tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    # compiled at the first use: numba takes longer to load than the rest of the package
    import numba  # noqa: PLC0415

    compiled = numba.njit(nogil=True)
    found: Callable[..., tuple[NDArray[np.float64], NDArray[np.bool_]]]
    found = compiled(_pivot(compiled(_solve_active), compiled(_mark_wrong)))
    return found


def _solve_active(
    gram: NDArray[np.float64],
    right: NDArray[np.float64],
    active: NDArray[np.int64],
    n: int,
    lower: NDArray[np.float64],
    x: NDArray[np.float64],
) -> None:
    """Solve gram[active, active] x = right[active] by Cholesky; x is 0 elsewhere."""
    for i in range(n):
        for j in range(i + 1):
            total = gram[active[i], active[j]]
            for m in range(j):
                total -= lower[i, m] * lower[j, m]
            lower[i, j] = np.sqrt(max(total, 1e-300)) if i == j else total / lower[j, j]
    for i in range(len(x)):
        x[i] = 0.0
    for i in range(n):
        total = right[active[i]]
        for m in range(i):
            total -= lower[i, m] * x[active[m]]
        x[active[i]] = total / lower[i, i]
    for i in range(n - 1, -1, -1):
        total = x[active[i]]
        for m in range(i + 1, n):
            total -= lower[m, i] * x[active[m]]
        x[active[i]] = total / lower[i, i]


def _mark_wrong(
    gram: NDArray[np.float64],
    right: NDArray[np.float64],
    active: NDArray[np.int64],
    n: int,
    inside: NDArray[np.bool_],
    x: NDArray[np.float64],
    wrong: NDArray[np.bool_],
) -> int:
    """Mark the amounts below zero and those at zero that would gain by growing; return how many there are."""
    slack = 0.0
    for i in range(len(right)):
        slack = max(slack, 1e-12 * abs(right[i]))
    count = 0
    for i in range(len(right)):
        if inside[i]:
            wrong[i] = x[i] < 0.0
        else:
            pull = right[i]
            for m in range(n):
                pull -= gram[i, active[m]] * x[active[m]]
            wrong[i] = pull > slack
        count += wrong[i]
    return count


def _pivot(solve: Any, mark: Any) -> Callable[..., tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    def pivot(
        gram: NDArray[np.float64], rights: NDArray[np.float64], positive: NDArray[np.bool_], patience: int
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        n, k = rights.shape
        out, settled = np.zeros((n, k)), np.zeros(n, dtype=np.bool_)
        lower, x, active, wrong = np.zeros((k, k)), np.zeros(k), np.zeros(k, dtype=np.int64), np.zeros(k, np.bool_)
        for row in range(n):
            inside = positive[row]
            fewest, left = k + 1, patience
            for _ in range(10 * k + 50):
                size = 0
                for i in range(k):
                    if inside[i]:
                        active[size] = i
                        size += 1
                solve(gram, rights[row], active, size, lower, x)
                count = mark(gram, rights[row], active, size, inside, x, wrong)
                if count == 0:
                    for i in range(k):
                        out[row, i] = x[i]
                    settled[row] = True
                    break
                if count < fewest:
                    fewest, left = count, patience
                else:
                    left -= 1
                # all that is wrong; after too many rounds without gain the last one alone (Murty), which cannot circle
                change = count if left >= 0 else 1
                for i in range(k - 1, -1, -1):
                    if wrong[i] and change > 0:
                        inside[i] = not inside[i]
                        change -= 1
        return out, settled

    return pivot
