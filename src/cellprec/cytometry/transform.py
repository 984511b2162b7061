"""Bring every channel to a scale on which cells form round clouds: logicle, arcsinh or linear."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from flowutils import transforms

from cellprec import keys
from cellprec.cytometry.panel import sample_names
from cellprec.errors import InputError, UsageError
from cellprec.notes import add_note

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

PARAMETERS: Final = ("t", "m", "w", "a", "cofactor")
_DECADES: Final = 4.5
_WIDEST: Final = 2.0
_USUAL_WIDTH: Final = 0.5
_MASS_COFACTOR: Final = 5.0
# arcsinh(x / 5) of the largest count a mass cytometer gives is below 15; logicle and log10 stay below that too
_TRANSFORMED_MAX: Final = 15.0
_FEW: Final = 50
_NEXT_TO_ZERO: Final = 1e-13


def estimate_transform(adata: AnnData, *, cofactor: float | None = None) -> pd.DataFrame:
    """Choose the scale of each channel from all events of the study, so that samples stay comparable.

    Returns one row per channel: ``transform`` (logicle, arcsinh, linear, none) and its parameters ``t``, ``m``, ``w``,
    ``a`` (logicle: top of scale, decades, width of the linear zone in decades, extra negative decades),
    ``t`` (linear: the value that becomes 1) or ``cofactor`` (arcsinh). Reads ``layers["compensated"]`` (``X``
    where there is none), kept events only.

    Fluorescence is logicle with t from ``var["range"]`` and w = (m - log10(t / -r)) / 2, where r is the 5th
    percentile of the negative values; mass is arcsinh(x / 5); scatter and time are divided by their range.
    ``cofactor`` makes fluorescence and mass arcsinh(x / cofactor). Data that come transformed are left alone, with a
    note; InputError where only some samples do.
    Source: Parks, Roederer and Moore 2006, Cytometry A 69A:541; Moore and Parks 2012, Cytometry A 81A:273.

    >>> import anndata, numpy as np, pandas as pd
    >>> var = pd.DataFrame({"kind": ["scatter", "mass"], "range": [1000.0, 500.0]}, index=["FSC-A", "CD3"])
    >>> adata = anndata.AnnData(np.array([[500, 0], [100, 400]], dtype="float32"), var=var)
    >>> estimate_transform(adata)[["transform", "t", "cofactor"]].values.tolist()
    [['linear', 1000.0, nan], ['arcsinh', nan, 5.0]]
    """
    if cofactor is not None and not cofactor > 0:
        raise UsageError(
            f"the cofactor must be above 0, not {cofactor}", fix="5 is usual for mass, 150 for fluorescence"
        )
    linear = _linear(adata)
    kept = adata.obs[keys.KEEP].to_numpy(dtype=bool) if keys.KEEP in adata.obs else np.ones(adata.n_obs, dtype=bool)
    kinds = adata.var[keys.KIND].astype(str).tolist()
    done = _already_transformed(adata, linear=linear, kept=kept)
    scaled = {"fluorescence", "mass"} - (set(kinds) if done else set())
    rows = [
        _choose(adata, i, values=linear[kept, i].astype(np.float64), cofactor=cofactor, scaled=kind in scaled)
        for i, kind in enumerate(kinds)
    ]
    return pd.DataFrame(rows, index=adata.var_names, columns=["transform", *PARAMETERS])


def transform(adata: AnnData, *, parameters: pd.DataFrame) -> None:
    """Put every channel on the scale chosen by ``estimate_transform``.

    Writes ``X`` (float32) from ``layers["compensated"]``, and the columns ``transform``, ``transform_t``,
    ``transform_m``, ``transform_w``, ``transform_a`` and ``transform_cofactor`` of ``var``. A logicle value of 1 is the
    top of the scale. Raises InputError where a channel has no parameters, UsageError where ``X`` is transformed
    already and no linear layer is left to start from.

    >>> import anndata, numpy as np, pandas as pd
    >>> var = pd.DataFrame({"kind": ["mass"]}, index=["CD3"])
    >>> adata = anndata.AnnData(np.array([[0], [100]], dtype="float32"), var=var)
    >>> transform(adata, parameters=estimate_transform(adata))
    >>> adata.X.round(2).tolist()
    [[0.0], [3.69...]]
    """
    missing = [name for name in adata.var_names if name not in parameters.index]
    if missing:
        raise InputError(
            f"no transform is known for {', '.join(missing[:5])}",
            why="its values would stay on another scale than in the other samples",
            fix="estimate the transform over all samples together",
        )
    linear = _linear(adata)
    rows = parameters.loc[list(adata.var_names)]
    adata.X = _apply(linear, rows=rows, inverse=False)
    adata.var[keys.TRANSFORM] = pd.Categorical(rows["transform"].astype(str))
    for name in PARAMETERS:
        adata.var[f"{keys.TRANSFORM}_{name}"] = rows[name].to_numpy(dtype=np.float64)


def inverse_transform(adata: AnnData) -> NDArray[np.float32]:
    """Return the values of ``X`` on the linear scale of the instrument, events × channels.

    >>> import anndata, numpy as np, pandas as pd
    >>> var = pd.DataFrame({"kind": ["mass"]}, index=["CD3"])
    >>> adata = anndata.AnnData(np.array([[0], [100]], dtype="float32"), var=var)
    >>> transform(adata, parameters=estimate_transform(adata))
    >>> inverse_transform(adata).round(3).tolist()
    [[0.0], [100.0]]
    """
    if keys.TRANSFORM not in adata.var:
        raise UsageError("the object is not transformed", fix="call transform first")
    rows = pd.DataFrame(
        {
            "transform": adata.var[keys.TRANSFORM].astype(str),
            **{name: adata.var[f"{keys.TRANSFORM}_{name}"] for name in PARAMETERS},
        }
    )
    return _apply(np.asarray(adata.X), rows=rows, inverse=True)


def _choose(
    adata: AnnData, i: int, *, values: NDArray[np.float64], cofactor: float | None, scaled: bool
) -> dict[str, Any]:
    kind = str(adata.var[keys.KIND].iloc[i])
    row: dict[str, Any] = {"transform": "none", **dict.fromkeys(PARAMETERS, np.nan)}
    if kind in ("scatter", "time"):
        return row | {"transform": "linear", "t": _top(adata, i, values=values)}
    if not scaled:
        return row
    if cofactor is not None or kind == "mass":
        return row | {"transform": "arcsinh", "cofactor": _MASS_COFACTOR if cofactor is None else float(cofactor)}
    top = _top(adata, i, values=values)
    width = _width(values, top=top)
    if width > _WIDEST:
        add_note(
            adata,
            "events.wide_negatives",
            f"{adata.var_names[i]} has strongly negative values: check its compensation",
        )
    return row | {"transform": "logicle", "t": top, "m": _DECADES, "w": min(width, _WIDEST), "a": 0.0}


def _linear(adata: AnnData) -> NDArray[np.float32]:
    if keys.COMPENSATED in adata.layers:
        return np.asarray(adata.layers[keys.COMPENSATED])
    if keys.TRANSFORM in adata.var:
        raise UsageError("the events are transformed already", fix="keep layers['compensated'] to transform them again")
    return np.asarray(adata.X)


def _apply(values: NDArray[Any], *, rows: pd.DataFrame, inverse: bool) -> NDArray[np.float32]:
    out = np.array(values, dtype=np.float32)
    for i, (name, row) in enumerate(rows.iterrows()):
        column = np.ascontiguousarray(values[:, i], dtype=np.float64)
        match row["transform"]:
            case "logicle":
                scale = transforms.logicle_inverse if inverse else transforms.logicle
                finite = np.isfinite(column)
                if not inverse:
                    # at w = 0 FlowUtils does not converge within 1e-14 t of zero and returns -1, far below the scale
                    column[np.abs(column) < _NEXT_TO_ZERO * row["t"]] = 0.0
                column[finite] = scale(column[finite], None, t=row["t"], m=row["m"], w=row["w"], a=row["a"])
                out[:, i] = column
            case "arcsinh":
                cofactor = row["cofactor"]
                out[:, i] = np.sinh(column) * cofactor if inverse else np.arcsinh(column / cofactor)
            case "linear":
                out[:, i] = column * row["t"] if inverse else column / row["t"]
            case "none":
                pass
            case other:
                raise InputError(f"{name} has an unknown transform: {other}", fix="logicle, arcsinh, linear or none")
    return out


def _top(adata: AnnData, i: int, *, values: NDArray[np.float64]) -> float:
    declared = float(adata.var[keys.RANGE].iloc[i]) if keys.RANGE in adata.var else np.nan
    finite = values[np.isfinite(values)]
    highest = float(np.quantile(finite, 0.999)) if len(finite) else 0.0
    if np.isfinite(declared) and declared > 0 and highest <= declared * 1.01:
        return declared
    top = max(float(finite.max()) if len(finite) else 0.0, 1.0)
    if np.isfinite(declared):
        add_note(
            adata,
            "events.range_exceeded",
            f"{adata.var_names[i]} goes beyond its declared range {declared:g}: its scale ends at {top:g}",
        )
    return top


def _width(values: NDArray[np.float64], *, top: float) -> float:
    negative = values[values < 0]
    if len(negative) < max(_FEW, 0.001 * len(values)):
        return _USUAL_WIDTH
    reference = abs(float(np.quantile(negative, 0.05)))
    return max(0.0, (_DECADES - float(np.log10(top / max(reference, 1e-12)))) / 2)


def _already_transformed(adata: AnnData, *, linear: NDArray[np.float32], kept: NDArray[np.bool_]) -> bool:
    measured = adata.var[keys.KIND].astype(str).isin(["fluorescence", "mass"]).to_numpy()
    if not measured.any():
        return False
    verdicts: dict[str, bool] = {}
    samples = adata.obs[keys.SAMPLE_ID].astype(str).to_numpy() if keys.SAMPLE_ID in adata.obs else None
    for name in sample_names(adata):
        rows = kept if samples is None else kept & (samples == name)
        if rows.sum() >= _FEW:
            values = linear[np.ix_(rows, measured)]
            small = bool(np.nanmax(values) < _TRANSFORMED_MAX)
            verdicts[name] = small and bool((values != np.round(values)).any())
    if not any(verdicts.values()):
        return False
    if not all(verdicts.values()):
        raise InputError(
            "some samples are transformed already and others are not",
            where=f"transformed: {', '.join(name for name, yes in verdicts.items() if yes)}",
            why="their values cannot be compared",
            fix="export all samples on the linear scale",
        )
    add_note(
        adata,
        "events.already_transformed",
        f"no marker goes beyond {_TRANSFORMED_MAX:g}: the files hold transformed values, which were left as they are",
    )
    return True
