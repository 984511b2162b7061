"""How well an outcome is foretold, and how one feature lies in patients with and without it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.metrics import roc_curve

from cellprec.errors import UsageError
from cellprec.pl.forest import readable
from cellprec.pl.style import GREY, legend_outside, new_axes, palette

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

_LINES = ("--", "-", ":")
_MARKERS = "osD^vP"
_GOLDEN = 0.618034


def roc(predictions: pd.DataFrame, *, outcome: str, table: pd.DataFrame | None = None, ax: Axes | None = None) -> Axes:
    """Draw the ROC curve of each model, from the probabilities of patients it had not seen.

    ``predictions`` is that of ``biomarkers.predict`` (``outcome``, ``model``, ``probability``, ``observed``), one
    curve per model. ``table``, its table, puts the cross-validated AUC and interval into the legend. The curve
    itself joins all folds, so the area under it is close to that AUC and not equal to it.

    >>> rows = {"outcome": "r", "model": "features", "probability": [0.1, 0.9], "observed": [False, True]}
    >>> roc(pd.DataFrame(rows), outcome="r").lines[1].get_label()
    'features'
    """
    ax = new_axes(ax, size=(6.5, 3.2))
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=1, zorder=0)
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    ax.set_xlabel("1 − specificity")
    ax.set_ylabel("sensitivity")
    rows = predictions[predictions["outcome"] == outcome]
    if rows.empty:
        ax.text(0.5, 0.5, "cannot tell:\nno prediction was made", ha="center", va="center", transform=ax.transAxes)
        return ax
    models = list(dict.fromkeys(rows["model"]))
    for number, (model, color) in enumerate(zip(models, palette(len(models)), strict=True)):
        mine = rows[rows["model"] == model]
        wrong, found, _ = roc_curve(
            mine["observed"].astype(bool), mine["probability"].astype(float), drop_intermediate=False
        )
        label = f"{model}{_area(table, outcome=outcome, model=str(model))}"
        ax.plot(wrong, found, color=color, linestyle=_LINES[number % len(_LINES)], linewidth=2, label=label)
    legend_outside(ax, title=f"{int(mine['observed'].sum())} of {len(mine)} patients")
    return ax


def _area(table: pd.DataFrame | None, *, outcome: str, model: str) -> str:
    if table is None:
        return ""
    row = table[(table["outcome"] == outcome) & (table["model"] == model)]
    if row.empty or row["auc"].isna().iloc[0]:
        return ""
    auc, low, high = row[["auc", "low", "high"]].iloc[0]
    return f": {auc:.2f} ({low:.2f}–{high:.2f})"


def boxes(adata: AnnData, *, feature: str, outcome: pd.Series, ax: Axes | None = None) -> Axes:
    r"""Draw one feature in patients with and without the outcome, each patient a point, its batch by colour and shape.

    ``adata`` is patients × features; ``outcome`` yes, no or missing by patient, named for the axis. The batch is
    that of ``uns["batches"]`` for the feature's samples where there is one, else ``obs["batch"]``. Patients in
    whom the feature is missing are counted out in the group labels.

    Raises UsageError where the feature is not there.

    >>> import anndata
    >>> adata = anndata.AnnData(np.array([[1.0], [2.0]], dtype="float32"))
    >>> adata.obs_names, adata.var_names = ["P1", "P2"], ["f"]
    >>> ax = boxes(adata, feature="f", outcome=pd.Series([True, False], index=["P1", "P2"], name="response"))
    >>> [tick.get_text() for tick in ax.get_xticklabels()]
    ['no\n1 patients', 'yes\n1 patients']
    """
    if feature not in adata.var_names:
        raise UsageError(f"there is no feature {feature}", fix="use a name of adata.var_names")
    values = pd.Series(np.asarray(adata[:, feature].X, dtype=float).ravel(), index=adata.obs_names)
    known = outcome.reindex(adata.obs_names).astype("object")
    seen = values.notna() & known.notna()
    values, yes = values[seen], known[seen].astype(bool)
    batch = _batch(adata, feature=feature).loc[values.index]
    ax = new_axes(ax, size=(3.5, 3))
    groups = [values[~yes], values[yes]]
    lines = {"color": "#555555"}
    if all(len(group) for group in groups):
        ax.boxplot(groups, positions=[0, 1], widths=0.6, showfliers=False, medianprops=lines, boxprops=lines)
    names = sorted(batch.unique())
    for number, (name, color) in enumerate(zip(names, palette(len(names)), strict=True)):
        mine = values[batch == name]
        # spread by position, not by chance: the same study gives the same picture
        spread = (np.flatnonzero((batch == name).to_numpy()) * _GOLDEN % 1 - 0.5) * 0.45
        marker = _MARKERS[number % len(_MARKERS)]
        ax.scatter(yes[mine.index] + spread, mine, color=color, marker=marker, s=22, label=name or None, zorder=3)
    ax.set_xticks([0, 1], [f"{word}\n{len(g)} patients" for word, g in zip(("no", "yes"), groups, strict=True)])
    ax.set_xlim(-0.6, 1.6)
    ax.set_xlabel(str(outcome.name or "outcome").replace("_", " "))
    unit = str(adata.var["unit"][feature]) if "unit" in adata.var else ""
    ax.set_ylabel(readable(feature) + (f"\n{unit}" if unit else ""), fontsize="small")
    if len(names) > 1:
        legend_outside(ax, title="batch")
    return ax


def _batch(adata: AnnData, *, feature: str) -> pd.Series:
    held = adata.uns.get("batches")
    if held is not None and {"modality", "timepoint"} <= set(adata.var):
        row = adata.var.loc[feature]
        column = f"{row['modality']}@{row['timepoint']}".replace("/", "|")
        if column in held:
            return pd.Series(held[column].astype(str))
    if "batch" in adata.obs:
        return pd.Series(adata.obs["batch"].astype("object").fillna("").astype(str))
    return pd.Series("", index=adata.obs_names)
