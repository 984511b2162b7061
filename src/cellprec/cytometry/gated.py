"""Populations as the user gated them, carried over to the joint object."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from anndata import AnnData

from cellprec import keys
from cellprec.cytometry.cleaning.acquisition import acquisition_table
from cellprec.io.gates import gate_counts, label_populations
from cellprec.notes import add_note


def name_by_gates(adata: AnnData, *, samples: Mapping[str, AnnData]) -> bool:
    """Name the events after the innermost gates of their samples, if every sample was gated; say whether it was so.

    Parameters
    ----------
    adata
        The joint events, named ``sample_id:row``; only samples with events here are asked for gates.
    samples
        The events of each sample, with ``obsm["gates"]`` where a workspace was given.

    Returns
    -------
    bool
        True: ``obs["population"]`` and ``obs["population_confidence"]`` (1) are written. False, and nothing is
        written: no sample has gates, or only some have, which is noted, since gated and computed names do not mix.
    """
    present = set(adata.obs[keys.SAMPLE_ID].astype(str))
    samples = {name: sample for name, sample in samples.items() if name in present}
    gated = [name for name, sample in samples.items() if keys.GATES in sample.obsm]
    if not gated or len(gated) < len(samples):
        if gated:
            text = f"{len(gated)} of {len(samples)} samples have gates; all were named by marker signs instead"
            add_note(adata, "cytometry.some_gated", text, count=len(gated))
        return False
    parts = []
    for sample in samples.values():
        label_populations(sample)
        parts.append(sample.obs[keys.POPULATION].astype(str))
    names = pd.concat(parts).reindex(adata.obs_names)
    adata.obs[keys.POPULATION] = pd.Categorical(names)
    adata.obs[keys.POPULATION_CONFIDENCE] = np.ones(adata.n_obs, np.float32)
    return True


def sample_tables(samples: Mapping[str, AnnData]) -> dict[str, pd.DataFrame]:
    """Tell sample by sample how many events came and stayed, how they lie in the gates, and what happened in time.

    Returns
    -------
    dict
        ``samples``: ``sample_id``, ``n_events``, ``n_kept``, ``kept_fraction``, and one column of counts per reason met
        anywhere, by the first reason of an event. ``gates``: ``sample_id``, ``path``, ``name``, ``parent``, ``count``,
        ``fraction`` (of the parent; at the top of all events where a workspace drew the gates, as in FlowJo, of the
        kept ones where a template placed them); no row without gates. ``acquisition``: the bins over time of
        ``acquisition_table``.
    """
    rows, gates, bins = [], [], []
    for name, sample in samples.items():
        rows.append(_sample_row(name, sample))
        bins.append(acquisition_table(sample))
        if keys.GATES in sample.obsm:
            counted = gate_counts(sample)
            counted.insert(0, keys.SAMPLE_ID, name)
            gates.append(counted)
    table = pd.DataFrame(rows)
    counts = table.columns.drop([keys.SAMPLE_ID, "n_events", "n_kept", "kept_fraction"])
    table[counts] = table[counts].fillna(0).astype(int)
    columns = [keys.SAMPLE_ID, "path", "name", "parent", "count", "fraction"]
    return {
        "samples": table,
        "gates": pd.concat(gates, ignore_index=True) if gates else pd.DataFrame(columns=columns),
        "acquisition": pd.concat(bins, ignore_index=True),
    }


def _sample_row(name: str, sample: AnnData) -> dict[str, object]:
    keep = sample.obs[keys.KEEP].to_numpy(bool)
    reasons = sample.obs.loc[~keep, keys.DROP_REASON].astype(str).value_counts()
    n = len(keep)
    row: dict[str, object] = {keys.SAMPLE_ID: name, "n_events": n, "n_kept": int(keep.sum())}
    row["kept_fraction"] = float(keep.mean()) if n else np.nan
    return row | {str(reason): int(count) for reason, count in sorted(reasons.items())}
