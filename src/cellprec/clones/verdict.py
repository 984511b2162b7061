"""What a contrast found, in one sentence that carries its caveats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

NEGATIVE = "negative control"
SAMPLING = "time, sampling only"

_TAKEOVER = 2.0
# at this log2 change the median is a clip of zero over something: the typical clone was gone
_GONE = 19.9


def verdict(row: Mapping[str, Any], *, reasons: pd.Series) -> str:
    """Say what a contrast found: what was called, out of how many clones, and what limits the calls.

    Parameters
    ----------
    row
        The numbers of the contrast: ``kind``, ``n_clones``, ``n_tested``, ``n_enriched``, ``n_depleted``,
        ``n_treated``, ``n_control`` and ``shift`` (log2 change of the typical clone).
    reasons
        By clone, why it could not be tested.

    Examples
    --------
    >>> row = {"kind": "drug", "n_clones": 4613, "n_tested": 76, "n_enriched": 1, "n_depleted": 0, "n_treated": 2}
    >>> verdict(row | {"n_control": 2, "shift": 0.0}, reasons=pd.Series([""]))
    '1 clone rose and 0 fell by more than drift explains (76 of 4,613 clones could be tested, 2 against 2 replicates)'
    """
    if row["n_tested"] == 0:
        why = [reason for reason in reasons.unique() if reason]
        return f"cannot tell: {why[0] if why else 'no clone could be tested'}"
    sampled = row["kind"] == SAMPLING
    tested = _tested(row["n_tested"], row["n_clones"], noun="clonotype" if sampled else "clone")
    up, down = int(row["n_enriched"]), int(row["n_depleted"])
    if sampled:
        units = f"({tested}, one sample each: no replicates)"
        if not up + down:
            return f"no clonotype changed its share by more than the draw of cells explains {units}"
        takes = "clonotype takes" if up == 1 else "clonotypes take"
        return f"{up:,} {takes} a larger and {down:,} a smaller share than the draw of cells explains {units}"
    units = f"({tested}, {row['n_treated']} against {row['n_control']} {_plural(row['n_control'], 'replicate')})"
    if row["kind"] == NEGATIVE:
        if up + down:
            called = f"{up + down:,} {_plural(up + down, 'clone')} called between two halves of one control"
            return f"{called}: calls of this study are not to be trusted {units}"
        said = f"no clone called between two halves of one control, as it must be {units}"
        few = min(row["n_treated"], row["n_control"]) < 2 and max(row["n_treated"], row["n_control"]) <= 2
        caveat = "; with so few replicates only clones far outside the scatter of all could have been called"
        return said + (caveat if few else "")
    if up + down:
        said = f"{up:,} {_plural(up, 'clone')} rose and {down:,} fell by more than drift explains {units}"
    else:
        said = f"no clone rose or fell by more than drift explains {units}"
    return said + _takeover(float(row["shift"]))


def _tested(tested: int, clones: int, *, noun: str) -> str:
    if tested == clones:
        return f"the one {noun} could be tested" if clones == 1 else f"all {clones:,} {noun}s could be tested"
    return f"{tested:,} of {clones:,} {_plural(clones, noun)} could be tested"


def _takeover(shift: float) -> str:
    """Say that the typical clone moved, where it did: folds of shares then hide what grew and what died."""
    if not abs(shift) >= _TAKEOVER:
        return ""
    if shift <= -_GONE:
        return "; the typical clone was not seen any more: a few clones took over"
    if shift < 0:
        return f"; the share of the typical clone fell {2**-shift:,.0f}-fold against them: a few clones took over"
    return f"; the share of the typical clone rose {2**shift:,.0f}-fold: a few clones that ruled the control gave way"


def _plural(n: int, noun: str) -> str:
    return noun if n == 1 else f"{noun}s"
