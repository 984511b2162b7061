"""Cytometry: how many events were kept, which populations there are, and what marks them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cellprec import keys
from cellprec.pl.embedding import embedding
from cellprec.pl.interactive import embedding as interactive_embedding
from cellprec.pl.populations import fractions, marker_heatmap
from cellprec.pl.summary import bars
from cellprec.report.figure import add_figure, add_interactive
from cellprec.report.section import Alert, Parts, Section
from cellprec.report.sections import happened
from cellprec.report.sections.acquisition import draw_acquisition
from cellprec.report.sections.controls import draw_controls
from cellprec.report.table import Column, as_text, counted, make_table, some, span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from cellprec.report.section import RunFolder, Study
    from cellprec.report.table import Table

HEAVY_LOSS = 0.5  # a sample that loses more than half of its events is told to the reader
MANY_MARGIN = 0.2
MOSTLY_UNNAMED = 0.3
MOST_INTERACTIVE = 6_000
_KNOWN = {"sample_id", "n_events", "n_kept", "kept_fraction"}


def section(run: RunFolder, study: Study) -> Section | None:
    """Return the chapter about cytometry; None where the study has none.

    >>> from types import SimpleNamespace
    >>> section(SimpleNamespace(table=lambda name: None), None) is None
    True
    """
    samples = run.table("cytometry.samples")
    if samples is None:
        return None
    populations, clusters = run.table("cytometry.populations"), run.table("cytometry.clusters")
    cells = run.data("cytometry")
    parts, names = Parts(), named_populations(run)
    parts.alerts += [
        *loss_alerts(samples, total="n_events", noun="events"),
        *margin_alerts(samples),
        *unnamed_alerts(populations),
    ]
    draw_controls(parts, run)
    _draw_samples(parts, run, samples)
    draw_acquisition(parts, run, run.table("cytometry.acquisition"))
    if populations is not None and len(populations):
        draw_fractions(parts, run, populations, stage="cytometry", noun="events", names=names)
    if clusters is not None and len(clusters):
        _draw_heatmap(parts, run, clusters)
    if cells is not None:
        draw_embedding(parts, run, cells, stage="cytometry", noun="events", names=names, seed=study.design.seed)
    _add_tables(parts, samples, populations, clusters, run.table("cytometry.gates"))
    kept, total = int(samples["n_kept"].sum()), int(samples["n_events"].sum())
    share = samples["kept_fraction"]
    same = (
        f" All samples keep about the same share ({as_text(share.median(), kind='fraction')})." if alike(share) else ""
    )
    lead = (
        f"{counted(total, one='event')} in {counted(len(samples), one='sample')}; {kept:,} "
        f"({as_text(kept / total if total else 0.0, kind='fraction')}) are kept; the table of samples counts the "
        "others by the first reason to set them aside. Events with alike markers form a cluster; "
        + (
            "an event belongs to the population of the innermost gate it lies in."
            if happened.named_by_gates(run)
            else "a cluster is named after the population whose marker signs it fits, or left “unassigned” where none "
            "fits clearly."
        )
    )
    return parts.section(key="cytometry", title="Cytometry", lead=lead + same)


def loss_alerts(samples: pd.DataFrame, *, total: str, noun: str) -> list[Alert]:
    """Return alerts about samples that lost more than half of what was measured, and about empty ones.

    >>> samples = pd.DataFrame({"sample_id": ["a", "b"], "n_events": [100, 100], "n_kept": [90, 30]})
    >>> [alert.title for alert in loss_alerts(samples, total="n_events", noun="events")]
    ['1 sample lost more than half of its events']
    """
    kept = (samples["n_kept"] / samples[total].where(samples[total] > 0)).fillna(0.0)
    names = samples["sample_id"].astype(str)
    empty, heavy = samples["n_kept"] == 0, (kept < 1 - HEAVY_LOSS) & (samples["n_kept"] > 0)
    alerts = []
    for mask, words in ((empty, f"no {noun} left"), (heavy, f"lost more than half of its {noun}")):
        n = int(mask.sum())
        if not n:
            continue
        what = words if n == 1 else words.replace("its", "their")
        title = f"{counted(n, one='sample')} {'have' if n > 1 and mask is empty else 'has' if mask is empty else ''} "
        parts = [
            f"{name} ({as_text(share, kind='fraction')} kept)"
            for name, share in zip(names[mask], kept[mask], strict=True)
        ]
        alerts.append(
            Alert(
                level="warning",
                title=f"{title.strip()} {what}",
                text=some(parts, top=8) + ".",
                fix="Look at the reasons in the table of samples; if the tube was clogged or dying, measure it again "
                "or leave it out of samples.csv.",
            )
        )
    return alerts


def margin_alerts(samples: pd.DataFrame) -> list[Alert]:
    """Return an alert about samples that lost a large part of their events to the edge of a detector's range.

    >>> samples = pd.DataFrame({"sample_id": ["a", "b"], "n_events": [100, 100], "margin": [30, 2]})
    >>> [(alert.title, alert.text) for alert in margin_alerts(samples)]
    [('1 sample: more than 20 % of the events lie at the edge of a detector', 'a (30.0 %).')]
    """
    if "margin" not in samples or "n_events" not in samples:
        return []
    share = (samples["margin"] / samples["n_events"].where(samples["n_events"] > 0)).fillna(0.0)
    many = share > MANY_MARGIN
    if not many.any():
        return []
    pairs = zip(samples["sample_id"].astype(str)[many], share[many], strict=True)
    return [
        Alert(
            level="warning",
            title=f"{counted(int(many.sum()), one='sample')}: more than {100 * MANY_MARGIN:.0f} % of the events lie at "
            "the edge of a detector",
            text=some([f"{name} ({as_text(part, kind='fraction')})" for name, part in pairs], top=8) + ".",
            fix="They were set aside, the brightest cells first: the populations of these samples are biased. Lower "
            "the voltage next time; settings.events.margins: false in study.yaml keeps them.",
        )
    ]


def unnamed_alerts(populations: pd.DataFrame | None) -> list[Alert]:
    """Return an alert where a large part of the cells fits no population."""
    if populations is None or not len(populations):
        return []
    total = populations["n"].sum()
    unnamed = populations.loc[populations["population"].astype(str) == keys.UNASSIGNED, "n"].sum()
    if not total or unnamed / total <= MOSTLY_UNNAMED:
        return []
    return [
        Alert(
            level="warning",
            title=f"{as_text(unnamed / total, kind='fraction')} of the cells fit no population",
            text="Fractions of named populations are fractions of all kept cells, the unassigned among them.",
            fix="Check that the marker names of the panel are those of the population table, and its signs.",
        )
    ]


def named_populations(run: RunFolder) -> list[str]:
    """Return the names of all populations on the page, of events and of cells: a name has one color everywhere."""
    tables = [run.table(f"{stage}.populations") for stage in ("cytometry", "rna")]
    return sorted({str(name) for table in tables if table is not None for name in table["population"]})


def draw_fractions(
    parts: Parts, run: RunFolder, populations: pd.DataFrame, *, stage: str, noun: str, names: Sequence[str] = ()
) -> None:
    """Draw the stacked bars of population fractions, with what is seen in words."""
    mean = populations.groupby(populations["population"].astype(str))["fraction"].mean().sort_values(ascending=False)
    n_samples = populations["sample_id"].nunique()
    largest = some([f"{name} {as_text(value, kind='fraction')}" for name, value in mean.head(3).items()])
    add_figure(
        parts,
        run.path,
        lambda: fractions(populations, names=names, label=f"fraction of kept {noun}"),
        name=f"{stage}.populations",
        alt=f"Stacked bars, one for each of {counted(n_samples, one='sample')}, of the fractions of "
        f"{counted(len(mean), one='population')}. Largest on average: {largest}.",
        caption=f"What each sample is made of: fraction of kept {noun} per population. Fractions of one sample sum to "
        "one, so that where one population grows the others shrink.",
    )


def draw_embedding(
    parts: Parts, run: RunFolder, cells: AnnData, *, stage: str, noun: str, seed: int, names: Sequence[str] = ()
) -> None:
    """Draw the map of cells, once still and once to explore."""
    if keys.X_UMAP not in cells.obsm:
        return
    there = np.isfinite(np.asarray(cells.obsm[keys.X_UMAP])).all(axis=1)
    shown = cells[there]
    color = keys.POPULATION if keys.POPULATION in cells.obs else keys.CLUSTER
    counts = shown.obs[color].astype(str).value_counts()
    largest = some([f"{name} ({n:,})" for name, n in counts.head(3).items()])
    caption = (
        f"A map (UMAP) of {len(shown):,} of {cells.n_obs:,} {noun}: neighbors are alike. Distances between islands, "
        "their sizes and their shapes mean little."
    )
    alt = (
        f"Map of {len(shown):,} {noun} as points, colored by {counted(len(counts), one=color)}. Most points: {largest}."
    )
    # clusters are numbered in each stage anew: only populations mean the same in all figures
    known = tuple(names) if color == keys.POPULATION else ()
    add_figure(
        parts,
        run.path,
        lambda: embedding(shown, color=color, names=known),
        name=f"{stage}.umap",
        alt=alt,
        caption=caption,
    )
    add_interactive(
        parts,
        lambda: interactive_embedding(cells, color=color, names=known, max_points=MOST_INTERACTIVE, seed=seed),
        name=f"{stage}-umap",
        alt=f"The same map to explore. {alt}",
        caption="The same map to explore: point at a cell to see its sample; click on a name in the legend to hide it."
        + (f" A random {MOST_INTERACTIVE:,} of them, so that it stays quick." if len(shown) > MOST_INTERACTIVE else ""),
    )


def reasons(samples: pd.DataFrame, *, known: set[str]) -> list[Column]:
    """Return the columns of a sample table that count what was dropped, by reason.

    >>> table = pd.DataFrame({"sample_id": ["a"], "n_events": [9], "margin": [1], "kept_fraction": [0.9]})
    >>> [column.key for column in reasons(table, known={"sample_id", "n_events", "kept_fraction"})]
    ['margin']
    """
    return [
        Column(str(name), str(name).removeprefix("n_").removeprefix("dropped_").replace("_", " "), "count")
        for name in samples.columns
        if name not in known and pd.api.types.is_numeric_dtype(samples[name])
    ]


def alike(values: pd.Series) -> bool:
    """Whether several numbers differ by less than one percent: a sentence then says more than equal bars.

    >>> alike(pd.Series([0.94, 0.941, 0.942])), alike(pd.Series([0.9, 0.94])), alike(pd.Series([0.9]))
    (True, False, False)
    """
    held = values.dropna().astype(float)
    return bool(len(held) > 1 and len(held) == len(values) and held.max() - held.min() < 0.01 * abs(held.max()))


def _draw_samples(parts: Parts, run: RunFolder, samples: pd.DataFrame) -> None:
    kept = samples.assign(sample_id=samples["sample_id"].astype(str)).set_index("sample_id")["kept_fraction"]
    kept = kept.sort_values(kind="stable")
    if alike(kept):
        return
    add_figure(
        parts,
        run.path,
        lambda: bars(kept, label="fraction of events kept", limit=1 - HEAVY_LOSS),
        name="cytometry.kept",
        alt=f"Bars of the fraction of events kept per sample, lowest first: {span(kept, kind='fraction')}.",
        caption="How much of each sample is kept, the poorest first. Left of the dashed line more than half is lost.",
    )


def _draw_heatmap(parts: Parts, run: RunFolder, clusters: pd.DataFrame) -> None:
    n_markers = len([c for c in clusters.columns if c not in {"cluster", "n", "population", "confidence"}])
    named = clusters["population"].astype(str).value_counts()
    add_figure(
        parts,
        run.path,
        lambda: marker_heatmap(clusters),
        name="cytometry.markers",
        alt=f"Heat map of the median of {counted(n_markers, one='marker')} in {counted(len(clusters), one='cluster')}, "
        f"named as {counted(len(named), one='population')}: "
        f"{some([f'{name} ({n})' for name, n in named.items()], top=12)}.",
        caption="What marks each cluster: median of each marker. The row says which population it was named as.",
    )


def _add_tables(
    parts: Parts,
    samples: pd.DataFrame,
    populations: pd.DataFrame | None,
    clusters: pd.DataFrame | None,
    gates: pd.DataFrame | None,
) -> None:
    columns = [
        Column("sample_id", "sample"),
        Column("n_events", "events", "count"),
        Column("n_kept", "kept", "count"),
        Column("kept_fraction", "kept fraction", "fraction"),
        *reasons(samples, known=_KNOWN),
    ]
    ordered = samples.sort_values("kept_fraction", kind="stable")
    source = "tables/cytometry.samples.csv"
    parts.tables.append(make_table(ordered, columns=columns, caption="Samples, the poorest first", source=source))
    if populations is not None and len(populations):
        parts.tables.append(population_summary(populations, source="tables/cytometry.populations.csv"))
    if clusters is not None and len(clusters):
        named = [
            Column("cluster", "cluster"),
            Column("n", "events", "count"),
            Column("population", "population"),
            Column("confidence", "confidence", "number"),
        ]
        ordered = clusters.sort_values("n", ascending=False, kind="stable")
        source = "tables/cytometry.clusters.csv"
        parts.tables.append(make_table(ordered, columns=named, caption="Clusters, the largest first", source=source))
    if gates is not None and len(gates):
        columns = [
            Column("sample_id", "sample"),
            Column("path", "gate"),
            Column("count", "events", "count"),
            Column("fraction", "of its parent", "fraction"),
        ]
        caption = "Gates"
        parts.tables.append(make_table(gates, columns=columns, caption=caption, source="tables/cytometry.gates.csv"))


def population_summary(populations: pd.DataFrame, *, source: str) -> Table:
    """Return populations with their numbers and the spread of their fraction over samples, the largest first."""
    grouped = populations.groupby(populations["population"].astype(str))
    frame = pd.DataFrame(
        {
            "n": grouped["n"].sum(),
            "median": grouped["fraction"].median(),
            "low": grouped["fraction"].min(),
            "high": grouped["fraction"].max(),
        }
    )
    frame = frame.rename_axis("population").reset_index().sort_values("n", ascending=False, kind="stable")
    columns = [
        Column("population", "population"),
        Column("n", "cells, all samples", "count"),
        Column("median", "median fraction per sample", "fraction"),
        Column("low", "lowest", "fraction"),
        Column("high", "highest", "fraction"),
    ]
    return make_table(frame, columns=columns, caption="Populations", source=f"{source} (sample by sample)")
