"""Cytometry events as an instrument would write them: light spilled over, noisy, with doublets and margin events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from cellprec.simulate.cohort import POPULATIONS

if TYPE_CHECKING:
    from cellprec.simulate.files import Floats

MARKERS: Final = {
    "BV421-A": "CD45RA", "BV510-A": "CD3", "BV605-A": "CD4", "BV711-A": "CD56", "FITC-A": "CD14",
    "PerCP-Cy5-5-A": "CD8", "PE-A": "CAR", "PE-Cy7-A": "CCR7", "APC-A": "CD19", "APC-Cy7-A": "CD16",
}  # fmt: skip
CHANNELS: Final = ("FSC-A", "FSC-H", "SSC-A", *MARKERS, "Time")
RANGE: Final = 262144.0

# log10 of the median signal where the marker is there, and its spread in natural log units
_POSITIVE: Final = {
    "CD45RA": (3.85, 0.50), "CD3": (4.00, 0.35), "CD4": (3.95, 0.35), "CD56": (3.60, 0.55), "CD14": (4.30, 0.45),
    "CD8": (4.25, 0.45), "CAR": (3.60, 0.55), "CCR7": (3.50, 0.45), "CD19": (4.00, 0.40), "CD16": (4.05, 0.50),
}  # fmt: skip
# which markers a population carries; a number is the share of its cells that do
_SIGNS: Final[dict[str, dict[str, float]]] = {
    "CD4 naive": {"CD3": 1, "CD4": 1, "CD45RA": 1, "CCR7": 1},
    "CD4 memory": {"CD3": 1, "CD4": 1, "CCR7": 0.4},
    "CD8 naive": {"CD3": 1, "CD8": 1, "CD45RA": 1, "CCR7": 1},
    "CD8 memory": {"CD3": 1, "CD8": 1},
    "B": {"CD19": 1, "CD45RA": 1},
    "NK": {"CD56": 1, "CD16": 0.95, "CD45RA": 1},
    "Classical monocytes": {"CD14": 1},
    "DC": {},
}
# markers that a population carries dimly, with their median signal: below any sensible cut, above nothing at all
_DIM: Final[dict[str, dict[str, float]]] = {
    "Classical monocytes": {"CD4": 350.0},
    "CD4 memory": {"CD45RA": 180.0},
    "CD8 memory": {"CD45RA": 180.0},
}
# medians of forward and side scatter
_SCATTER: Final = {
    "B": (62e3, 20e3), "NK": (70e3, 26e3), "Classical monocytes": (105e3, 62e3), "DC": (92e3, 45e3),
}  # fmt: skip
_LYMPHOCYTE: Final = (66e3, 21e3)

_SPILL: Final = (
    ("BV421-A", "BV510-A", 0.09), ("BV510-A", "BV605-A", 0.07), ("BV605-A", "BV711-A", 0.12),
    ("BV510-A", "BV421-A", 0.02),
    ("BV711-A", "BV605-A", 0.01), ("BV605-A", "PE-A", 0.05), ("FITC-A", "PE-A", 0.15), ("FITC-A", "BV510-A", 0.03),
    ("PE-A", "BV605-A", 0.10), ("PE-A", "FITC-A", 0.015), ("PerCP-Cy5-5-A", "PE-Cy7-A", 0.11),
    ("PerCP-Cy5-5-A", "BV711-A", 0.08), ("PE-Cy7-A", "PE-A", 0.02), ("APC-A", "APC-Cy7-A", 0.06),
    ("APC-Cy7-A", "APC-A", 0.04), ("APC-Cy7-A", "PE-Cy7-A", 0.03), ("APC-A", "PerCP-Cy5-5-A", 0.01),
)  # fmt: skip


def marker_signs() -> pd.DataFrame:
    """Return the marker-sign table of the panel: 1 there, -1 not there, empty where it does not matter.

    >>> marker_signs().set_index("population").loc["CD8 memory", ["CD3", "CD8", "CD45RA"]].tolist()
    [1, 1, -1]
    """
    markers = sorted(set(MARKERS.values()) - {"CAR"})
    rows = []
    for population, shares in _SIGNS.items():
        if population == "DC":  # no marker of this panel is theirs: they must come out as unassigned
            continue
        signs = {m: {0.0: -1, 1.0: 1}.get(float(shares.get(m, 0))) for m in markers}
        if "CD3" not in shares:
            signs |= dict.fromkeys(("CD4", "CD8", "CCR7", "CD45RA"))
        rows.append({"population": population} | signs)
    return pd.DataFrame(rows).astype(dict.fromkeys(markers, "Int64"))


def spillover() -> pd.DataFrame:
    """Return the spillover of the panel, channels × channels: most goes into the next redder detector of a laser."""
    matrix = np.eye(len(CHANNELS))
    for source, detector, share in _SPILL:
        matrix[CHANNELS.index(source), CHANNELS.index(detector)] = share
    return pd.DataFrame(matrix, index=list(CHANNELS), columns=list(CHANNELS))


@dataclass(frozen=True)
class Tube:
    """One stained tube: events × channels as written, and what each event truly is."""

    values: npt.NDArray[np.float32]
    population: npt.NDArray[np.str_]
    kind: npt.NDArray[np.str_]


def draw_tube(
    shares: pd.Series,
    *,
    n_events: int,
    car_share: float,
    gain: Floats,
    rng: np.random.Generator,
    doublets: float = 0.05,
    margins: float = 0.01,
) -> Tube:
    """Draw the events of one tube.

    Parameters
    ----------
    shares
        Proportion of each population.
    n_events
        Events recorded, doublets and margin events included.
    car_share
        Share of memory T cells that carry the CAR.
    gain
        Sensitivity of each fluorescence detector, around 1.
    doublets
        Share of events that are two cells at once.
    margins
        Share of events beyond the range of a detector.
    """
    n_doublets, n_margins = round(doublets * n_events), round(margins * n_events)
    n_cells = n_events + n_doublets
    population = rng.choice(np.array(POPULATIONS), n_cells, p=shares[list(POPULATIONS)].to_numpy())
    light, scatter = _light(population, car_share, rng), _scatter(population, rng)
    height = scatter[:, 0] * 0.82 * rng.normal(1, 0.025, n_cells)

    first, second = slice(0, n_doublets), slice(n_events, n_cells)
    light[first] += light[second]
    scatter[first] += scatter[second]
    height[first] = np.maximum(height[first], height[second]) * 1.05
    kind = np.full(n_events, "cell", dtype="<U7")
    kind[first] = "doublet"

    light, scatter, height = light[:n_events], scatter[:n_events], height[:n_events]
    values = np.empty((n_events, len(CHANNELS)))
    values[:, 0], values[:, 1], values[:, 2] = scatter[:, 0], height, scatter[:, 1]
    values[:, 3:-1] = _detect(light, gain, rng)
    saturated = np.arange(n_events - n_margins, n_events)
    values[saturated, rng.choice([0, 2, 7, 11], n_margins)] = 2 * RANGE
    kind[saturated] = "margin"

    values = np.clip(values, -3000, RANGE - 1)
    order = rng.permutation(n_events)
    values[:, -1] = np.sort(rng.uniform(0, 120, n_events))  # seconds
    values[:, :-1] = values[order, :-1]
    return Tube(values.astype(np.float32), population[:n_events][order], kind[order])


def _light(population: npt.NDArray[np.str_], car_share: float, rng: np.random.Generator) -> Floats:
    """Return cells × fluorochromes: the light of each fluorochrome before it spills over."""
    n = len(population)
    light = np.exp(rng.normal(np.log(70), 0.6, (n, len(MARKERS))))
    for column, marker in enumerate(MARKERS.values()):
        share = np.zeros(n)
        for name, signs in _SIGNS.items():
            share[population == name] = signs.get(marker, 0)
        if marker == "CAR":
            share[np.isin(population, ["CD4 memory", "CD8 memory"])] = car_share
        center, spread = _POSITIVE[marker]
        carried = rng.random(n) < share
        light[carried, column] += np.exp(rng.normal(center * np.log(10), spread, carried.sum()))
        for name, dim in _DIM.items():
            dimly = (population == name) & (marker in dim)
            light[dimly, column] += np.exp(rng.normal(np.log(dim.get(marker, 1.0)), 0.5, dimly.sum()))
    return light


def _scatter(population: npt.NDArray[np.str_], rng: np.random.Generator) -> Floats:
    medians = np.array([_SCATTER.get(name, _LYMPHOCYTE) for name in population])
    return np.asarray(medians * np.exp(rng.normal(0, [0.10, 0.16], medians.shape)))


def _detect(light: Floats, gain: Floats, rng: np.random.Generator) -> Floats:
    """Mix the light into detectors; photons arrive with Poisson noise, electronics add a little of their own."""
    mixed = light * gain @ spillover().loc[list(MARKERS), list(MARKERS)].to_numpy()
    return np.asarray(mixed + rng.normal(0, np.sqrt(6 * mixed + 55**2)))
