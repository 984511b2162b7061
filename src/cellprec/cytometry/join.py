"""The events of all samples in one object."""

from __future__ import annotations

from collections.abc import Mapping

import anndata
import numpy as np
import pandas as pd
from anndata import AnnData

from cellprec import keys
from cellprec.errors import JoinError
from cellprec.notes import Note, add_note, get_notes, set_notes


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
        Kept events × shared channels. Channels that some sample lacks are left out, and noted by name.

    Raises
    ------
    JoinError
        Fewer than two channels besides scatter and time are shared.

    Examples
    --------
    >>> one = AnnData(np.ones((3, 2), "f4"), obs=pd.DataFrame({"sample_id": "a", "keep": True}, index=list("abc")))
    >>> one.var_names, one.var["kind"] = ["CD3", "CD4"], "fluorescence"
    >>> join({"a": one}, sheet=pd.DataFrame({"sample_id": ["a"], "batch": ["1"]})).obs["batch"].tolist()
    ['1', '1', '1']
    """
    rng = np.random.default_rng(seed)
    rows = sheet.drop_duplicates(keys.SAMPLE_ID).set_index(keys.SAMPLE_ID)
    shared = _shared_channels(samples)
    parts: list[AnnData] = []
    notes: list[Note] = []
    for name, adata in samples.items():
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
    if not joined.n_obs:
        add_note(joined, "cytometry.empty", "no clean event is left in any sample")
    return joined


def _shared_channels(samples: Mapping[str, AnnData]) -> list[str]:
    panels = {name: adata.var[keys.KIND] for name, adata in samples.items()}
    first, *rest = panels.values()
    shared = [channel for channel in first.index if all(channel in panel.index for panel in rest)]
    if sum(first[channel] in {"fluorescence", "mass"} for channel in shared) < 2:
        examples = "; ".join(f"{name}: {', '.join(panel.index[:6])}" for name, panel in list(panels.items())[:3])
        raise JoinError(
            "the cytometry files do not share a panel",
            where=examples,
            why="clusters of different markers cannot be compared",
            fix="Give the files one study per panel, or make the marker names ($PnS) agree.",
        )
    return shared
