"""Ridge-logistic prediction, many small fits at once: everything learned inside the fold, on its training rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

INNER_FOLDS = 4
FEATURES = (3, 10)
PENALTIES = (100.0, 10.0, 1.0)
# a value further out than this many SD of the training patients would rule the fit alone
_CLIP = 4.0
_STEPS = 25


@dataclass(frozen=True)
class Scores:
    """What held-out patients were given: labels × patients × repeats, and what each fold had learned."""

    logit: Floats
    fold: Ints
    chosen: Floats
    weight: Floats


def fold_of(labels: Bools, *, folds: int, rng: np.random.Generator, rows: Bools | None = None) -> Ints:
    """Return the fold of each row, positives and negatives dealt out evenly; −1 for rows not asked for.

    ``labels`` is … × patients: each line is dealt on its own.

    >>> fold = fold_of(np.array([[True, True, False, False]]), folds=2, rng=np.random.default_rng(0))
    >>> sorted(fold[0, :2].tolist()), sorted(fold[0, 2:].tolist())
    ([0, 1], [0, 1])
    """
    asked = np.ones(labels.shape, dtype=bool) if rows is None else rows
    keys = rng.random(labels.shape)
    fold = np.full(labels.shape, -1)
    offset = np.zeros((*labels.shape[:-1], 1), dtype=np.int64)
    for label in (True, False):
        mine = asked & (labels == label)
        place = np.argsort(np.argsort(np.where(mine, keys, np.inf), axis=-1), axis=-1)
        fold = np.where(mine, (place + offset) % folds, fold)
        # negatives begin where positives ended, so that folds differ by one patient at most
        offset = offset + mine.sum(axis=-1, keepdims=True)
    return fold


def cross_validate(
    values: Floats, *, labels: Bools, always: Bools, folds: int, repeats: int, rng: np.random.Generator
) -> Scores:
    """Predict every patient from the others: impute, scale, prefilter, tune and fit inside each fold.

    ``values`` is patients × features (NaN: missing), ``labels`` sets of labels × patients, ``always`` marks
    features that skip the prefilter. The number of features and the penalty are chosen by the deviance of an
    inner cross-validation over the training patients.
    """
    sets, n = labels.shape
    y = np.repeat(labels, repeats, axis=0)
    fold = fold_of(y, folds=folds, rng=rng)
    train = (fold[:, None, :] != np.arange(folds)[None, :, None]).reshape(-1, n)
    y_task = np.repeat(y, folds, axis=0)
    best = _tune(values, y=y_task, train=train, always=always, rng=rng)
    logit = np.empty((train.shape[0], n))
    chosen = np.zeros((train.shape[0], values.shape[1]))
    weight = np.zeros_like(chosen)
    for number, (k, penalty) in enumerate(_grid(always, values.shape[1])):
        task = np.flatnonzero(best == number)
        if task.size == 0:
            continue
        columns, X = _prepared(values, y=y_task[task], train=train[task], always=always, k=k)
        beta = fit_ridge(X, y=y_task[task], rows=train[task], penalty=penalty)
        logit[task] = np.einsum("bnk,bk->bn", X, beta)
        chosen[task[:, None], columns] = 1.0
        weight[task[:, None], columns] = beta[:, 1:]
    held = np.where(~train, logit, 0.0).reshape(sets, repeats, folds, n).sum(axis=2)
    shape = (sets, repeats, folds, values.shape[1])
    return Scores(
        logit=held.transpose(0, 2, 1),
        fold=fold.reshape(sets, repeats, n).transpose(0, 2, 1),
        chosen=chosen.reshape(shape).mean(axis=(1, 2)),
        weight=weight.reshape(shape).mean(axis=(1, 2)),
    )


def _grid(always: Bools, n_features: int) -> list[tuple[int, float]]:
    forced = int(always.sum())
    sizes = sorted({min(forced + k, n_features) for k in FEATURES})
    return [(size, penalty) for size in sizes for penalty in PENALTIES]


def _tune(values: Floats, *, y: Bools, train: Bools, always: Bools, rng: np.random.Generator) -> Ints:
    """Return the place in the grid with the least inner deviance, the simplest where they tie."""
    tasks, n = train.shape
    inner = fold_of(y, folds=INNER_FOLDS, rng=rng, rows=train)
    rows = (train[:, None, :] & (inner[:, None, :] != np.arange(INNER_FOLDS)[None, :, None])).reshape(-1, n)
    held = np.repeat(train, INNER_FOLDS, axis=0) & ~rows
    y_inner = np.repeat(y, INNER_FOLDS, axis=0)
    deviance = []
    size, X, beta = -1, np.empty(0), None
    for k, penalty in _grid(always, values.shape[1]):
        if k != size:
            size, X, beta = k, _prepared(values, y=y_inner, train=rows, always=always, k=k)[1], None
        # from the strongest penalty to the weakest, each from where the last one ended
        beta = fit_ridge(X, y=y_inner, rows=rows, penalty=penalty, start=beta)
        logit = np.einsum("bnk,bk->bn", X, beta)
        loss = np.logaddexp(0.0, np.where(y_inner, -logit, logit))
        deviance.append(np.where(held, loss, 0.0).sum(axis=1).reshape(tasks, INNER_FOLDS).sum(axis=1))
    best: Ints = np.argmin(np.round(np.stack(deviance, axis=1), 9), axis=1)
    return best


def _prepared(values: Floats, *, y: Bools, train: Bools, always: Bools, k: int) -> tuple[Ints, Floats]:
    """Return the k best columns by training rows, and their values scaled by training rows, intercept first."""
    seen = ~np.isnan(values)
    filled = np.where(seen, values, 0.0)
    rows = train.astype(float)
    count = rows @ seen
    mean = rows @ filled / np.maximum(count, 1)
    variance = rows @ filled**2 / np.maximum(count, 1) - mean**2
    scale = np.sqrt(np.maximum(variance, 0.0))
    usable = (count >= 3) & (scale > 1e-9)
    positives = rows * y
    in_positive = positives @ seen
    in_negative = count - in_positive
    difference = positives @ filled / np.maximum(in_positive, 1) - (rows * ~y) @ filled / np.maximum(in_negative, 1)
    strength = np.abs(difference) / np.where(usable, scale, 1.0)
    strength *= np.sqrt(in_positive * in_negative / np.maximum(count, 1))
    strength = np.where(usable, strength, -1.0) + np.where(always, 1e9, 0.0)
    columns = np.argsort(-strength, axis=1, kind="stable")[:, :k]
    centre = np.take_along_axis(mean, columns, axis=1)[:, None, :]
    spread = np.take_along_axis(np.where(usable, scale, np.inf), columns, axis=1)[:, None, :]
    picked = values[:, columns].transpose(1, 0, 2)
    scaled = np.clip(np.nan_to_num((picked - centre) / spread, nan=0.0), -_CLIP, _CLIP)
    return columns, np.concatenate([np.ones((*scaled.shape[:2], 1)), scaled], axis=2)


def fit_ridge(X: Floats, *, y: Bools, rows: Bools, penalty: float, start: Floats | None = None) -> Floats:
    """Return the coefficients of ridge-penalized logistic regressions, fits × columns, by Newton's method.

    ``X`` is fits × rows × columns with the intercept, which is not penalized, first; ``rows`` marks the rows
    each fit may see, ``start`` where to begin. Minimizes the deviance / 2 + penalty / 2 · |β|²
    (le Cessie & van Houwelingen 1992).

    >>> X = np.array([[[1.0, -1], [1, -1], [1, 1], [1, 1]]])
    >>> y = np.array([[False, True, True, True]])
    >>> fit_ridge(X, y=y, rows=np.ones((1, 4), dtype=bool), penalty=1e9).round(2)
    array([[1.1, 0. ]])
    """
    fits, _, columns = X.shape
    ridge = np.full(columns, penalty)
    ridge[0] = 1e-9
    prior = np.clip((rows & y).sum(axis=1) / np.maximum(rows.sum(axis=1), 1), 1e-3, 1 - 1e-3)
    beta = np.zeros((fits, columns)) if start is None else start.copy()
    if start is None:
        beta[:, 0] = np.log(prior / (1 - prior))
    weight = rows.astype(float)
    transposed = np.ascontiguousarray(X.transpose(0, 2, 1))
    active = np.arange(fits)
    for _ in range(_STEPS):
        A, At, w = X[active], transposed[active], weight[active]
        logit = np.einsum("bnk,bk->bn", A, beta[active])
        chance = 1 / (1 + np.exp(-np.clip(logit, -30, 30)))
        gradient = np.einsum("bkn,bn->bk", At, w * (y[active] - chance)) - ridge * beta[active]
        curvature = np.maximum(w * chance * (1 - chance), 1e-10)
        hessian = np.matmul(At * curvature[:, None, :], A) + np.diag(ridge)
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        longest = np.abs(step).max(axis=1, keepdims=True)
        beta[active] += step * np.minimum(1.0, 2.0 / np.maximum(longest, 1e-12))
        # Newton squares the error: after a step this small it is far below what is reported
        active = active[longest[:, 0] > 1e-4]
        if active.size == 0:
            break
    return beta
