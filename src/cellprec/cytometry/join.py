"""The events of all samples in one object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

import anndata
import numpy as np
import pandas as pd
from anndata import AnnData

from cellprec import keys
from cellprec.errors import InputError, JoinError
from cellprec.notes import Note, get_notes, set_notes

_MEASURED: Final = ("fluorescence", "mass")
_FEWEST: Final = 2


def join(samples: Mapping[str, AnnData], *, sheet: pd.DataFrame, max_events: int = 100_000, seed: int = 0) -> AnnData:
    """Put the kept events of all samples into one object, on the channels they share.

    Parameters
    ----------
    samples
        Cleaned events by sample: events × channels with ``obs["keep"]``, layers ``raw`` and ``compensated``.
    sheet
        The rows of ``samples.csv`` for these samples; its columns are added to ``obs`` as categories.
    max_events
        Events taken per sample at most; more are subsampled without replacement, which is noted.
    seed
        Seed of the subsampling.

    Returns
    -------
    AnnData
        Kept events × shared channels. Channels that some sample lacks are left out, and noted by name. So are, first,
        samples without a kept event, and samples that have fewer than half (or fewer than two) of the fluorescence and
        mass channels of the panel that most samples have: one odd file does not cost the others their markers.

    Raises
    ------
    InputError
        No sample has a kept event.
    JoinError
        No panel is that of most samples, or fewer than two channels besides scatter and time are shared.

    Examples
    --------
    >>> one = AnnData(np.ones((3, 2), "f4"), obs=pd.DataFrame({"sample_id": "a", "keep": True}, index=list("abc")))
    >>> one.var_names, one.var["kind"] = ["CD3", "CD4"], "fluorescence"
    >>> join({"a": one}, sheet=pd.DataFrame({"sample_id": ["a"], "batch": ["1"]})).obs["batch"].tolist()
    ['1', '1', '1']
    """
    rng = np.random.default_rng(seed)
    rows = sheet.drop_duplicates(keys.SAMPLE_ID).set_index(keys.SAMPLE_ID)
    notes: list[Note] = []
    together = _of_one_panel(_with_events(samples, notes=notes), notes=notes)
    shared = _shared_channels(together)
    parts: list[AnnData] = []
    for name, adata in together.items():
        notes += get_notes(adata)
        chosen = np.flatnonzero(adata.obs[keys.KEEP].to_numpy())
        if len(chosen) > max_events:
            text = f"{max_events:,} of {len(chosen):,} clean events were drawn for the joint analysis"
            notes.append(Note("cytometry.subsampled", text, len(chosen) - max_events, name))
            chosen = np.sort(rng.choice(chosen, max_events, replace=False))
        part = adata[chosen, shared].copy()
        part.uns, part.obsm = {}, {}
        parts.append(part)
        left_out = [c for c in adata.var_names if c not in shared]
        if left_out:
            text = f"channels that not every sample has were left out: {', '.join(left_out)}"
            notes.append(Note("cytometry.panel", text, len(left_out), name))
    joined = anndata.concat(parts, join="inner", merge="first")
    joined.var = parts[0].var.copy()
    for column in rows.columns:
        values = joined.obs[keys.SAMPLE_ID].astype(str).map(rows[column])
        joined.obs[column] = pd.Categorical(values.fillna(""))
    joined.obs[keys.SAMPLE_ID] = pd.Categorical(joined.obs[keys.SAMPLE_ID].astype(str))
    joined.obs = joined.obs.drop(columns=["path", "modality", "gates"], errors="ignore")
    set_notes(joined, list(dict.fromkeys(notes)))
    return joined


def _with_events(samples: Mapping[str, AnnData], *, notes: list[Note]) -> dict[str, AnnData]:
    filled = {name: adata for name, adata in samples.items() if adata.obs[keys.KEEP].to_numpy(bool).any()}
    if not filled:
        raise InputError(
            "no cytometry sample has an event left after cleaning",
            where=_some([f"{name} ({adata.n_obs:,} events in the file)" for name, adata in samples.items()], top=6),
            why="without events there is nothing to cluster",
            fix="Look at the files in FlowJo: are they empty, or is every event at the edge of a detector? "
            "settings.events.margins and settings.events.doublets switch the filters off.",
        )
    for name, adata in samples.items():
        if name not in filled:
            notes += get_notes(adata)
            left = f"none of its {adata.n_obs:,} events is left after cleaning" if adata.n_obs else "it has no event"
            text = f"{left}: it is not part of the joint analysis"
            notes.append(Note("cytometry.empty", text, adata.n_obs, name))
    return filled


def _of_one_panel(samples: dict[str, AnnData], *, notes: list[Note]) -> dict[str, AnnData]:
    """Return the samples that have at least half of the panel that most samples have."""
    panels = {name: _measured(adata) for name, adata in samples.items()}
    copies = Counter(panels.values())
    alike = {panel: {name for name in panels if _alike(panels[name], panel)} for panel in copies}
    fitting = {panel: {name for name in panels if _fits(panels[name], panel=panel)} for panel in copies}
    claims = {panel: (len(alike[panel]), len(fitting[panel])) for panel in copies}
    panel = min(copies, key=lambda own: (*(-claim for claim in claims[own]), -copies[own], sorted(own)))
    staying = fitting[panel]
    rivals = [other for other in copies if claims[other] == claims[panel] and alike[other].isdisjoint(staying)]
    if len(panel) < _FEWEST or rivals:
        raise _no_panel(panels, why="no panel is that of most files; clusters of different markers cannot be compared")
    for name, adata in samples.items():
        if name not in staying:
            own = panels[name]
            text = (
                f"{name} has another panel than {len(staying)} of {len(samples)} samples and was set aside: it has "
                f"{len(own & panel)} of their {len(panel)} channels; its own are {_some(sorted(own), top=6) or 'none'}"
            )
            notes += get_notes(adata)
            notes.append(Note("cytometry.set_aside", text, adata.n_obs, name))
    return {name: samples[name] for name in samples if name in staying}


def _measured(adata: AnnData) -> frozenset[str]:
    return frozenset(adata.var_names[adata.var[keys.KIND].isin(_MEASURED).to_numpy()].astype(str))


def _alike(one: frozenset[str], other: frozenset[str]) -> bool:
    # of the channels of both, so that a panel between two others does not gather the votes of both
    return one == other or len(one & other) >= max(_FEWEST, len(one | other) / 2)


def _fits(own: frozenset[str], *, panel: frozenset[str]) -> bool:
    return len(own & panel) >= max(_FEWEST, len(panel) / 2)


def _no_panel(panels: dict[str, frozenset[str]], *, why: str) -> JoinError:
    everywhere = frozenset.intersection(*panels.values())
    groups: dict[frozenset[str], list[str]] = {}
    for name, panel in panels.items():
        groups.setdefault(panel, []).append(name)
    told = [
        f"{_some(names, top=3)}: {_some(sorted(panel - everywhere or panel), top=6) or 'no marker'}"
        for panel, names in sorted(groups.items(), key=lambda item: -len(item[1]))
    ]
    return JoinError(
        "the cytometry files do not share a panel",
        where="; ".join(told[:4]) + (f"; and {len(told) - 4} other panels" if len(told) > 4 else ""),
        why=why,
        fix="Give the files one study per panel, or make the marker names ($PnS) agree.",
    )


def _some(names: list[str], *, top: int) -> str:
    return ", ".join(names[:top]) + (f" and {len(names) - top} more" if len(names) > top else "")


def _shared_channels(samples: dict[str, AnnData]) -> list[str]:
    first, *rest = samples.values()
    shared = [str(channel) for channel in first.var_names if all(channel in other.var_names for other in rest)]
    panels = {name: _measured(adata) for name, adata in samples.items()}
    if len(frozenset.intersection(*panels.values()).intersection(shared)) < _FEWEST:
        raise _no_panel(panels, why="fewer than two channels are in all of these files")
    return shared
