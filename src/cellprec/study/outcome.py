"""Outcomes: a clinical column turned into yes, no and missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pandas as pd

MISSING_WORDS: Final = frozenset(
    {"", "na", "nan", "null", "nd", "ne", "nk", "unknown", "missing", "pending", "not available",
     "not evaluable", "not done", "inconnu", "manquant"}
)  # fmt: skip


def is_missing(values: pd.Series) -> pd.Series:
    """Say which cells hold no value: empty, or a word for it in any spelling (``NA``, ``n.d.``, ``N/E``, ``?``).

    >>> is_missing(pd.Series(["n.d.", "N.É.", "?", "CR", "0"])).tolist()
    [True, True, True, False, False]
    """
    text = values.astype(object).where(values.notna(), "").astype(str).str.normalize("NFKD")
    plain = text.str.replace(r"[^\w ]", "", regex=True).str.strip().str.lower()
    return plain.isin(MISSING_WORDS)


def binary_outcome(values: pd.Series, *, positive: Sequence[str] = (), at_least: float | None = None) -> pd.Series:
    """Turn a clinical column into yes (1.0), no (0.0) and missing (NaN).

    Parameters
    ----------
    values
        The column, one entry per patient. ``NA``, ``NE``, ``?`` and the like are missing, not "no".
    positive
        The words that count as yes.
    at_least
        Or: numbers from here on count as yes; words that are no numbers are missing.

    Examples
    --------
    >>> binary_outcome(pd.Series(["CR", "PD", "", "NA"]), positive=["CR", "PR"]).tolist()
    [1.0, 0.0, nan, nan]
    >>> binary_outcome(pd.Series([0, 4]), at_least=3).tolist()
    [0.0, 1.0]
    """
    text = values.astype(object).where(values.notna(), "").astype(str).str.strip()
    missing = is_missing(text)
    if at_least is not None:
        numbers = pd.to_numeric(text.mask(missing), errors="coerce")
        return (numbers >= at_least).astype(float).mask(numbers.isna())
    return text.isin(list(positive)).astype(float).mask(missing)
