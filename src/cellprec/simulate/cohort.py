"""The simulated patients: outcomes, batches, cell proportions with what is planted in them, plasma values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from cellprec.errors import UsageError
from cellprec.simulate.genes import POPULATION_PROGRAMS

if TYPE_CHECKING:
    from cellprec.simulate.files import Floats

TIMEPOINTS: Final = ("baseline", "day14")
POPULATIONS: Final = tuple(POPULATION_PROGRAMS)
RESPONDER_POPULATION: Final = "CD8 memory"
ICANS_POPULATION: Final = "Classical monocytes"
DECOY_POPULATION: Final = "NK"
PLANTED_LOG_ODDS: Final = 1.2
DECOY_LOG_ODDS: Final = 1.4

_SHARE: Final = {
    #            CD4 n  CD4 m  CD8 n  CD8 m  B      NK     mono   DC
    "baseline": (0.17, 0.20, 0.09, 0.12, 0.07, 0.11, 0.21, 0.03),
    "day14": (0.05, 0.22, 0.04, 0.30, 0.01, 0.09, 0.26, 0.03),
}
_PATIENT_SD: Final = 0.35
_PLANTED_SD: Final = 0.45
_RESPONDERS_IN_BATCH_2: Final = 10 / 12
_OTHERS_IN_BATCH_2: Final = 3 / 12


@dataclass(frozen=True)
class Cohort:
    """Patients with their sheet, and the proportions of populations in the blood of each at each timepoint.

    ``stained`` differs from ``blood`` only in the decoy: what the cytometer sees of batch 2 at baseline.
    """

    patients: pd.DataFrame
    batch: pd.Series
    blood: dict[str, pd.DataFrame]
    stained: dict[str, pd.DataFrame]
    car_share: pd.Series


def draw_cohort(n_patients: int, *, rng: np.random.Generator) -> Cohort:
    """Draw patients whose responder, severe-ICANS and batch numbers are fixed by design, in random order.

    Half respond; 3 in 8 have severe ICANS, spread evenly over response and batch; 10 of 12 responders and 3 of 12
    others are in batch 2.

    Raises
    ------
    UsageError
        With fewer than 12 patients, which cannot hold two outcomes in two batches.
    """
    if n_patients < 12:
        raise UsageError(f"{n_patients} patients are too few", fix="Simulate 12 patients or more.")
    n_responders = n_patients // 2
    responder = np.arange(n_patients) < n_responders
    in_batch_2 = np.zeros(n_patients, bool)
    in_batch_2[: round(_RESPONDERS_IN_BATCH_2 * n_responders)] = True
    in_batch_2[n_patients - round(_OTHERS_IN_BATCH_2 * (n_patients - n_responders)) :] = True
    rank = np.arange(n_patients)
    severe = (3 * (rank + 1)) // 8 > (3 * rank) // 8
    order = rng.permutation(n_patients)
    responder, in_batch_2, severe = responder[order], in_batch_2[order], severe[order]

    names = pd.Index([f"P{i:02d}" for i in range(1, n_patients + 1)], name="patient_id")
    blood = _proportions(responder, in_batch_2, severe, names, rng=rng)
    stained = dict(blood)
    shifted = blood["baseline"].copy()
    shifted[DECOY_POPULATION] *= np.exp(DECOY_LOG_ODDS * in_batch_2)
    stained["baseline"] = shifted.div(shifted.sum(axis=1), axis=0)
    return Cohort(
        patients=_clinical(responder, severe, names, rng=rng),
        batch=pd.Series(np.where(in_batch_2, "B2", "B1"), index=names),
        blood=blood,
        stained=stained,
        car_share=pd.Series(_logistic(rng.normal(-0.4, 0.6, n_patients)), index=names),
    )


def _proportions(
    responder: np.ndarray, in_batch_2: np.ndarray, severe: np.ndarray, names: pd.Index, *, rng: np.random.Generator
) -> dict[str, pd.DataFrame]:
    design = np.column_stack([np.ones(len(names)), responder, in_batch_2, severe]).astype(float)
    planted = {RESPONDER_POPULATION: responder, ICANS_POPULATION: severe}
    proportions = {}
    for timepoint, share in _SHARE.items():
        logits = np.tile(np.log(share), (len(names), 1))
        for column, population in enumerate(POPULATIONS):
            sd = _PLANTED_SD if population in planted else _PATIENT_SD
            logits[:, column] += _unrelated(design, sd=sd, rng=rng)
            if timepoint == "baseline" and population in planted:
                logits[:, column] += PLANTED_LOG_ODDS * planted[population]
        odds = np.exp(logits)
        proportions[timepoint] = pd.DataFrame(odds / odds.sum(axis=1, keepdims=True), index=names, columns=POPULATIONS)
    return proportions


def _unrelated(design: Floats, *, sd: float, rng: np.random.Generator) -> Floats:
    """Draw differences between patients that neither outcome nor batch explains: every seed plants the same truth."""
    noise = rng.normal(size=len(design))
    noise -= design @ np.linalg.lstsq(design, noise, rcond=None)[0]
    return np.asarray(noise * sd / noise.std())


def _logistic(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-x)))


def _clinical(responder: np.ndarray, severe: np.ndarray, names: pd.Index, *, rng: np.random.Generator) -> pd.DataFrame:
    n = len(names)
    response = np.where(responder, rng.choice(["CR", "PR"], n, p=[0.7, 0.3]), rng.choice(["SD", "PD"], n, p=[0.3, 0.7]))
    icans = np.where(severe, rng.choice([3, 4], n, p=[0.8, 0.2]), rng.choice([0, 1, 2], n, p=[0.5, 0.3, 0.2]))
    crs = np.clip(rng.choice([0, 1, 2], n, p=[0.2, 0.5, 0.3]) + severe * rng.integers(0, 2, n), 0, 4)
    return pd.DataFrame(
        {
            "patient_id": names,
            "response": response,
            "icans_grade": icans,
            "crs_grade": crs,
            "age_years": np.clip(rng.normal(61, 10, n), 22, 84).round(),
            "sex": rng.choice(["female", "male"], n),
            # less tumor, a little more response: a clinical baseline that is neither empty nor the answer
            "tumor_burden_cm2": np.exp(rng.normal(3.4, 0.6, n) - 0.25 * responder).round(1),
            "ferritin_ug_per_l": np.exp(rng.normal(6.2, 0.8, n)).round(),
            "prior_lines": rng.integers(2, 6, n),
        }
    )


# log-median, log-SD, and weight of the inflammation that the acute-phase proteins share
_PLASMA: Final = {
    "il6_pg_per_ml": (1.8, 0.6, 0.7), "il10_pg_per_ml": (1.5, 0.6, 0.4), "il15_pg_per_ml": (2.0, 0.5, 0.1),
    "il2ra_pg_per_ml": (7.6, 0.5, 0.4), "il8_pg_per_ml": (2.9, 0.6, 0.3), "ifng_pg_per_ml": (1.9, 0.7, 0.3),
    "tnf_pg_per_ml": (2.2, 0.5, 0.4), "ccl2_pg_per_ml": (5.5, 0.5, 0.3), "cxcl10_pg_per_ml": (5.8, 0.7, 0.4),
    "ang2_pg_per_ml": (7.7, 0.5, 0.2), "vwf_percent": (5.0, 0.3, 0.2), "gmcsf_pg_per_ml": (0.6, 0.7, 0.1),
    "ferritin_ug_per_l": (6.2, 0.7, 0.6), "crp_mg_per_l": (2.7, 0.7, 0.8), "ldh_u_per_l": (5.6, 0.4, 0.2),
    "albumin_g_per_l": (3.62, 0.12, -0.05), "creatinine_umol_per_l": (4.3, 0.25, 0.0),
    "hemoglobin_g_per_l": (4.65, 0.15, -0.05), "platelets_10e9_per_l": (4.9, 0.5, -0.1),
    "anc_10e9_per_l": (1.0, 0.5, 0.1),
}  # fmt: skip


def plasma(cohort: Cohort, *, rng: np.random.Generator, missing: float = 0.04) -> pd.DataFrame:
    """Return patients × baseline plasma proteins and laboratory values; none knows anything of the outcomes."""
    n = len(cohort.patients)
    inflammation = rng.normal(size=n)
    table = pd.DataFrame({"patient_id": cohort.patients["patient_id"]})
    for name, (center, sd, weight) in _PLASMA.items():
        values = np.exp(center + weight * inflammation + rng.normal(0, sd, n))
        values[rng.random(n) < missing] = np.nan
        table[name] = [float(f"{v:.3g}") for v in values]
    return table
