"""What the outcome cannot be told apart from, because of how the study was run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import optimize, special, stats

from cellprec.errors import JoinError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MISSING = "not stated"
_COLUMNS = ["outcome", "column", "n", "n_positive", "n_levels", "v", "low", "high", "p", "within", "sentence"]
_ENUMERABLE = 300_000
_SHUFFLES = 20_000
# numbers with more values than this are cut into thirds: every patient a level of its own would say nothing
_NUMERIC_LEVELS = 6


def confounding(outcome: pd.Series, design: pd.DataFrame, *, alpha: float = 0.05) -> pd.DataFrame:
    """Say which parts of the design (batch, site, arm, run date …) go along with the outcome.

    ``outcome`` is yes, no or missing by patient, its name the name of the outcome; ``design`` is patients ×
    columns, missing values a level of their own, numbers with more than 6 values cut into thirds. One row per
    column: Cramér's ``v`` with a 95 % interval (noncentral chi-squared, Smithson 2003), ``p`` of the
    Fisher–Freeman–Halton exact test, ``within``, the share of pairs with and without the outcome that can be
    compared inside one level (0: none), and a ``sentence`` for the reader. Most worrying first; columns that
    divide the patients alike (the batches of two timepoints) are one row, under the name of the first.

    Raises JoinError where outcome and design share no patient.

    >>> outcome = pd.Series([True] * 4 + [False] * 4, index=list("abcdefgh"), name="response")
    >>> design = pd.DataFrame({"batch": ["1"] * 4 + ["2"] * 4}, index=list("abcdefgh"))
    >>> print(confounding(outcome, design)["sentence"][0])
    No batch holds patients both with and without response: response and batch cannot be told apart.
    """
    known = outcome.dropna().astype(bool)
    known = known[known.index.isin(design.index)]
    if known.empty:
        raise JoinError(
            f"no patient of the design has the outcome {outcome.name}",
            where=f"design: {', '.join(map(str, design.index[:3]))}; outcome: {', '.join(map(str, outcome.index[:3]))}",
            fix="use the same patient names in samples.csv and patients.csv",
        )
    name = str(outcome.name or "the outcome")
    rows = []
    for levels, columns in _asked_once({str(c): _levels(design[c].loc[known.index]) for c in design}):
        row = _row(known, levels=levels, column=columns[0], name=name, alpha=alpha)
        if len(columns) > 1:
            row["sentence"] += f" The same holds for {', '.join(columns[1:])}."
        rows.append(row)
    table = pd.DataFrame(rows, columns=_COLUMNS)
    return table.sort_values(["p", "within"], kind="stable", na_position="last").reset_index(drop=True)


def _asked_once(levels: dict[str, pd.Series]) -> list[tuple[pd.Series, list[str]]]:
    """Return each way of dividing the patients with the columns that divide them so."""
    found: dict[bytes, tuple[pd.Series, list[str]]] = {}
    for column, values in levels.items():
        found.setdefault(pd.factorize(values)[0].tobytes(), (values, []))[1].append(column)
    return list(found.values())


def _levels(values: pd.Series) -> pd.Series:
    if pd.api.types.is_numeric_dtype(values) and values.nunique() > _NUMERIC_LEVELS:
        values = pd.qcut(values, 3, duplicates="drop").astype("object").map(_third, na_action="ignore")
    words = values.astype("object")
    return words.where(words.notna() & (words.astype(str).str.strip() != ""), _MISSING).astype(str)


def _third(interval: Any) -> str:
    return f"{interval.left:g} to {interval.right:g}"


def _row(outcome: pd.Series, *, levels: pd.Series, column: str, name: str, alpha: float) -> dict[str, Any]:
    counts = pd.crosstab(levels, outcome).reindex(columns=[False, True], fill_value=0)
    table = counts.to_numpy()
    without, with_ = table.sum(axis=0)
    row: dict[str, Any] = {
        "outcome": name,
        "column": column,
        "n": outcome.size,
        "n_positive": int(with_),
        "n_levels": len(counts),
        "within": float((table[:, 0] * table[:, 1]).sum() / (without * with_)) if without * with_ else np.nan,
    }
    if len(counts) < 2 or not without or not with_:
        why = f"all {outcome.size} patients share one {column}" if len(counts) < 2 else f"{name} does not vary"
        return row | {"sentence": f"Cannot tell: {why}."}
    if len(counts) == outcome.size:
        return row | {"sentence": f"Cannot tell: every patient has a {column} of its own."}
    v, low, high = _cramers_v(table)
    p = exact_p(table)
    row |= {"v": v, "low": low, "high": high, "p": p}
    return row | {"sentence": _sentence(counts, row, alpha=alpha)}


def _cramers_v(table: NDArray[np.int64]) -> tuple[float, float, float]:
    """Return Cramér's V with the limits at which its chi-squared would just be in the tails."""
    n = table.sum()
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / n
    chi2 = float(((table - expected) ** 2 / expected).sum())
    freedom = table.shape[0] - 1

    def limit(tail: float) -> float:
        if stats.chi2.cdf(chi2, freedom) <= tail:
            return 0.0
        found = optimize.brentq(lambda ncp: stats.ncx2.cdf(chi2, freedom, ncp) - tail, 1e-9, chi2 * 4 + 100)
        return float(min(1.0, np.sqrt(found / n)))

    return float(np.sqrt(chi2 / n)), limit(0.975), limit(0.025)


def exact_p(table: NDArray[np.int64]) -> float:
    """Return the exact p-value of a levels × 2 table: the chance of tables no more likely than this one.

    Every table of the same margins is counted (Freeman & Halton 1951); beyond 300,000 of them, 20,000 are
    drawn with a fixed seed.

    >>> round(exact_p(np.array([[3, 1], [1, 3]])), 4)
    0.4857
    """
    sizes, positives = table.sum(axis=1), int(table[:, 1].sum())
    observed = float(_log_choose(sizes, table[:, 1]).sum())
    if np.prod(sizes[:-1] + 1.0) <= _ENUMERABLE:
        used, logs = np.zeros(1, dtype=int), np.zeros(1)
        for size in sizes:
            taken = np.arange(size + 1)
            used = np.add.outer(used, taken).ravel()
            logs = np.add.outer(logs, _log_choose(size, taken)).ravel()
            used, logs = used[used <= positives], logs[used <= positives]
        logs = logs[used == positives]
        chances = np.exp(logs - special.logsumexp(logs))
        return float(min(1.0, chances[logs <= observed + 1e-9].sum()))
    drawn = np.random.default_rng(0).multivariate_hypergeometric(sizes, positives, size=_SHUFFLES, method="marginals")
    rarer = (_log_choose(sizes[None, :], drawn).sum(axis=1) <= observed + 1e-9).sum()
    return float((1 + rarer) / (1 + _SHUFFLES))


def _log_choose(n: Any, k: Any) -> NDArray[np.float64]:
    return np.asarray(special.gammaln(n + 1.0) - special.gammaln(k + 1.0) - special.gammaln(n - k + 1.0))


def _sentence(counts: pd.DataFrame, row: dict[str, Any], *, alpha: float) -> str:
    name, column, n = row["outcome"], row["column"], row["n"]
    if row["within"] == 0:
        return f"No {column} holds patients both with and without {name}: {name} and {column} cannot be told apart."
    for positive, side in ((True, "with"), (False, "without")):
        held = counts.index[counts[positive] > 0]
        if len(held) == 1:
            own, other = counts.loc[held[0], positive], counts.loc[held[0], not positive]
            return (
                f"All {own} patients {side} {name} are in {column} {held[0]}, beside {other} of the others: only "
                f"these {own + other} can be compared, and everything else could be the {column}."
            )
    if row["p"] <= alpha:
        spread = ", ".join(f"{c[True]} of {c.sum()} in {level}" for level, c in counts.iloc[:6].iterrows())
        return (
            f"{name} goes along with {column} ({spread}; exact p = {row['p']:.2g}): a feature that shifts with the "
            f"{column} looks associated with {name}. Trust what holds within a {column}."
        )
    return (
        f"{name} is spread over {column} as chance would (exact p = {row['p']:.2g}); with {n} patients an "
        f"association up to V = {row['high']:.2f} cannot be excluded."
    )
