"""When the acquisition of a sample was disturbed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellprec.pl.acquisition import acquisition
from cellprec.report.figure import add_figure
from cellprec.report.table import as_text, counted, some

if TYPE_CHECKING:
    import pandas as pd

    from cellprec.report.section import Parts, RunFolder

_MOST = 25


def draw_acquisition(parts: Parts, run: RunFolder, bins: pd.DataFrame | None) -> None:
    """Draw when each disturbed sample was disturbed; nothing where none was."""
    if bins is None or not len(bins):
        return
    lost = bins.groupby(bins["sample_id"].astype(str), sort=False)[["flagged", "events"]].sum()
    lost = lost[lost["flagged"] > 0].assign(share=lambda table: table["flagged"] / table["events"])
    if not len(lost):
        return
    worst = lost.sort_values("share", ascending=False, kind="stable").head(_MOST)
    shown = bins[bins["sample_id"].astype(str).isin(worst.index)]
    reasons = shown.loc[shown["flagged"] > 0, "why"].fillna("").astype(str)
    why = reasons[reasons != ""].value_counts().head(3)
    shares = some([f"{name} ({as_text(share, kind='fraction')})" for name, share in worst["share"].items()], top=5)
    add_figure(
        parts,
        run.path,
        lambda: acquisition(shown),
        name="cytometry.acquisition",
        alt=f"Bars over time of {counted(len(worst), one='sample')} with disturbed stretches marked. Most set aside: "
        f"{shares}. Why, most often: {some([str(reason) for reason in why.index])}.",
        caption=f"When the acquisition was disturbed: {counted(len(lost), one='sample')} of "
        f"{bins['sample_id'].nunique():,} {'has' if len(lost) == 1 else 'have'} stretches (orange) in which the rate "
        "of events or the signal left its stable level; those events are set aside. The darker the grey, the farther "
        "the rate from the usual rate of the sample."
        + (f" The {_MOST} most disturbed are shown." if len(lost) > _MOST else ""),
    )
