"""Gates drawn elsewhere, applied here: FlowJo 10 workspaces and Gating-ML 2, evaluated by FlowKit."""

from __future__ import annotations

import io
import json
import re
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
from lxml import etree  # type: ignore[import-untyped]

from cellprec import keys
from cellprec.errors import FileFormatError, InputError
from cellprec.io.export import fcs_bytes
from cellprec.notes import add_note

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anndata import AnnData

ARROW = " > "
ROOT = "root"


def apply_gates(adata: AnnData, *, gates: Path, sample_name: str | None = None) -> None:
    """Say of every event in which gates it lies, as FlowJo or another program drew them.

    adata: events × channels with linear, uncompensated values, as ``read_fcs`` gives them (``layers["raw"]`` is taken
    where it is there, else X); compensation and transformation are those of the gate file. gates: a FlowJo 10
    workspace (.wsp) or a Gating-ML 2 file (.xml). sample_name: the name of the sample in the workspace; by default the
    name of the file, $FIL or the sample id is looked for. A workspace with one sample needs no name.

    Writes obsm["gates"]: events × gates, bool. uns["gates"]: ``name``, ``path`` ("Lymphocytes > Singlets"), ``parent``
    (its path, "" at the top) and ``count``, one of each per gate, parents first.

    Raises InputError where the file is missing or cannot be evaluated, where no sample of the workspace or more than
    one answers to the name, and where a gate needs a channel that the sample lacks.

    Sources: Spidlen et al. 2015 (Gating-ML 2.0, doi:10.1002/cyto.a.22690); FlowKit, White et al. 2021
    (doi:10.3389/fimmu.2021.768541).
    """
    gates = Path(gates)
    kind, names = _look(gates)
    if kind == "workspace":
        strategy, name = _from_workspace(adata, gates, names, sample_name)
    else:
        strategy, name = _from_gating_ml(gates), sample_name or _sample_id(adata)
    labels = _unique(adata.var[keys.CHANNEL].astype(str))
    _check_channels(strategy, gates, labels, list(adata.var[keys.MARKER].astype(str)))
    table = _evaluate(strategy, gates, _flowkit_sample(adata, labels, name, flowjo=kind == "workspace"))
    table["events"] = [events[: adata.n_obs] for events in table["events"]]
    adata.obsm[keys.GATES] = np.column_stack(table["events"]) if table["events"] else np.zeros((adata.n_obs, 0), bool)
    adata.uns[keys.GATES] = {
        "name": np.array(table["name"], dtype=str),
        "path": np.array(table["path"], dtype=str),
        "parent": np.array(table["parent"], dtype=str),
        "count": np.array([int(events.sum()) for events in table["events"]], dtype=np.int64),
    }


def gate_counts(adata: AnnData) -> pd.DataFrame:
    """Count the events in every gate, and give their share of the gate above.

    adata: with gates, as ``apply_gates`` leaves it; where rows were dropped since, those that are left are counted.

    Returns one row per gate: ``path``, ``name``, ``parent`` (path, "" at the top), ``count`` and ``fraction`` of the
    parent (of all events at the top; NaN where the parent is empty).

    Raises InputError where there are no gates.

    >>> import anndata
    >>> adata = anndata.AnnData(shape=(4, 1))
    >>> adata.obsm["gates"] = np.array([[1, 1], [1, 0], [0, 0], [0, 0]], dtype=bool)
    >>> adata.uns["gates"] = {"name": ["T", "CD4"], "path": ["T", "T > CD4"], "parent": ["", "T"], "count": [2, 1]}
    >>> gate_counts(adata)[["path", "count", "fraction"]].values.tolist()
    [['T', 2, 0.5], ['T > CD4', 1, 0.5]]
    """
    held = _held(adata)
    counts = np.asarray(adata.obsm[keys.GATES]).sum(axis=0).astype(np.int64)
    of = dict(zip(held["path"], counts, strict=True)) | {"": adata.n_obs}
    above = np.array([of[parent] for parent in held["parent"]], dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        fraction = np.where(above > 0, counts / above, np.nan)
    return pd.DataFrame(
        {
            "path": held["path"],
            "name": held["name"],
            "parent": held["parent"],
            "count": counts,
            "fraction": fraction,
        }
    )


def label_populations(adata: AnnData) -> None:
    """Name every event after the innermost gate it lies in, where no further gate was drawn inside.

    adata: with gates, as ``apply_gates`` leaves it. An event in no such gate is ``unassigned``; an event in several
    takes the deepest, then the first, and their number is a note.

    Writes obs["population"]: categorical; the name of the gate, or its path where two gates share the name.

    Raises InputError where there are no gates.

    >>> import anndata
    >>> adata = anndata.AnnData(shape=(3, 1))
    >>> adata.obsm["gates"] = np.array([[1, 1], [1, 0], [0, 0]], dtype=bool)
    >>> adata.uns["gates"] = {"name": ["T", "CD4"], "path": ["T", "T > CD4"], "parent": ["", "T"], "count": [2, 1]}
    >>> label_populations(adata)
    >>> list(adata.obs["population"])
    ['CD4', 'unassigned', 'unassigned']
    """
    held = _held(adata)
    inside = np.asarray(adata.obsm[keys.GATES], dtype=bool)
    leaves = [index for index, path in enumerate(held["path"]) if path not in set(held["parent"])]
    times = Counter(held["name"][index] for index in leaves)
    labels = [held["name"][i] if times[held["name"][i]] == 1 else held["path"][i] for i in leaves]
    chosen = np.full(adata.n_obs, -1)
    by_depth = sorted(range(len(leaves)), key=lambda k: held["path"][leaves[k]].count(ARROW), reverse=True)
    for k in by_depth:
        chosen[(chosen < 0) & inside[:, leaves[k]]] = k
    categories = list(dict.fromkeys([*labels, keys.UNASSIGNED]))
    names = np.array([*labels, keys.UNASSIGNED], dtype=object)[chosen]
    adata.obs[keys.POPULATION] = pd.Categorical(names, categories=categories)
    several = int((inside[:, leaves].sum(axis=1) > 1).sum())
    if several:
        text = "Events lie in several innermost gates: each was given to the deepest, then to the first."
        add_note(adata, "gates.overlap", text, count=several, sample=_sample_id(adata))


def _held(adata: AnnData) -> dict[str, list[str]]:
    if keys.GATES not in adata.obsm or keys.GATES not in adata.uns:
        raise InputError("there are no gates on these events", fix="Run apply_gates first.")
    return {field: [str(item) for item in adata.uns[keys.GATES][field]] for field in ("name", "path", "parent")}


def _look(gates: Path) -> tuple[str, list[str]]:
    """Return what the file is, and the names of the samples in a workspace."""
    if not gates.is_file():
        raise InputError("the gate file does not exist", where=gates, fix="Check the path of the gate file.")
    try:
        root = etree.parse(
            str(gates), etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True)
        ).getroot()
    except etree.XMLSyntaxError as error:
        fix = "Save the workspace again in FlowJo 10, or export the gates as Gating-ML 2."
        raise FileFormatError("the gate file is not XML", where=gates, why=str(error), fix=fix) from error
    tag = etree.QName(root).localname
    if tag == "Workspace":
        return "workspace", [node.get("name", "") for node in root.iter("{*}SampleNode")]
    if tag == "Gating-ML":
        return "gating-ml", []
    fix = "Give a FlowJo 10 workspace (.wsp) or a Gating-ML 2 file (.xml)."
    raise FileFormatError("the gate file is neither a FlowJo workspace nor Gating-ML", where=gates, fix=fix)


def _from_workspace(adata: AnnData, gates: Path, names: Sequence[str], sample_name: str | None) -> tuple[Any, str]:
    import flowkit  # noqa: PLC0415 (seconds to import, and only gated studies need it)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            workspace = flowkit.Workspace(str(gates), load_missing_file_data=True)
            found = {
                name: (workspace.get_keywords(name) or {}).get("$FIL", "")
                for name in workspace.get_sample_ids(loaded_only=False)
            }
    except Exception as error:
        raise _not_evaluated(gates, error) from error
    name = _match(adata, gates, found, sample_name)
    if list(names).count(name) > 1:
        fix = "Give the samples different names in FlowJo and save the workspace again."
        why = "the gates of the one would be applied to the other"
        raise InputError(f"the workspace holds several samples called {name!r}", where=gates, why=why, fix=fix)
    return workspace.get_gating_strategy(name), name


def _match(adata: AnnData, gates: Path, found: dict[str, str], sample_name: str | None) -> str:
    held = adata.uns.get("fcs", {})
    stored = json.loads(str(held.get("keywords", "{}"))).get("$FIL", "")
    sought = [sample_name] if sample_name else [str(held.get("file", "")), stored, _sample_id(adata)]
    sought = [name for name in sought if name.strip()]
    for wanted in sought:
        for same in (lambda a, b: a == b, lambda a, b: _folded(a) == _folded(b)):
            hits = [n for n in found if same(wanted, n)] or [n for n, fil in found.items() if fil and same(wanted, fil)]
            if len(hits) == 1:
                return hits[0]
            if hits:
                what = f"several samples of the workspace answer to {wanted!r}: {', '.join(hits)}"
                raise InputError(what, where=gates, fix="Name the one that is meant.")
    if len(found) == 1:
        only = next(iter(found))
        text = f"The only sample of the workspace, {only}, was taken: it answers to none of {', '.join(sought)}."
        add_note(adata, "gates.only_sample", text, sample=_sample_id(adata))
        return only
    there = ", ".join(sorted(found)[:10]) + (" ..." if len(found) > 10 else "")
    raise InputError(
        f"the workspace has no sample called {' or '.join(repr(name) for name in sought)}",
        where=gates,
        why=f"its {len(found)} samples are: {there or 'none'}",
        fix="Give the name of the sample as the workspace spells it.",
    )


def _folded(name: str) -> str:
    base = unquote(name).strip().replace("\\", "/").rsplit("/", 1)[-1]
    return re.sub(r"(\.fcs|\.lmd)?(\.gz)?$", "", base.casefold())


def _from_gating_ml(gates: Path) -> Any:
    import flowkit  # noqa: PLC0415 (seconds to import, and only gated studies need it)

    try:
        return flowkit.parse_gating_xml(str(gates))
    except Exception as error:
        raise _not_evaluated(gates, error) from error


def _check_channels(strategy: Any, gates: Path, labels: Sequence[str], markers: Sequence[str]) -> None:
    known = {*labels, *markers, *(label.replace("/", "_") for label in labels)}
    needed: list[str] = []
    for gate in _gates(strategy):
        for dimension in gate.dimensions:
            name = getattr(dimension, "dimension_ref", None) or getattr(dimension, "id", None)
            reference = dimension.compensation_ref
            if reference in strategy.comp_matrices:
                # a gate on a compensated dye needs every detector of the matrix
                matrix = strategy.comp_matrices[reference]
                needed += [detector for detector in matrix.detectors if detector not in known]
                known_here = known | set(matrix.fluorochromes)
            else:
                known_here = known
            if name is not None and name not in known_here:
                needed.append(name)
    if needed:
        missing = list(dict.fromkeys(needed))
        raise InputError(
            f"the gates need channels that the sample lacks: {', '.join(missing)}",
            where=gates,
            why=f"the sample has: {', '.join(labels)}",
            fix="Check that the gate file belongs to this panel.",
        )


def _gates(strategy: Any) -> Iterable[Any]:
    from flowkit.exceptions import QuadrantReferenceError  # noqa: PLC0415 (as above)

    for name, path in strategy.get_gate_ids():
        try:
            yield strategy.get_gate(name, path)
        except QuadrantReferenceError:
            # one quadrant: its gate comes by itself
            continue


def _flowkit_sample(adata: AnnData, labels: Sequence[str], name: str, *, flowjo: bool) -> Any:
    import flowio  # noqa: PLC0415 (as above)
    import flowkit  # noqa: PLC0415 (as above)

    values = adata.layers.get(keys.RAW, adata.X)
    if not adata.n_obs:
        # FlowKit takes no empty sample: one event stands in, and is cut off again
        values = np.zeros((1, adata.n_vars))
    spillover = adata.varp.get(keys.SPILLOVER, None)
    # 64 bits keep every value as it is, and no scaling keyword goes along: the values are linear already
    raw = fcs_bytes(
        values,
        channels=labels,
        markers=list(adata.var[keys.MARKER].astype(str)),
        ranges=list(adata.var[keys.RANGE]) if keys.RANGE in adata.var else None,
        spillover=None if any("," in label for label in labels) else spillover,
        keywords={"$FIL": name},
    )
    return flowkit.Sample(flowio.FlowData(io.BytesIO(raw)), sample_id=name, use_flowjo_labels=flowjo, subsample=1)


def _evaluate(strategy: Any, gates: Path, sample: Any) -> dict[str, list[Any]]:
    """Return name, path, parent and membership of every gate, parents first."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            result = strategy.gate_sample(sample)
            report = {(row.gate_name, tuple(row.gate_path)): row for row in result.report.itertuples()}
            quadrants = {
                (*row.gate_path, row.quadrant_parent) for row in report.values() if isinstance(row.quadrant_parent, str)
            }
            table: dict[str, list[Any]] = {"name": [], "path": [], "parent": [], "events": []}
            for name, path in strategy.get_gate_ids():
                full = (*path, name)
                if full in quadrants:
                    continue
                # a quadrant is reported as a child of what its gate divides
                outer = path[:-1] if path in quadrants else path
                events = result.get_gate_membership(name, gate_path=outer)
                above = [part for i, part in enumerate(path[1:], start=2) if path[:i] not in quadrants]
                table["name"].append(name)
                table["path"].append(ARROW.join([*above, name]))
                table["parent"].append(ARROW.join(above))
                table["events"].append(np.asarray(events, dtype=bool))
    except Exception as error:
        raise _not_evaluated(gates, error) from error
    return table


def _not_evaluated(gates: Path, error: Exception) -> InputError:
    why = f"FlowKit says: {type(error).__name__}: {error}"
    fix = (
        "Save the workspace again in FlowJo 10 with linear, log, biex, logicle or arcsinh axes, or export Gating-ML 2."
    )
    return InputError("the gate file could not be evaluated", where=gates, why=why, fix=fix)


def _unique(labels: Iterable[str]) -> list[str]:
    names: list[str] = []
    for label in labels:
        name, number = label, 0
        while name in names:
            number += 1
            name = f"{label}-{number}"
        names.append(name)
    return names


def _sample_id(adata: AnnData) -> str:
    return str(adata.obs[keys.SAMPLE_ID].iloc[0]) if keys.SAMPLE_ID in adata.obs and adata.n_obs else ""
