"""Populations, clusters and maps as channels of an FCS file, event by event in the order of the original."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData

from cellprec import keys
from cellprec.errors import InputError, UsageError
from cellprec.io.export import unique_names, write_fcs
from cellprec.io.fcs.linear import require_linear

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

# FCS has no missing value: events without a place lie far off the map, where they are seen as such
_OUT_OF_MAP = -100.0
_PREFIX = "cellprec_"


def export_fcs(adata: AnnData, *, path: str | Path, columns: Sequence[str] = (), maps: Sequence[str] = ()) -> Path:
    """Write events with what was found about them to an FCS 3.1 file that FlowJo opens, in their order here.

    adata: events × channels of one sample; ``layers["raw"]`` is written where it is there, else X, which must be
    linear. path: the file; it appears whole or not at all. columns: of obs, each as a channel ``cellprec_<column>``:
    numbers as they are, words as numbers from 1 in the order of their categories (0: none), with a keyword
    ``cellprec_<column> <number>`` that says the word. maps: of obsm, such as X_umap, each dimension as a channel.
    The keywords of the file the events came from go along, but for those about its layout and scaling.

    Raises UsageError where X is transformed and no raw values are left, or was read as stored; InputError where a
    column or a map is not there.

    >>> from tempfile import TemporaryDirectory
    >>> from cellprec.io.fcs import read_fcs
    >>> var = pd.DataFrame({"channel": ["B530-A"], "marker": ["CD3"], "range": [1024.0]}, index=["CD3"])
    >>> adata = AnnData(np.array([[5.0], [7.0]], np.float32), var=var)
    >>> adata.obs["population"] = pd.Categorical(["T", "B"])
    >>> with TemporaryDirectory() as folder:
    ...     back = read_fcs(export_fcs(adata, path=f"{folder}/a.fcs", columns=["population"]))
    >>> list(back.var_names), back.X.tolist()
    (['CD3', 'cellprec_population'], [[5.0, 2.0], [7.0, 1.0]])
    """
    require_linear(adata, where=str(path))
    missing = [f"obs[{name!r}]" for name in columns if name not in adata.obs]
    missing += [f"obsm[{name!r}]" for name in maps if name not in adata.obsm]
    if missing:
        raise InputError(f"there is no {' and no '.join(missing)} to write", where=path)
    if keys.RAW not in adata.layers and keys.TRANSFORM in adata.var:
        fix = "Keep layers['raw'], or export before transform."
        raise UsageError("the events are transformed: FCS files hold linear values", where=path, fix=fix)
    extra: dict[str, NDArray[np.float32]] = {}
    words: dict[str, str] = {}
    for name in columns:
        extra[_PREFIX + name], said = _numbers(adata.obs[name], name)
        words |= said
    for name in maps:
        places = np.asarray(adata.obsm[name], dtype=np.float32)
        extra |= _axes(places, name)
    return _write(adata, Path(path), extra, words)


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
        (numbers from 1; 0 for events that were dropped or not drawn; keywords say the words) and
        ``cellprec_umap_1/2``, and ``flowjo/<sample>.csv`` with the same in words. Each value writes its file to the
        path it is given.
    """
    here = joint.obs_names[joint.obs[keys.SAMPLE_ID].astype(str) == sample_id]
    obs = joint.obs.loc[here].reindex(original.obs_names)
    words = pd.DataFrame({"event": np.arange(original.n_obs)})
    extra: dict[str, NDArray[np.float32]] = {}
    said: dict[str, str] = {}
    for column in (keys.POPULATION, keys.CLUSTER):
        kinds = joint.obs[column].astype("category").cat.categories
        numbered = pd.Series(pd.Categorical(obs[column], categories=kinds))
        extra[_PREFIX + column], spelled = _numbers(numbered, column)
        said |= spelled
        words[column] = numbered.astype(str).where(numbered.notna(), "")
    places = np.full((original.n_obs, 2), np.nan, np.float32)
    if keys.X_UMAP in joint.obsm:
        rows = original.obs_names.get_indexer(here)
        places[rows] = np.asarray(joint.obsm[keys.X_UMAP])[joint.obs_names.get_indexer(here)]
    extra |= _axes(places, keys.X_UMAP)
    for axis in (0, 1):
        words[f"umap_{axis + 1}"] = places[:, axis]

    def write_events(path: Path) -> None:
        _write(original, path, extra, said)

    def write_words(path: Path) -> None:
        words.to_csv(path, index=False, lineterminator="\n", float_format="%.5g")

    return {f"flowjo/{sample_id}.fcs": write_events, f"flowjo/{sample_id}.csv": write_words}


def _numbers(values: pd.Series, name: str) -> tuple[NDArray[np.float32], dict[str, str]]:
    """Return a column as numbers, and the keywords that say what the numbers stand for."""
    if values.dtype == bool or pd.api.types.is_numeric_dtype(values):
        return values.to_numpy(dtype=np.float32), {}
    kinds = values.astype("category").cat
    words = {f"{_PREFIX}{name} {number}": str(word) for number, word in enumerate(kinds.categories, start=1)}
    return (kinds.codes.to_numpy() + 1).astype(np.float32), words


def _axes(places: NDArray[np.float32], name: str) -> dict[str, NDArray[np.float32]]:
    stem = _PREFIX + name.removeprefix("X_")
    return {
        f"{stem}_{axis + 1}": np.where(np.isnan(column), np.float32(_OUT_OF_MAP), column)
        for axis, column in enumerate(places.T)
    }


def _write(adata: AnnData, path: Path, extra: Mapping[str, NDArray[Any]], words: Mapping[str, str]) -> Path:
    held = np.asarray(adata.layers.get(keys.RAW, adata.X))
    values = np.empty((adata.n_obs, adata.n_vars + len(extra)), dtype=np.float32)
    values[:, : adata.n_vars] = held
    for place, column in enumerate(extra.values(), start=adata.n_vars):
        values[:, place] = column
    spillover = None
    if keys.SPILLOVER in adata.varp:
        spillover = np.eye(values.shape[1])
        spillover[: adata.n_vars, : adata.n_vars] = adata.varp[keys.SPILLOVER]
    tops = [float(np.nanmax(column, initial=1.0)) + 1 for column in extra.values()]
    ranges = list(adata.var[keys.RANGE]) if keys.RANGE in adata.var else [np.nan] * adata.n_vars
    return write_fcs(
        path,
        values,
        channels=[*unique_names(adata.var[keys.CHANNEL].astype(str)), *extra],
        markers=[*adata.var[keys.MARKER].astype(str), *[""] * len(extra)],
        ranges=[*ranges, *tops],
        spillover=spillover,
        keywords=json.loads(str(adata.uns.get("fcs", {}).get("keywords", "{}"))) | dict(words),
    )
