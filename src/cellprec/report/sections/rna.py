"""Single-cell RNA: which cells are kept, what they are, and which carry the CAR transcript."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from cellprec import keys
from cellprec.pl.rna import car_fraction
from cellprec.pl.style import new_axes
from cellprec.pl.summary import bars
from cellprec.report.figure import add_figure
from cellprec.report.section import Alert, Parts, Section
from cellprec.report.sections import happened
from cellprec.report.sections.cytometry import (
    draw_embedding,
    draw_fractions,
    loss_alerts,
    named_populations,
    population_summary,
    reasons,
    unnamed_alerts,
)
from cellprec.report.table import Column, as_text, counted, make_table, some, span, with_interval

if TYPE_CHECKING:
    from cellprec.report.section import RunFolder, Study

FEW_CELLS = 100
WEAK_NAME = 0.6
MOST_SAMPLES = 60
_KNOWN = {
    "sample_id",
    "n_cells",
    "n_kept",
    "kept_fraction",
    "fraction_kept",
    "median_umis",
    "median_genes",
    "median_mito",
}


def section(run: RunFolder, study: Study) -> Section | None:
    """Return the chapter about single-cell RNA; None where the study has none.

    >>> from types import SimpleNamespace
    >>> section(SimpleNamespace(table=lambda name: None), None) is None
    True
    """
    samples = run.table("rna.samples")
    if samples is None:
        return None
    populations, clusters, car = (run.table(f"rna.{name}") for name in ("populations", "clusters", "car"))
    cells = run.data("rna")
    parts, names = Parts(), named_populations(run)
    parts.alerts += loss_alerts(samples, total="n_cells", noun="cells")
    parts.alerts += [*_few_cells(samples), *unnamed_alerts(populations), *weak_names(clusters), *_car_alerts(car)]
    _draw_kept(parts, run, samples)
    if populations is not None and len(populations):
        draw_fractions(parts, run, populations, stage="rna", noun="cells", names=names)
    if cells is not None:
        draw_embedding(parts, run, cells, stage="rna", noun="cells", names=names, seed=study.design.seed)
    if car is not None and len(car):
        _draw_car(parts, run, car)
    _add_tables(parts, samples, populations, clusters, car)
    kept, total = int(samples["n_kept"].sum()), int(samples["n_cells"].sum())
    lead = (
        f"{counted(total, one='cell')} in {counted(len(samples), one='sample')}; {kept:,} "
        f"({as_text(kept / total if total else 0.0, kind='fraction')}) are kept after cells with few genes or many "
        f"mitochondrial transcripts{_doublets(run)} are set aside."
    )
    return parts.section(key="rna", title="Single-cell RNA", lead=lead)


def _doublets(run: RunFolder) -> str:
    where = happened.cell_doublets(run)
    wished = any(
        (e.get("settings") or {}).get("doublets") for e in run.manifest().get("steps", []) if e["step"] == "cells"
    )
    return f", and doublets {where}," if where else ", and doublets," if wished else ""


def _few_cells(samples: pd.DataFrame) -> list[Alert]:
    few = samples[(samples["n_kept"] < FEW_CELLS) & (samples["n_kept"] > 0)]
    if few.empty:
        return []
    names = [f"{row.sample_id} ({row.n_kept:,})" for row in few.sort_values("n_kept", kind="stable").itertuples()]
    return [
        Alert(
            level="warning",
            title=f"{counted(len(few), one='sample')} with fewer than {FEW_CELLS} cells",
            text=f"Kept cells: {some(names, top=8)}. Fractions of such samples are uncertain by many percent.",
            fix="Read the fractions of these samples with care, or leave the samples out.",
        )
    ]


def weak_names(clusters: pd.DataFrame | None) -> list[Alert]:
    """Return an alert about clusters whose cells do not agree on the name of the cluster.

    >>> table = pd.DataFrame({"cluster": ["0", "1"], "n": [30, 70], "population": ["T", "B"], "confidence": [0.4, 0.9]})
    >>> [alert.title for alert in weak_names(table)]
    ['The names of 1 cluster are weak: 30.0 % of the cells']
    """
    if clusters is None or not {"n", "population", "confidence"} <= set(clusters) or not clusters["n"].sum():
        return []
    named = clusters["population"].astype(str) != keys.UNASSIGNED
    weak = clusters[named & (clusters["confidence"] < WEAK_NAME)].sort_values("n", ascending=False, kind="stable")
    if weak.empty:
        return []
    share = as_text(weak["n"].sum() / clusters["n"].sum(), kind="fraction")
    told = [f"{row.population} (cluster {row.cluster}, {row.confidence:.2f})" for row in weak.itertuples()]
    return [
        Alert(
            level="warning",
            title=f"The names of {counted(len(weak), one='cluster')} are weak: {share} of the cells",
            text=f"{some(told, top=8)}: in brackets the share of its cells that, taken alone, would be named so; below "
            f"{WEAK_NAME} the name is doubtful.",
            fix="Look at the marker genes of these clusters before you use their names.",
        )
    ]


def _car_alerts(car: pd.DataFrame | None) -> list[Alert]:
    if car is None or not len(car) or car["n_detected"].sum() > 0:
        return []
    return [
        Alert(
            level="warning",
            title="The CAR transcript was not detected in any cell",
            text="Either there are no CAR T cells, or the transgene is not in the reference under the name given.",
            fix="Check `transgenes` under settings.cells in study.yaml against the gene names of the count matrices.",
        )
    ]


def _draw_kept(parts: Parts, run: RunFolder, samples: pd.DataFrame) -> None:
    kept = samples.assign(sample_id=samples["sample_id"].astype(str)).set_index("sample_id")["n_kept"]
    kept = kept.sort_values(kind="stable")
    add_figure(
        parts,
        run.path,
        lambda: bars(kept, label="cells kept", limit=FEW_CELLS),
        name="rna.kept",
        alt=f"Bars of the number of cells kept per sample, lowest first: {span(kept, kind='count')}.",
        caption=f"How many cells of each sample are kept, the fewest first. The dashed line stands at {FEW_CELLS}.",
    )


def _draw_car(parts: Parts, run: RunFolder, car: pd.DataFrame) -> None:
    top = car.sort_values("fraction", ascending=False, kind="stable")
    first, last = top.iloc[0], top.iloc[-1]
    shown = car[car.index.isin(top.index[:MOST_SAMPLES])]
    add_figure(
        parts,
        run.path,
        lambda: car_fraction(shown, ax=new_axes(size=(min(10.0, 1.5 + 0.45 * len(shown)), 3))),
        name="rna.car",
        alt=f"Fraction of cells with the CAR transcript detected in {counted(len(car), one='sample')}, with intervals: "
        f"from {as_text(last['fraction'], kind='fraction')} ({last['sample_id']}) to "
        f"{as_text(first['fraction'], kind='fraction')} ({first['sample_id']}).",
        caption="Cells in which the CAR transcript was seen, with 95 % intervals. A cell in which it was not seen may "
        "still carry it: the fraction seen is a lower bound of the fraction of CAR T cells."
        + (f" The {MOST_SAMPLES} highest samples are drawn." if len(car) > MOST_SAMPLES else ""),
    )


def _add_tables(
    parts: Parts,
    samples: pd.DataFrame,
    populations: pd.DataFrame | None,
    clusters: pd.DataFrame | None,
    car: pd.DataFrame | None,
) -> None:
    columns = [
        Column("sample_id", "sample"),
        Column("n_cells", "cells", "count"),
        Column("n_kept", "kept", "count"),
        Column("median_umis", "median UMIs", "count"),
        Column("median_genes", "median genes", "count"),
        Column("median_mito", "median mitochondrial", "fraction"),
        *reasons(samples, known=_KNOWN),
    ]
    ordered = samples.sort_values("n_kept", kind="stable")
    source = "tables/rna.samples.csv"
    parts.tables.append(make_table(ordered, columns=columns, caption="Samples, the fewest cells first", source=source))
    if populations is not None and len(populations):
        parts.tables.append(population_summary(populations, source="tables/rna.populations.csv"))
    if clusters is not None and len(clusters):
        columns = [
            Column("cluster", "cluster"),
            Column("n", "cells", "count"),
            Column("population", "population"),
            Column("confidence", "confidence", "number"),
            Column("markers", "marker genes"),
            Column("top_markers", "marker genes"),
        ]
        ordered = clusters.sort_values("n", ascending=False, kind="stable")
        source = "tables/rna.clusters.csv"
        parts.tables.append(make_table(ordered, columns=columns, caption="Clusters, the largest first", source=source))
    if car is not None and len(car):
        columns = [
            Column("sample_id", "sample"),
            Column("n_cells", "cells", "count"),
            Column("n_detected", "with the CAR transcript", "count"),
            Column("fraction", "fraction", "fraction"),
            Column("interval", "95 % interval", "interval"),
        ]
        ordered = with_interval(car, kind="fraction").sort_values("fraction", ascending=False, kind="stable")
        caption = "CAR transcript, the most first"
        parts.tables.append(make_table(ordered, columns=columns, caption=caption, source="tables/rna.car.csv"))
