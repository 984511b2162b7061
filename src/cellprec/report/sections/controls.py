"""The single-stained controls: what each dye shows elsewhere, and what compensation leaves of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellprec.pl.spillover import spillover
from cellprec.report.figure import add_figure
from cellprec.report.section import Alert
from cellprec.report.table import Column, as_text, counted, make_table, some

if TYPE_CHECKING:
    import pandas as pd

    from cellprec.report.section import Parts, RunFolder
    from cellprec.report.table import Kind

_ERRORS = [
    Column("dye", "dye"),
    Column("detector", "detector"),
    Column("verdict", "compensation"),
    Column("error", "light left", "fraction"),
    Column("low", "95 % from", "fraction"),
    Column("high", "to", "fraction"),
    Column("reason", "why"),
]


def draw_controls(parts: Parts, run: RunFolder) -> None:
    """Draw the matrix that the controls gave and say where it is off; nothing for a study without controls."""
    matrix, pairs, errors = run.data("compensation"), run.table("compensation.pairs"), run.table("compensation.errors")
    if matrix is None:
        return
    frame = matrix.to_df()
    spectral = bool(matrix.uns["unmixing"])
    what = "spectrum of each dye" if spectral else "spillover matrix"
    add_figure(
        parts,
        run.path,
        lambda: spillover(frame),
        name="cytometry.controls",
        alt=f"Heat map of the {what}: {counted(frame.shape[0], one='dye')} by "
        f"{counted(frame.shape[1], one='detector')}." + ("" if spectral else f" Largest: {_largest(frame)}."),
        caption=f"The {what}, from the single-stained controls of the study: the share of a dye's own signal that "
        "every detector sees" + ("." if spectral else ", in percent."),
    )
    if errors is not None and "verdict" in errors:
        off = errors[errors["verdict"].isin(["over", "under"])]
        parts.alerts += _off(off)
        ordered = errors.reindex(errors["error"].abs().sort_values(ascending=False, kind="stable").index)
        caption = "The controls after compensation with their own matrix, the largest error first"
        parts.tables.append(
            make_table(ordered, columns=_ERRORS, caption=caption, source="tables/compensation.errors.csv")
        )
    elif pairs is not None and len(pairs):
        columns = [Column(str(name), str(name).replace("_", " "), _kind(pairs[name])) for name in pairs.columns]
        caption = "Dyes whose spectra are alike, the most alike first"
        parts.tables.append(make_table(pairs, columns=columns, caption=caption, source="tables/compensation.pairs.csv"))


def _largest(frame: pd.DataFrame) -> str:
    """Say which dyes spill the most, and where.

    >>> import pandas as pd
    >>> _largest(pd.DataFrame([[1, 0.2], [0.05, 1]], index=["FITC-A", "PE-A"], columns=["FITC-A", "PE-A"]))
    'FITC-A in PE-A 20.0 %; PE-A in FITC-A 5.0 %'
    """
    values = frame.to_numpy(dtype=float)
    apart = [
        (values[i, j], str(dye), str(detector))
        for i, dye in enumerate(frame.index)
        for j, detector in enumerate(frame.columns)
        if dye != detector
    ]
    told = sorted(apart, key=lambda one: -one[0])[:3]
    return "; ".join(f"{dye} in {detector} {as_text(value, kind='fraction')}" for value, dye, detector in told)


def _kind(values: pd.Series) -> Kind:
    return "number" if values.dtype.kind == "f" else "text"


def _off(errors: pd.DataFrame) -> list[Alert]:
    if not len(errors):
        return []
    cells = zip(*(errors[name] for name in ("dye", "detector", "verdict", "error")), strict=True)
    told = [f"{dye} in {detector} ({verdict}, {100 * error:+.1f} %)" for dye, detector, verdict, error in cells]
    return [
        Alert(
            level="warning",
            title=f"{counted(len(errors), one='coefficient')} of the compensation do not fit the controls",
            text=some(told, top=6) + ".",
            fix="Look at these controls: a wrong tube, too few or too dim stained events, or a background that is not "
            "the one of the stained cells.",
        )
    ]
