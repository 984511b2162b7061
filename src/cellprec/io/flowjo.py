"""Populations, clusters and the map back into FCS files, event by event in the order of the original."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

from cellprec import keys
from cellprec.io.export import write_fcs

_OUT_OF_MAP = (
    -100.0
)  # FCS has no missing value: events without a place lie far off the map, where they are seen as such


def flowjo_files(original: AnnData, joint: AnnData, *, sample_id: str) -> dict[str, Callable[[Path], None]]:
    """Say how to write one sample with its results, for FlowJo: an FCS file and a table, every event, original order.

    Parameters
    ----------
    original
        The events as read: all of them, linear values, as from ``read_fcs``.
    joint
        The joint analysis: a part of the events of many samples, with ``population``, ``cluster``, ``X_umap``.
    sample_id
        The sample.

    Returns
    -------
    dict
        ``flowjo/<sample>.fcs`` with the channels of the original plus ``cellprec_population`` and ``cellprec_cluster``
        (numbers from 1; 0 for events that were dropped or not drawn) and ``cellprec_umap_1/2``, and
        ``flowjo/<sample>.csv`` with the same in words. Each value writes its file to the path it is given.
    """
    here = joint.obs_names[joint.obs[keys.SAMPLE_ID].astype(str) == sample_id]
    rows = original.obs_names.get_indexer(here)
    obs = joint.obs.loc[here]
    words = pd.DataFrame({"event": np.arange(original.n_obs)})
    extra: dict[str, np.ndarray] = {}
    for column in (keys.POPULATION, keys.CLUSTER):
        kinds = joint.obs[column].astype("category").cat.categories
        numbers = np.zeros(original.n_obs, np.float32)
        numbers[rows] = pd.Categorical(obs[column], categories=kinds).codes + 1
        extra[f"cellprec_{column}"] = numbers
        words[column] = np.array(["", *kinds.astype(str)], dtype=object)[numbers.astype(int)]
    places = np.full((original.n_obs, 2), np.nan, np.float32)
    if keys.X_UMAP in joint.obsm:
        places[rows] = np.asarray(joint.obsm[keys.X_UMAP])[joint.obs_names.get_indexer(here)]
    for axis in (0, 1):
        extra[f"cellprec_umap_{axis + 1}"] = np.where(np.isnan(places[:, axis]), _OUT_OF_MAP, places[:, axis])
        words[f"umap_{axis + 1}"] = places[:, axis]
    values = np.column_stack([np.asarray(original.X), *extra.values()]).astype(np.float32)
    n = original.n_vars
    spillover = np.eye(n + len(extra))
    if keys.SPILLOVER in original.varp:
        spillover[:n, :n] = original.varp[keys.SPILLOVER]

    def write_events(path: Path) -> None:
        write_fcs(
            path,
            values,
            channels=[*original.var[keys.CHANNEL].astype(str), *extra],
            markers=[*original.var[keys.MARKER].astype(str), *[""] * len(extra)],
            ranges=[*original.var[keys.RANGE], *(float(max(v.max(initial=1), 1)) for v in extra.values())],
            spillover=spillover if keys.SPILLOVER in original.varp else None,
        )

    def write_words(path: Path) -> None:
        words.to_csv(path, index=False, lineterminator="\n", float_format="%.5g")

    return {f"flowjo/{sample_id}.fcs": write_events, f"flowjo/{sample_id}.csv": write_words}
