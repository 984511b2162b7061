"""Gates drawn elsewhere, applied here: FlowJo 10 workspaces, Gating-ML 2 and Floreada, evaluated by FlowKit."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from lxml import etree  # type: ignore[import-untyped]

from cellprec import keys
from cellprec.errors import FileFormatError, InputError
from cellprec.io.export import unique_names
from cellprec.io.fcs.linear import require_linear
from cellprec.io.gates.columns import Compensation, file_matrix, gating_ml_matrices
from cellprec.io.gates.counts import compare_counts
from cellprec.io.gates.floreada import floreada_document, floreada_samples, is_floreada
from cellprec.io.gates.flowjo import gate_by_workspace, workspace_samples
from cellprec.io.gates.flowkit import Gated, check_channels, evaluate, flowkit_sample, read_gating_ml, unwrapped
from cellprec.io.gates.match import match_sample
from cellprec.notes import add_note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

ARROW = " > "
# uns: which matrix the gates were drawn on, as ``name``, ``source``, ``rows``, ``detectors``, ``matrix``
# coefficients that FlowJo rounds to ten digits are the same matrix
_SAME = 1e-4


def apply_gates(
    adata: AnnData, *, gates: str | Path, sample_name: str | None = None, check_counts: bool = True
) -> None:
    """Say of every event in which gates it lies, as FlowJo or another program drew them.

    adata: events × channels with linear, uncompensated values, as ``read_fcs`` gives them (``layers["raw"]`` is taken
    where it is there, else X); compensation and transformation are those of the gate file. Gates on unmixed events are
    applied to the amounts of the dyes: there a ``Comp-`` name means the dye itself, unless the gate file holds a
    matrix over the dyes. gates: a FlowJo 10 workspace (.wsp), a Gating-ML 2 file or a Floreada workspace (.xml).
    sample_name: the name of the sample in the file; by default it is found by the name of the file, $FIL, the sample
    id, then by GUID, tube name, or event count with date and times. A workspace with one sample of as many events
    needs no name. check_counts: refuse where a gate holds far from the number of events that FlowJo stored for it;
    without it that is only a note.

    Writes obsm["gates"]: events × gates, bool. uns["gates"]: ``name``, ``path`` ("Lymphocytes > Singlets"), ``parent``
    (its path, "" at the top), ``count`` and ``stored`` (what FlowJo counted, -1 where it does not say), one of each
    per gate, parents first. uns["gates_compensation"]: ``name``, ``source`` ("workspace", "gating-ml", "file" or
    "none") and, where there is one, ``rows``, ``detectors`` and ``matrix``. How the counts compare with those that
    FlowJo stored is a note, and so is a matrix that differs from varp["spillover"].

    Raises InputError where the file is missing or cannot be evaluated (a curly quadrant, a derived parameter, an
    undocumented scale: named), where no sample of the file or more than one answers, where a gate needs a channel or a
    compensation that is not there, and where the events were compensated or transformed and the raw ones are gone;
    UsageError where they are as stored (``read_fcs`` with ``scale=False``) and not linear.

    FlowJo draws polygons and ellipses on a grid, so that its counts differ from the exact ones by the events at an
    edge; rectangles agree. Sources: Spidlen et al. 2015 (Gating-ML 2.0, doi:10.1002/cyto.a.22690); FlowKit, White et
    al. 2021 (doi:10.3389/fimmu.2021.768541).
    """
    gates = Path(gates)
    values, labels = _linear(adata), unique_names(adata.var[keys.CHANNEL].astype(str))
    root = _parse(gates)
    seen, used = -1, list[Compensation]()
    if etree.QName(root).localname == "Workspace":
        found = workspace_samples(root, gates=gates)
        chosen = match_sample(adata, gates=gates, candidates=[c for c, _ in found], sample_name=sample_name)
        sample = next(element for candidate, element in found if candidate is chosen)
        try:
            made, seen, used = gate_by_workspace(adata, values, root=root, sample=sample, labels=labels, gates=gates)
        except ValueError as error:
            what = "the workspace holds a number that is none"
            fix = "Save the workspace again in FlowJo 10."
            raise FileFormatError(what, where=gates, why=str(error), fix=fix) from error
    else:
        made, used = _by_gating_ml(adata, values, root, labels, gates, sample_name)
    told = compare_counts(made, seen=seen, n_events=adata.n_obs, gates=gates, strict=check_counts)
    _write(adata, made)
    _tell_compensation(adata, used, labels)
    for note in told:
        add_note(adata, note.code, note.text, count=note.count, sample=_sample_id(adata))


def gate_counts(adata: AnnData) -> pd.DataFrame:
    """Count the events in every gate, and give their share of the gate above.

    adata: with gates, as ``apply_gates`` leaves it; where rows were dropped since, those that are left are counted.

    Returns one row per gate: ``path``, ``name``, ``parent`` (path, "" at the top), ``count`` and ``fraction`` of the
    parent (at the top of all events, or of those that are kept where a template placed the gates among them; NaN where
    the parent is empty).

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
    among_kept = "how" in adata.uns[keys.GATES] and keys.KEEP in adata.obs
    top = int(adata.obs[keys.KEEP].sum()) if among_kept else adata.n_obs
    of = dict(zip(held["path"], counts, strict=True)) | {"": top}
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


def _linear(adata: AnnData) -> Any:
    """Return the values as the instrument (or the unmixing) gave them, or refuse."""
    require_linear(adata, where=_sample_id(adata))
    if keys.RAW in adata.layers:
        return adata.layers[keys.RAW]
    is_transformed, is_compensated = keys.TRANSFORM in adata.var, keys.COMPENSATED in adata.layers
    if keys.UNMIXING in adata.uns and (is_compensated or not is_transformed):
        # the amounts of the dyes stand in for what was read; the transform leaves them in the layer
        return adata.layers[keys.COMPENSATED] if is_transformed else adata.X
    if is_transformed or is_compensated:
        why = "the gate file brings its own compensation and scales; they would be applied twice"
        fix = 'Keep the values as read in layers["raw"], or apply the gates before compensating and transforming.'
        raise InputError("the events are no longer as they were read", where=_sample_id(adata), why=why, fix=fix)
    return adata.X


def _parse(gates: Path) -> Any:
    if not gates.is_file():
        raise InputError("the gate file does not exist", where=gates, fix="Check the path of the gate file.")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True)
    try:
        root = etree.parse(str(gates), parser).getroot()
    except etree.XMLSyntaxError as error:
        fix = "Save the workspace again in FlowJo 10, or export the gates as Gating-ML 2."
        raise FileFormatError("the gate file is not XML", where=gates, why=str(error), fix=fix) from error
    if etree.QName(root).localname in ("Workspace", "Gating-ML"):
        return root
    fix = "Give a FlowJo 10 workspace (.wsp) or a Gating-ML 2 file (.xml)."
    raise FileFormatError("the gate file is neither a FlowJo workspace nor Gating-ML", where=gates, fix=fix)


def _by_gating_ml(
    adata: AnnData, values: Any, root: Any, labels: Sequence[str], gates: Path, sample_name: str | None
) -> tuple[Gated, list[Compensation]]:
    names: dict[str, str] = {}
    if is_floreada(root):
        found = floreada_samples(root)
        chosen = match_sample(adata, gates=gates, candidates=[c for c, _ in found], sample_name=sample_name)
        file = next(element for candidate, element in found if candidate is chosen)
        document, names = floreada_document(root, file, gates=gates)
    else:
        document, moved = unwrapped(root)
        if moved:
            text = "Gates stood inside elements that Gating-ML does not know; they were read without those."
            add_note(adata, "gates.unwrapped", text, count=moved, sample=_sample_id(adata))
    strategy = read_gating_ml(document, gates=gates)
    markers = list(adata.var[keys.MARKER].astype(str))
    own = file_matrix(adata, labels)
    compensated = own.rows if own is not None else ()
    check_channels(strategy, gates=gates, channels=labels, markers=markers, compensated=compensated)
    spillover = adata.varp.get(keys.SPILLOVER, None)
    sample = flowkit_sample(
        values,
        channels=labels,
        markers=markers,
        ranges=list(adata.var[keys.RANGE]) if keys.RANGE in adata.var else None,
        spillover=None if any("," in label for label in labels) else spillover,
    )
    made = evaluate(strategy, sample, gates=gates, n_events=adata.n_obs)
    renamed = Gated()
    for path, events in zip(made.paths, made.events, strict=True):
        renamed.add(tuple(names.get(part, part) for part in path), events)
    return renamed, gating_ml_matrices(adata, strategy, labels)


def _write(adata: AnnData, made: Gated) -> None:
    events = made.events
    adata.obsm[keys.GATES] = np.column_stack(events) if events else np.zeros((adata.n_obs, 0), bool)
    adata.uns[keys.GATES] = {
        "name": np.array(made.names, dtype=str),
        "path": np.array([ARROW.join(path) for path in made.paths], dtype=str),
        "parent": np.array([ARROW.join(path) for path in made.parents], dtype=str),
        "count": np.array([int(inside.sum()) for inside in events], dtype=np.int64),
        "stored": np.array(made.stored, dtype=np.int64),
    }


def _tell_compensation(adata: AnnData, used: Sequence[Compensation], labels: Sequence[str]) -> None:
    """Keep which matrix the gates stand on, and say where it is not the one that compensation would take."""
    if not used:
        adata.uns[keys.GATES_COMPENSATION] = {"name": "none", "source": "none"}
        return
    main = used[0]
    adata.uns[keys.GATES_COMPENSATION] = {
        "name": ", ".join(matrix.name for matrix in used),
        "source": main.source,
        "rows": np.array(main.rows, dtype=str),
        "detectors": np.array(main.detectors, dtype=str),
        "matrix": main.matrix,
    }
    place = {label.replace("/", "_"): i for i, label in enumerate(labels)} | {n: i for i, n in enumerate(labels)}
    own = np.eye(adata.n_vars)
    if keys.SPILLOVER in adata.varp:
        own = np.asarray(adata.varp[keys.SPILLOVER], dtype=np.float64)
    worst = 0.0
    for matrix in used:
        if all(name in place for name in matrix.rows):
            there = np.eye(adata.n_vars)
            rows, columns = [place[n] for n in matrix.rows], [place[n] for n in matrix.detectors]
            there[np.ix_(rows, columns)] = matrix.matrix
            worst = max(worst, float(np.abs(there - own).max()))
    if worst > _SAME:
        other = "that of the FCS file" if keys.SPILLOVER in adata.varp else "no compensation"
        text = (
            f"The gates were drawn on events compensated by {adata.uns[keys.GATES_COMPENSATION]['name']}, a matrix of "
            f"the gate file; it differs from {other} by up to {worst:.3g}."
        )
        add_note(adata, "gates.other_compensation", text, sample=_sample_id(adata))


def _sample_id(adata: AnnData) -> str:
    return str(adata.obs[keys.SAMPLE_ID].iloc[0]) if keys.SAMPLE_ID in adata.obs and adata.n_obs else ""
