"""Outcomes: a clinical column turned into yes, no and missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pandas as pd

MISSING_WORDS: Final = frozenset({"", "na", "nan", "n/a", "none", "null", ".", "-", "?", "nd", "unknown", "ne"})


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
    missing = text.str.lower().isin(MISSING_WORDS)
    if at_least is not None:
        numbers = pd.to_numeric(text.mask(missing), errors="coerce")
        return (numbers >= at_least).astype(float).mask(numbers.isna())
    return text.isin(list(positive)).astype(float).mask(missing)
