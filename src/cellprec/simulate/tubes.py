"""One panel as it leaves the cytometer: single-stained tubes, an unstained one, and samples, one of them clogged."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellprec.io.export import write_fcs

_DYES: Final = ("V450-A", "V525-A", "B530-A", "Y585-A", "R670-A")
_MARKERS: Final = ("CD8", "Live/Dead", "CD3", "CD4", "CD19")
_CHANNELS: Final = ("FSC-A", "FSC-H", "SSC-A", *_DYES, "Time")
_SPILLOVER: Final = (
    (1.0, 0.18, 0.01, 0.002, 0.0),
    (0.06, 1.0, 0.09, 0.01, 0.001),
    (0.004, 0.12, 1.0, 0.24, 0.01),
    (0.001, 0.01, 0.05, 1.0, 0.08),
    (0.0, 0.001, 0.002, 0.03, 1.0),
)
# population: share, and which dyes its cells carry
_POPULATIONS: Final = {
    "CD4 T": (0.38, "CD3 CD4"),
    "CD8 T": (0.24, "CD3 CD8"),
    "B": (0.18, "CD19"),
    "dead": (0.08, "Live/Dead"),
    "debris": (0.12, ""),
}
_TEMPLATE: Final = """gates:
  - {name: Lymphocytes, channels: [FSC-A, SSC-A], method: ellipse, share: 0.99}
  - {name: T cells, parent: Lymphocytes, channels: [CD3, CD19], method: valley, side: [above, below]}
  - {name: CD4 T cells, parent: T cells, channels: [CD4, CD8], method: valley, side: [above, below]}
  - {name: CD8 T cells, parent: T cells, channels: [CD4, CD8], method: valley, side: [below, above]}
  - {name: B cells, parent: Lymphocytes, channels: [CD3, CD19], method: valley, side: [below, above]}
"""
_TOP: Final = 262_144.0


def simulate_tubes(folder: str | Path, *, n_samples: int = 2, n_events: int = 8_000, seed: int = 0) -> pd.DataFrame:
    """Write a small study of FCS files without a spillover matrix, with the controls that give it, and its truth.

    folder: is made; receives ``study.yaml``, ``samples.csv``, ``gates.yaml``, one control per dye, an unstained one,
    samples ``S1``, ``S2`` … and ``truth_S1.csv`` (population and whether measured during the clog, event by event).
    The last sample clogs: for a tenth of its events the rate falls and the light is lost in part.

    Returns the true spillover, dyes × detectors.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     spillover = simulate_tubes(folder, n_samples=1, n_events=200)
    ...     sorted(path.name for path in Path(folder).glob("S*"))
    ['S1.fcs']
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    rows = []
    for column, dye in enumerate(_DYES):
        light = np.zeros((n_events // 2, len(_DYES)))
        stained = rng.random(len(light)) < 0.6
        light[stained, column] = rng.lognormal(9.2, 0.4, int(stained.sum()))
        _write(folder / f"stain_{dye}.fcs", light, rng=rng)
        rows.append((f"stain_{dye}", "control", f"stain_{dye}.fcs", "", dye))
    _write(folder / "unstained.fcs", np.zeros((n_events // 2, len(_DYES))), rng=rng)
    rows.append(("unstained", "control", "unstained.fcs", "", "unstained"))
    for number in range(1, n_samples + 1):
        truth = _sample(folder / f"S{number}.fcs", n_events, clogged=number == n_samples, rng=rng)
        truth.to_csv(folder / f"truth_S{number}.csv", index=False, lineterminator="\n")
        rows.append((f"S{number}", "cytometry", f"S{number}.fcs", f"B{number}", ""))
    sheet = pd.DataFrame(rows, columns=["sample_id", "modality", "path", "batch", "column"])
    sheet.to_csv(folder / "samples.csv", index=False, lineterminator="\n")
    (folder / "gates.yaml").write_text(_TEMPLATE)
    (folder / "study.yaml").write_text(
        f"name: tubes\nseed: {seed}\nsettings:\n  events: {{template: gates.yaml}}\n  cytometry: {{n_clusters: 12}}\n"
    )
    return pd.DataFrame(_SPILLOVER, index=list(_DYES), columns=list(_DYES))


def _sample(path: Path, n: int, *, clogged: bool, rng: np.random.Generator) -> pd.DataFrame:
    names = list(_POPULATIONS)
    population = rng.choice(names, size=n, p=[share for share, _ in _POPULATIONS.values()])
    carries = np.array([[marker in _POPULATIONS[name][1].split() for marker in _MARKERS] for name in population])
    light = np.where(carries, rng.lognormal(9.0, 0.35, (n, len(_DYES))), 0.0)
    clog = np.zeros(n, dtype=bool)
    if clogged:
        clog[int(0.6 * n) : int(0.7 * n)] = True
    _write(path, light, rng=rng, small=population == "debris", clog=clog, markers=("", "", "", *_MARKERS, ""))
    return pd.DataFrame({"population": population, "clog": clog})


def _write(
    path: Path,
    light: NDArray[np.float64],
    *,
    rng: np.random.Generator,
    small: NDArray[np.bool_] | None = None,
    clog: NDArray[np.bool_] | None = None,
    markers: tuple[str, ...] | None = None,
) -> None:
    n = len(light)
    small = np.zeros(n, dtype=bool) if small is None else small
    clog = np.zeros(n, dtype=bool) if clog is None else clog
    forward = np.where(small, rng.normal(13_000, 2_500, n), rng.normal(70_000, 7_000, n)).clip(2_000)
    side = np.where(small, rng.normal(6_000, 1_500, n), rng.normal(26_000, 4_000, n)).clip(500)
    seen = light @ np.array(_SPILLOVER)
    # photons: a gain of 8 units per photoelectron, and electronics
    seen = rng.normal(seen, np.sqrt(8 * seen)) + rng.normal(60, 25, seen.shape)
    weak = np.where(clog, 0.55, 1.0)[:, None]
    wait = rng.exponential(np.where(clog, 4.0, 1.0))
    values = np.column_stack(
        [
            forward * weak[:, 0],
            forward * weak[:, 0] * rng.normal(0.9, 0.015, n),
            side,
            seen * weak,
            np.cumsum(wait) / 50,
        ]
    )
    write_fcs(path, values, channels=_CHANNELS, markers=markers, ranges=[_TOP] * len(_CHANNELS))
