"""The runs of a mass cytometer with the beads acquired in each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from cellprec import keys
from cellprec.cytometry.mass.beads import Beads, Floats, find_beads
from cellprec.cytometry.mass.masses import channel_masses
from cellprec.cytometry.panel import find_channels, near_misses
from cellprec.errors import Problem
from cellprec.notes import add_note

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

# mass numbers of the metals in beads that are sold: EQ four element, EQ six element, and those of Finck et al. 2013
BEAD_SETS: Final[dict[str, tuple[int, ...]]] = {
    "eq4": (140, 151, 153, 165, 175),
    "eq6": (89, 115, 140, 159, 175, 209),
    "beta": (139, 141, 159, 169, 175),
}
_DNA_MASSES: Final = (191.0, 193.0)
_JUMBLED: Final = 0.1


@dataclass(eq=False)
class Run:
    """One acquisition on its way through: its beads, their smoothed brightness, its factors."""

    name: str
    adata: AnnData
    channels: list[int]
    masses: Floats
    position: NDArray[np.intp]
    beads: Beads
    smooth: Floats = field(default_factory=lambda: np.empty((0, 0)))
    window: int = 0

    @property
    def names(self) -> list[str]:
        """The names of the bead channels ($PnN)."""
        var = self.adata.var
        column = var[keys.CHANNEL] if keys.CHANNEL in var else var.index.to_series()
        return [str(name) for name in column.iloc[self.channels]]

    @property
    def signal(self) -> Floats:
        """The beads alone as they are in ``X`` (beads × channels)."""
        return np.asarray(self.adata.X)[self.beads.alone][:, self.channels].astype(np.float64)

    @property
    def ordered(self) -> Floats:
        """The logarithms of the beads alone, in order of time (beads × channels)."""
        return self.beads.logs[np.argsort(self.places, kind="stable")]

    @property
    def places(self) -> NDArray[np.intp]:
        """The rank in time of each bead alone."""
        return self.position[self.beads.alone]


def open_runs(
    samples: Mapping[str, AnnData], *, beads: str | Sequence[str | int], dna: Sequence[str] | None
) -> tuple[list[Run], list[Problem]]:
    """Return the runs with their beads found, and what keeps the others from it."""
    wanted = BEAD_SETS[beads] if isinstance(beads, str) else tuple(beads)
    runs, problems = [], []
    for name, adata in samples.items():
        masses = channel_masses(adata)
        channels = [_channel(adata, asked=one, masses=masses) for one in wanted]
        lacking = [one for one, channel in zip(wanted, channels, strict=True) if channel < 0]
        named = [_channel(adata, asked=one, masses=masses) for one in dna or ()]
        lacking += [one for one, channel in zip(dna or (), named, strict=True) if channel < 0]
        problems += [_no_channel(adata, asked=one, sample=name) for one in lacking]
        if lacking:
            continue
        own = masses.to_numpy()[channels]
        dark = named or [i for i in map(int, np.flatnonzero(masses.isin(_DNA_MASSES))) if i not in channels]
        if not dark:
            text = "no DNA channel: beads were told from cells by their bead channels alone"
            add_note(adata, "events.no_dna", text, sample=name)
        position = _positions(adata, sample=name)
        linear = np.asarray(adata.X)
        found = find_beads(linear[:, channels].astype(float), dna=linear[:, dark].astype(float), position=position)
        runs.append(Run(name, adata, channels, own, position, found))
    return runs, problems


def _channel(adata: AnnData, *, asked: str | int, masses: pd.Series) -> int:
    if str(asked).isdigit():
        hits = np.flatnonzero(masses.to_numpy() == float(asked))
        return int(hits[0]) if len(hits) == 1 else -1
    found = find_channels(adata, names=[str(asked)])
    return int(adata.var_names.get_loc(found[str(asked)])) if found else -1


def _no_channel(adata: AnnData, *, asked: str | int, sample: str) -> Problem:
    near = near_misses(adata, name=str(asked))
    what = f"no channel, or more than one, measures {'mass ' if str(asked).isdigit() else ''}{asked}"
    fix = (
        f"did you mean {' or '.join(near)}?" if near else f"name the bead channels; known sets: {', '.join(BEAD_SETS)}"
    )
    return Problem("beads.channel", what, sample=sample, fix=fix)


def _positions(adata: AnnData, *, sample: str) -> NDArray[np.intp]:
    """The rank of each event in time: its row, unless the rows of the file are not in order."""
    rows = np.arange(adata.n_obs)
    if keys.KIND not in adata.var or not (adata.var[keys.KIND].astype(str) == "time").any():
        return rows
    clock = np.asarray(adata.X)[:, int(np.argmax(adata.var[keys.KIND].astype(str) == "time"))]
    back = int((np.diff(clock) < 0).sum())
    if back <= _JUMBLED * len(rows):
        if back:
            text = f"time runs back {back:,} times: the events were taken in the order of the file"
            add_note(adata, "events.time_runs_back", text, count=back, sample=sample)
        return rows
    text = "the events are not in order of time: their time was used for the drift, not their row"
    add_note(adata, "events.time_jumbled", text, count=back, sample=sample)
    position = np.empty(len(rows), dtype=np.intp)
    position[np.argsort(clock, kind="stable")] = rows
    return position
