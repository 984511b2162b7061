"""Units of laboratory values: which header says what, and whether the numbers can be in that unit."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Analyte:
    """A laboratory value: the unit cellprec computes in, how others convert to it, and its plausible range."""

    name: str
    unit: str
    factors: dict[str, float]
    low: float
    high: float


def _analyte(name: str, unit: str, low: float, high: float, **factors: float) -> Analyte:
    return Analyte(name, unit, {unit: 1.0, **factors}, low, high)


# Plausible ranges are wide on purpose: they hold anything seen in patients (healthy to intensive care), so that a
# median outside can only be a wrong unit. Conversion factors are SI arithmetic (1 ug/L = 1 ng/mL; 1 mg/dL = 10 mg/L).
ANALYTES: dict[str, Analyte] = {
    a.name: a
    for a in (
        _analyte("ferritin", "ug_per_l", 2, 200_000, ng_per_ml=1.0, mg_per_l=1000.0),
        _analyte("crp", "mg_per_l", 0.05, 700, mg_per_dl=10.0),
        _analyte("ldh", "u_per_l", 50, 20_000, ukat_per_l=59.88),
        _analyte("creatinine", "umol_per_l", 15, 2000, mg_per_dl=88.42),
        _analyte("hemoglobin", "g_per_l", 30, 220, g_per_dl=10.0),
        _analyte("platelets", "10e9_per_l", 1, 2000, per_ul=0.001),
        _analyte("anc", "10e9_per_l", 0.001, 100, per_ul=0.001),
        _analyte("wbc", "10e9_per_l", 0.01, 500, per_ul=0.001),
        _analyte("il6", "pg_per_ml", 0.1, 500_000, ng_per_l=1.0),
        _analyte("age", "years", 0, 120, **{"": 1.0, "months": 1 / 12}),
        _analyte("weight", "kg", 1, 350),
    )
}


def judge_unit(column: str, values: np.ndarray) -> tuple[str, str] | None:
    """Say what is wrong with the unit of a laboratory column, and the fix; ``None`` if nothing is.

    Parameters
    ----------
    column
        Header: analyte and unit, ``ferritin_ug_per_l``.
    values
        The numbers of the column, NaN where missing.

    Examples
    --------
    >>> judge_unit("hemoglobin_g_per_l", np.array([12.1, 9.8, 13.0]))[0]
    'the median of hemoglobin_g_per_l is 12.1, outside 30 to 220 g_per_l: the numbers look like g_per_dl'
    >>> judge_unit("ferritin_ug_per_l", np.array([350.0])) is None
    True
    """
    present = values[np.isfinite(values)]
    name = next((a for a in ANALYTES if column == a or column.startswith(f"{a}_")), None)
    if name is None or not present.size:
        return None
    analyte, rest = ANALYTES[name], column[len(name) :]
    allowed = ", ".join(f"{name}_{u}".rstrip("_") for u in analyte.factors)
    unit = next((u for u in analyte.factors if rest.endswith(f"_{u}".rstrip("_")) and (u or not rest)), None)
    if unit is None:
        if "_per_" not in rest:
            return f"{column} has no unit in its header", f"Rename the column to one of: {allowed}."
        wrong = rest[1:]
        near = difflib.get_close_matches(wrong, analyte.factors, n=1)
        hint = f" Did you mean {name}_{near[0]}?" if near else ""
        return f"{wrong!r} is not a unit of {name}", f"Use one of: {allowed}.{hint}"
    median = float(np.median(present))
    if analyte.low <= median * analyte.factors[unit] <= analyte.high:
        return None
    fits = [u for u, f in analyte.factors.items() if analyte.low <= median * f <= analyte.high]
    low, high = (bound / analyte.factors[unit] for bound in (analyte.low, analyte.high))
    looks = f": the numbers look like {' or '.join(fits)}" if fits else ""
    return (
        f"the median of {column} is {median:g}, outside {low:g} to {high:g} {unit}{looks}",
        f"Correct the header or the numbers; accepted headers: {allowed}.",
    )
