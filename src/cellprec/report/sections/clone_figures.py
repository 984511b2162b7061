"""The figures of the chapter about clones: diversity, clones followed, volcanoes, replicates."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from cellprec import keys
from cellprec.pl.clones import rank_abundance, replicate_overlap, trajectories
from cellprec.pl.interactive import clone_trajectories
from cellprec.pl.summary import bars
from cellprec.pl.volcano import volcano
from cellprec.report.figure import add_figure, add_interactive
from cellprec.report.section import Parts
from cellprec.report.table import as_text, counted, short, span, upper

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from cellprec.report.section import RunFolder, Study

NEGATIVE = "negative control"
MOST_VOLCANOES = 6
FEWEST_FOR_VOLCANO = 20
MOST_FOLLOWED = 6
MOST_PAIRS = 40


def ranked(contrasts: pd.DataFrame) -> pd.DataFrame:
    """Order contrasts as a reader asks: drugs, then time, the negative control; those with most calls first.

    >>> contrasts = pd.DataFrame({"contrast": ["a", "b"], "kind": "drug", "n_enriched": [0, 3], "n_depleted": 0})
    >>> ranked(contrasts)["contrast"].tolist()
    ['b', 'a']
    """
    kinds = contrasts["kind"].astype(str).map({"drug": 0, "time": 1, NEGATIVE: 2}).fillna(1)
    calls = contrasts["n_enriched"].fillna(0) + contrasts["n_depleted"].fillna(0)
    order = pd.DataFrame({"kind": kinds, "calls": -calls}).sort_values(["kind", "calls"], kind="stable").index
    return contrasts.loc[order]


def draw_diversity(parts: Parts, run: RunFolder, samples: pd.DataFrame) -> None:
    """Draw the effective number of clones of each sample."""
    column = "hill_1_equal" if "hill_1_equal" in samples else "hill_1"
    values = samples.assign(sample_id=samples["sample_id"].astype(str)).set_index("sample_id")[column]
    values = values.sort_values(kind="stable")
    add_figure(
        parts,
        run.path,
        lambda: bars(values, label="effective number of clones"),
        name="clones.diversity",
        alt=f"Bars of the effective number of clones per sample, lowest first: {span(values, kind='number')}.",
        caption="How many equally large clones would be as diverse as each sample (Hill number of order 1"
        + (", at equal depth" if column.endswith("equal") else "")
        + "). A low number: few clones rule.",
    )


def draw_clones(parts: Parts, run: RunFolder, study: Study, clones: AnnData) -> None:
    """Draw the clones followed over time or arms, their ranks, and the plot to explore."""
    order = study.design.timepoints
    for number, (name, own, group, kind) in enumerate(_pieces(clones, order=order), start=1):
        steps = own.obs[group].astype(str).nunique()
        add_figure(
            parts,
            run.path,
            partial(
                trajectories, own, group=group, order=order if group == keys.TIMEPOINT else _groups(own), kind=kind
            ),
            name=f"clones.trajectories_{number}",
            alt=f"{name}: shares of the largest of {own.n_vars:,} clones in {steps} groups by {group}, the rest grey.",
            caption=f"{name}: the largest clones in color, all others in grey; replicates are averaged.",
        )
    color = keys.ARM if keys.ARM in clones.obs and clones.obs[keys.ARM].nunique() > 1 else None
    add_figure(
        parts,
        run.path,
        lambda: rank_abundance(clones, color=color),
        name="clones.rank_abundance",
        alt=f"Frequency of the clones of {clones.n_obs} samples against their rank, both on log scales.",
        caption="Clone sizes from the largest to the smallest. A steep fall: few clones rule the sample.",
    )
    add_interactive(
        parts,
        lambda: clone_trajectories(clones, order=order),
        name="clones-trajectories",
        alt=f"Lines of the mean frequency of the largest of {clones.n_vars:,} clones over time or by arm, log scale.",
        caption="The largest clones to explore: choose an arm or a patient where there is a menu, point at a line to "
        "read its clone, click on a name to hide it. No point means that the clone was not seen, not that it died.",
    )


Piece = tuple[str, "AnnData", str, Literal["area", "lines"]]


def _pieces(clones: AnnData, *, order: tuple[str, ...]) -> list[Piece]:
    """Cut the samples into what can be followed: a patient over time, an arm over time, or all arms side by side."""
    obs = clones.obs
    for column in (keys.PATIENT_ID, keys.ARM):
        if column not in obs or keys.TIMEPOINT not in obs:
            continue
        names = obs[column].astype(str).where(obs[column].notna(), "")
        times = obs[keys.TIMEPOINT].astype(str).groupby(names.to_numpy()).nunique()
        followed = [name for name in times.index[times > 1] if name]
        # a clone belongs to one patient: patients are never averaged, so they are shown one by one or not at all
        if followed or (column == keys.PATIENT_ID and (names != "").any()):
            depth = pd.Series(_totals(clones)).groupby(names.to_numpy()).sum()
            followed.sort(key=lambda name: (-depth[name], name))
            own = [(name, clones[(names == name).to_numpy()]) for name in followed[:MOST_FOLLOWED]]
            return [(name, part[:, _totals(part, axis=0) > 0], keys.TIMEPOINT, "area") for name, part in own]
    side = clones.copy()
    side.obs["group"] = _labels(side, order=order)
    if side.obs["group"].nunique() < 2:
        return []  # one place on the axis: there is nothing to follow
    return [("All groups", side, "group", "lines")]


def _labels(clones: AnnData, *, order: tuple[str, ...]) -> pd.Categorical:
    columns = [column for column in (keys.ARM, keys.TIMEPOINT) if column in clones.obs]
    words = [clones.obs[column].astype(object).fillna("").astype(str).to_numpy() for column in columns]
    joined = [" ".join(part for part in row if part) for row in zip(*words, strict=True)] if words else []
    labels = joined or clones.obs_names.astype(str).tolist()
    rank = {name: place for place, name in enumerate(order)}
    times = words[-1] if keys.TIMEPOINT in columns else [""] * len(labels)
    place = {label: rank.get(str(time), len(rank)) for label, time in zip(labels, times, strict=True)}
    return pd.Categorical(labels, categories=sorted(place, key=lambda label: place[label]))


def _groups(clones: AnnData) -> list[str]:
    return [str(name) for name in clones.obs["group"].cat.categories]


def _totals(adata: AnnData, *, axis: int = 1) -> NDArray[np.float64]:
    return np.asarray(adata.X.sum(axis=axis), dtype=np.float64).ravel()


def draw_volcanoes(parts: Parts, run: RunFolder, tests: pd.DataFrame, contrasts: pd.DataFrame) -> None:
    """Draw one volcano per contrast, those with most calls first."""
    for number, row in enumerate(ranked(contrasts).head(MOST_VOLCANOES).itertuples(), start=1):
        own = tests[tests["contrast"].astype(str) == str(row.contrast)]
        if own["p"].notna().sum() < FEWEST_FOR_VOLCANO:
            continue
        own = own.assign(short=[short(name) for name in own["clone"].astype(str)])
        calls = own["call"].astype(str).value_counts()
        add_figure(
            parts,
            run.path,
            partial(volcano, own, effect="log2fc", p="p", label="short"),
            name=f"clones.volcano_{number}",
            alt=f"{row.contrast}: fold change against p-value of {len(own):,} clones; "
            f"{int(calls.get('enriched', 0))} enriched, {int(calls.get('depleted', 0))} depleted.",
            caption=f"{row.contrast}: each point is a clone; right, it grew; high, chance is an unlikely reason. "
            f"{upper(str(row.verdict))}.",
        )


def draw_replicates(parts: Parts, run: RunFolder, replicates: pd.DataFrame) -> None:
    """Draw how alike replicates are, beside the control."""
    mean = replicates["top_overlap"].mean()
    words = [column for column in (keys.PATIENT_ID, keys.ARM, keys.TIMEPOINT) if column in replicates]
    shown = replicates.head(MOST_PAIRS).assign(**{name: replicates[name].fillna("") for name in words})
    add_figure(
        parts,
        run.path,
        lambda: replicate_overlap(shown),
        name="clones.replicates",
        alt=f"Share of the largest clones in common between {counted(len(replicates), one='pair')} of replicates, "
        f"{as_text(mean, kind='fraction')} on average, with that of control replicates beside it.",
        caption="How alike replicates are. Replicates founded from one pool share their largest clones, drug or not: "
        "only more than the control's own agreement speaks of selection.",
    )
