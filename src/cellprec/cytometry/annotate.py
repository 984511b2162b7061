"""Name the clusters by the markers they carry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from cellprec import keys
from cellprec.cytometry.panel import find_channels, lineage_channels
from cellprec.cytometry.signs import default_signs, read_signs
from cellprec.cytometry.threshold import find_threshold
from cellprec.errors import InputError, UsageError
from cellprec.notes import add_note

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

__all__ = ["annotate", "cluster_table", "default_signs", "population_table", "read_signs"]

POPULATIONS: Final = "populations"
THRESHOLD: Final = "threshold"
# no marker is held to be surer than this in a cluster: antibodies and gates err
_SUREST: Final = 0.98
_AGREEMENT: Final = 0.5
_WEAKEST: Final = 0.15
_MOST: Final = 0.6
_MARGIN: Final = 0.2
_DOUBT: Final = 0.1
_NAMED: Final = 12


def annotate(adata: AnnData, *, signs: pd.DataFrame | None = None) -> None:
    """Name each cluster by the population whose markers it carries, or leave it unassigned.

    signs: populations × markers, +1 carries it, -1 does not, 0 or missing says nothing (``default_signs`` where none
    is given). A marker counts as positive above a threshold found from all events, each cluster weighing as the
    square root of its size, so that rare populations are seen. A cluster's score for a population is the log-likelihood
    ratio of its positive fractions against the average cluster, summed over the stated markers. The best population
    is taken if its markers agree (geometric mean at least 0.5, none below 0.15) and no other comes near (log ratio
    0.2); where those that come near share a more general population of the table, that one is taken, as it is where
    what a population adds to it does not hold for 60 % of the events; else the cluster stays ``unassigned``.

    Reads ``X`` (transformed) and ``obs["cluster"]``, kept events for the fractions. Writes ``obs["population"]``,
    ``obs["population_confidence"]`` (0 to 1; agreement times the chance against the next population),
    ``var["threshold"]`` and ``uns["populations"]["thresholds"]``. Markers and populations that cannot be used are
    notes. Where no population is left, the default table leaves all events unassigned, with a note; a table that
    was given raises InputError.

    >>> import anndata, numpy as np, pandas as pd
    >>> rng = np.random.default_rng(0)
    >>> values = rng.normal(np.repeat([[5, 0], [0, 5]], 200, axis=0), 0.5).astype("float32")
    >>> adata = anndata.AnnData(values, var=pd.DataFrame({"kind": ["mass"] * 2}, index=["CD3", "CD19"]))
    >>> adata.obs["cluster"] = pd.Categorical(["1"] * 200 + ["2"] * 200)
    >>> annotate(adata, signs=pd.DataFrame({"CD3": [1, -1], "CD19": [-1, 1]}, index=["T cells", "B cells"]))
    >>> adata.obs.groupby("cluster", observed=True)["population"].first().tolist()
    ['T cells', 'B cells']
    """
    if keys.CLUSTER not in adata.obs:
        raise UsageError("the events have no clusters", fix="call cluster first")
    clusters = adata.obs[keys.CLUSTER].astype("category")
    codes = clusters.cat.codes.to_numpy()
    default = default_signs()
    given = signs is not None and not signs.equals(default)
    signs, markers = _match(adata, signs=default if signs is None else signs)
    kept = _kept(adata)
    sizes = np.bincount(codes[kept], minlength=len(clusters.cat.categories))
    weights = 1 / np.sqrt(np.maximum(sizes, 1))[codes]
    found = {name: find_threshold(adata, channel=name, weights=weights, rows=kept) for name in markers}
    adata.var[THRESHOLD] = [found[name].value if name in found else np.nan for name in adata.var_names]
    table = [(name, threshold.value, threshold.how) for name, threshold in found.items()]
    adata.uns[POPULATIONS] = {"thresholds": pd.DataFrame(table, columns=["marker", "threshold", "how"])}
    usable = _usable(adata, signs=signs, seen=[name for name in markers if found[name].how != "none"], given=given)
    if usable.empty:
        adata.obs[keys.POPULATION] = pd.Categorical([keys.UNASSIGNED] * adata.n_obs)
        adata.obs[keys.POPULATION_CONFIDENCE] = np.zeros(adata.n_obs, np.float32)
        return
    positive = _positive(adata, channels=list(usable.columns), codes=codes, kept=kept, n=len(sizes))
    named, confidence = _name(positive, signs=usable, filled=sizes > 0)
    adata.obs[keys.POPULATION] = pd.Categorical(
        np.array(named)[codes], categories=[name for name in (*usable.index, keys.UNASSIGNED) if name in named]
    )
    adata.obs[keys.POPULATION_CONFIDENCE] = confidence[codes].astype(np.float32)


def population_table(adata: AnnData) -> pd.DataFrame:
    """Count the kept events of each population in each sample, zeros included.

    Columns ``sample_id``, ``population``, ``n``, ``fraction`` (of the kept events of the sample).

    >>> import anndata, pandas as pd
    >>> obs = pd.DataFrame({"sample_id": ["a", "a", "b"], "population": ["T", "B", "T"]}, index=["0", "1", "2"])
    >>> population_table(anndata.AnnData(obs=obs)).values.tolist()
    [['a', 'B', 1, 0.5], ['a', 'T', 1, 0.5], ['b', 'B', 0, 0.0], ['b', 'T', 1, 1.0]]
    """
    obs = adata.obs.loc[_kept(adata)]
    samples = adata.obs[keys.SAMPLE_ID].astype("category")
    populations = adata.obs[keys.POPULATION].astype("category")
    index = pd.MultiIndex.from_product(
        [samples.cat.categories.astype(str), populations.cat.categories.astype(str)],
        names=[keys.SAMPLE_ID, keys.POPULATION],
    )
    counts = obs.groupby([obs[keys.SAMPLE_ID].astype(str), obs[keys.POPULATION].astype(str)]).size()
    table: pd.DataFrame = counts.reindex(index, fill_value=0).rename("n").reset_index()
    totals = table.groupby(keys.SAMPLE_ID)["n"].transform("sum")
    # a sample that lost every event has no fractions
    table["fraction"] = table["n"] / totals.where(totals > 0)
    return table


def cluster_table(adata: AnnData) -> pd.DataFrame:
    """Describe each cluster: its size, name, confidence, and the median of every lineage marker.

    Columns ``cluster``, ``n`` (kept events), ``population`` (that of most events), ``confidence`` (their mean, events
    of other populations counting as 0), then one per marker (transformed scale).

    >>> import anndata, numpy as np, pandas as pd
    >>> obs = pd.DataFrame({"cluster": ["1", "1"], "population": "T", "population_confidence": 0.9}, index=["0", "1"])
    >>> var = pd.DataFrame({"kind": ["mass"]}, index=["CD3"])
    >>> cluster_table(anndata.AnnData(np.array([[4.0], [5.0]]), obs=obs, var=var)).values.tolist()
    [['1', 2, 'T', 0.9, 4.5]]
    """
    kept = _kept(adata)
    obs = adata.obs.loc[kept]
    clusters = adata.obs[keys.CLUSTER].astype("category")
    markers = lineage_channels(adata)
    values = np.asarray(adata.X)[np.ix_(kept, adata.var_names.get_indexer(markers))]
    medians = pd.DataFrame(values, columns=markers).groupby(obs[keys.CLUSTER].astype(str).to_numpy()).median()
    groups = obs.groupby(obs[keys.CLUSTER].astype(str))
    table = pd.DataFrame({"n": groups.size()})
    if keys.POPULATION in obs:
        table["population"] = groups[keys.POPULATION].agg(lambda names: str(names.astype(str).value_counts().index[0]))
    if keys.POPULATION_CONFIDENCE in obs:
        named = obs[keys.POPULATION].astype(str) == obs[keys.CLUSTER].astype(str).map(table["population"])
        sure = obs[keys.POPULATION_CONFIDENCE].astype(float).where(named, 0.0)
        table["confidence"] = sure.groupby(obs[keys.CLUSTER].astype(str)).mean()
    table = table.join(medians).reindex(clusters.cat.categories.astype(str))
    table["n"] = table["n"].fillna(0).astype(int)
    return table.rename_axis("cluster").reset_index()


def _kept(adata: AnnData) -> NDArray[np.bool_]:
    if keys.KEEP in adata.obs:
        return np.asarray(adata.obs[keys.KEEP], dtype=bool)
    return np.ones(adata.n_obs, dtype=bool)


def _match(adata: AnnData, *, signs: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Signs as -1, 0 and +1, the markers of the panel renamed to rows of ``var``; and these rows."""
    wrong = ~signs.fillna(0).isin([-1, 0, 1])
    if wrong.any(axis=None):
        place = wrong.stack()[lambda cells: cells].index[0]
        raise InputError("a sign is neither +1, -1 nor 0", where=f"population {place[0]}, marker {place[1]}")
    if signs.index.has_duplicates:
        raise InputError(f"population {signs.index[signs.index.duplicated()][0]!r} stands in the sign table twice")
    found = find_channels(adata, names=[str(name) for name in signs.columns], within=lineage_channels(adata))
    twice = [name for name in found if list(found.values()).count(found[name]) > 1]
    if twice:
        raise InputError(f"{' and '.join(twice)} of the sign table mean one channel", fix="keep one of these columns")
    return signs.fillna(0).astype(int).rename(columns=found), list(found.values())


def _usable(adata: AnnData, *, signs: pd.DataFrame, seen: list[str], given: bool) -> pd.DataFrame:
    """The populations that the panel can tell, on the markers that tell positive from negative."""
    silent = [str(name) for name in signs.columns if name in adata.var_names and name not in seen]
    absent = [str(name) for name in signs.columns if name not in adata.var_names]
    for name in silent:
        add_note(adata, "events.no_valley", f"{name} shows one broad hill: it was not used to name populations")
    lost = _left_out(signs, absent=absent, silent=silent)
    lost |= _doubles(signs.drop(index=list(lost)), seen=seen)
    for reason in dict.fromkeys(lost.values()):
        names = ", ".join(population for population, why in lost.items() if why == reason)
        add_note(adata, "events.population_left_out", f"not looked for, {reason}: {names}")
    usable = signs.drop(index=list(lost))[seen]
    usable = usable.loc[(usable != 0).any(axis=1), (usable != 0).any(axis=0)]
    if usable.empty:
        _none_told(adata, lost=lost, given=given)
    return usable


def _none_told(adata: AnnData, *, lost: dict[str, str], given: bool) -> None:
    names = lineage_channels(adata)
    panel = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    table = "settings.cytometry.populations"
    if given:
        raise InputError(
            "no population of the sign table can be told with this panel",
            why="; ".join(dict.fromkeys(lost.values())) or "the sign table is empty",
            fix=f"name the markers of the table in {table} as the panel does: {panel or 'it has no marker'}",
        )
    text = (
        f"no population of the default table can be told with this panel ({panel or 'no marker'}): all events are "
        f"unassigned, the clusters stay; to name them, set {table} to a CSV table of populations × markers with + and -"
    )
    add_note(adata, "events.no_population", text, count=adata.n_obs)


def _left_out(signs: pd.DataFrame, *, absent: list[str], silent: list[str]) -> dict[str, str]:
    """Populations that need a marker without an answer: to be seen, or to be told from one that cannot be seen."""
    # a marker that all cells carry (CD45) is silent too, but no population is said to lack it
    asked = [name for name in silent if (signs[name] < 0).any()]
    lost: dict[str, str] = {}
    for population, row in signs.iterrows():
        missing, mute = ([name for name in names if row[name] > 0] for names in (absent, asked))
        if missing:
            lost[str(population)] = f"as the panel has no {', '.join(missing)}"
        elif mute:
            lost[str(population)] = f"as positive cannot be told from negative for {', '.join(mute)}"
    for population in signs.index.difference(list(lost), sort=False):
        for other in list(lost):
            opposite = signs.columns[signs.loc[population] * signs.loc[other] < 0]
            if len(opposite) and opposite.isin([*absent, *asked]).all():
                lost[str(population)] = f"as it cannot be told from {other} without {', '.join(opposite)}"
                break
    return lost


def _doubles(signs: pd.DataFrame, *, seen: list[str]) -> dict[str, str]:
    """Populations that say the same as another on the markers left; of each group only the most general stays."""
    lost: dict[str, str] = {}
    for _, group in signs.groupby(list(seen)) if seen else ():
        stated = (group != 0).sum(axis=1)
        general = stated.index[stated == stated.min()]
        for population in group.index.difference(general if len(general) == 1 else [], sort=False):
            others = ", ".join(str(name) for name in group.index if name != population)
            if others:
                lost[str(population)] = f"as the markers that answer are the same as for {others}"
    return lost


def _positive(
    adata: AnnData, *, channels: list[str], codes: NDArray[np.integer], kept: NDArray[np.bool_], n: int
) -> NDArray[np.float64]:
    """Fraction of positive events, clusters × markers."""
    columns = adata.var_names.get_indexer(channels)
    cuts = adata.var[THRESHOLD].to_numpy()[columns]
    sizes = np.maximum(np.bincount(codes[kept], minlength=n), 1)
    values = np.asarray(adata.X)
    above = [
        np.bincount(codes[kept], weights=values[kept, column] > cut, minlength=n) / sizes
        for column, cut in zip(columns, cuts, strict=True)
    ]
    return np.column_stack(above)


def _name(
    positive: NDArray[np.float64], *, signs: pd.DataFrame, filled: NDArray[np.bool_]
) -> tuple[list[str], NDArray[np.float64]]:
    fraction = np.clip(positive, 1 - _SUREST, _SUREST)
    # pulled towards one half, so that a marker all clusters carry still counts against a population without it
    usual = (1 - _DOUBT) * fraction[filled].mean(axis=0) + _DOUBT * 0.5
    plus, minus = (signs.to_numpy() > 0).astype(float), (signs.to_numpy() < 0).astype(float)
    score = np.log(fraction / usual) @ plus.T + np.log((1 - fraction) / (1 - usual)) @ minus.T
    agrees = np.where(plus > 0, fraction[:, None], np.where(minus > 0, 1 - fraction[:, None], 1.0))
    weakest = agrees.min(axis=2)
    agreement = np.exp(np.log(agrees).sum(axis=2) / (plus + minus).sum(axis=1))
    names, confidence = [], np.zeros(len(positive))
    for g in range(len(positive)):
        rivals = np.flatnonzero(score[g] > score[g].max() - _MARGIN)
        chosen = _common(signs.to_numpy(), rivals=rivals, score=score[g])
        if chosen is not None:
            chosen = _sure(signs.to_numpy(), chosen=chosen, agrees=agrees[g])
        if not filled[g] or chosen is None or agreement[g, chosen] < _AGREEMENT or weakest[g, chosen] < _WEAKEST:
            names.append(keys.UNASSIGNED)
            continue
        others = np.delete(score[g], np.union1d(rivals, [chosen]))
        lead = score[g, rivals].max() - others.max() if len(others) else np.inf
        names.append(str(signs.index[chosen]))
        confidence[g] = agreement[g, chosen] / (1 + np.exp(-lead))
    return names, confidence


def _common(signs: NDArray[np.integer], *, rivals: NDArray[np.intp], score: NDArray[np.float64]) -> int | None:
    """The one rival, or the most likely population whose signs all rivals share; None where there is none."""
    if len(rivals) == 1:
        return int(rivals[0])
    general = [i for i, row in enumerate(signs) if all(((row == 0) | (row == signs[rival])).all() for rival in rivals)]
    return max(general, key=lambda i: (float(score[i]), -i), default=None)


def _sure(signs: NDArray[np.integer], *, chosen: int, agrees: NDArray[np.float64]) -> int:
    """The population chosen, or the closest more general one where what it adds does not hold for most events."""
    row = signs[chosen]
    general = [i for i, other in enumerate(signs) if ((other == 0) | (other == row)).all() and (other != row).any()]
    for i in sorted(general, key=lambda i: -int((signs[i] != 0).sum())):
        added = (row != 0) & (signs[i] == 0)
        if agrees[chosen, added].min() < _MOST:
            return _sure(signs, chosen=i, agrees=agrees)
    return chosen
