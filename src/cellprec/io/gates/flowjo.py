"""FlowJo 10 workspaces: the tree of populations of one sample, its shapes drawn by FlowKit on rightly made values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from lxml import etree  # type: ignore[import-untyped]

from cellprec import keys
from cellprec.errors import InputError
from cellprec.io.fcs.layout import LARGEST_FACTOR
from cellprec.io.fcs.text import number, whole
from cellprec.io.gates.columns import (
    PREFIX,
    Compensation,
    Found,
    columns_of,
    file_matrix,
    find_dimensions,
    read_matrices,
)
from cellprec.io.gates.flowkit import DATA_TYPE, GATING, Gated, draw, read_flat_workspace
from cellprec.io.gates.match import Candidate, file_keywords
from cellprec.io.gates.shapes import flatten
from cellprec.notes import add_note

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

SHAPES = ("RectangleGate", "PolygonGate", "EllipsoidGate")
BOOLEANS = {"AndNode": np.logical_and, "OrNode": np.logical_or, "NotNode": np.logical_or}
OLDEST = 10


@dataclass(eq=False)
class Population:
    """One node of FlowJo's tree: a shape, or AND, OR, NOT of other nodes."""

    path: tuple[str, ...]
    parent: Population | None
    drawn_as: str
    stored: int
    shape: Any = None
    boolean: str = ""
    operands: list[str] = field(default_factory=list)

    @property
    def said(self) -> str:
        """The path as a reader knows it."""
        return " > ".join(self.path)


def workspace_samples(root: Any, *, gates: Path) -> list[tuple[Candidate, Any]]:
    """List the samples of a workspace, each with its element; refuse what FlowJo wrote before version 10."""
    version = root.get("flowJoVersion", "")
    major = version.split(".")[0]
    if major.isdigit() and int(major) < OLDEST:
        what = f"the workspace could not be evaluated: FlowJo {version} wrote it"
        fix = "Open it in FlowJo 10 and save it again as .wsp."
        raise InputError(what, where=gates, why="only workspaces of FlowJo 10 and later can be read", fix=fix)
    found = []
    for sample in root.iterfind("{*}SampleList/{*}Sample"):
        node = sample.find("{*}SampleNode")
        if node is None:
            continue
        words = {word.get("name", ""): word.get("value", "") for word in sample.iterfind("{*}Keywords/{*}Keyword")}
        data = sample.find("{*}DataSet")
        uri = data.get("uri", "") if data is not None else ""
        count = whole(node.get("count"))
        found.append((Candidate(node.get("name", ""), uri, words, -1 if count is None else count), sample))
    return found


def gate_by_workspace(
    adata: AnnData, values: Any, *, root: Any, sample: Any, labels: Sequence[str], gates: Path
) -> tuple[Gated, int, list[Compensation]]:
    """Evaluate the populations of one sample of a workspace.

    values: events × channels, linear, not compensated. root, sample: elements of the workspace. labels: $PnN.

    Returns the gates, the number of events that FlowJo saw (-1 where it does not say) and the matrices used.
    """
    node = sample.find("{*}SampleNode")
    tree: list[Population] = []
    _walk(node, None, tree, gates)
    shapes = [population for population in tree if population.shape is not None]
    names = list(dict.fromkeys(name for population in shapes for name in _dimensions(population.shape)))
    matrices = _matrices(adata, root, sample, names, labels, gates)
    derived = [d.get("name", "") for d in sample.iterfind(".//{*}DerivedParameter")]
    dyes = _unmixed_from(adata)
    found = find_dimensions(names, labels=labels, matrices=matrices, derived=derived, gates=gates, unmixed_from=dyes)
    plain = [labels[where.channel] for name, where in found.items() if where.channel >= 0 and name.startswith(PREFIX)]
    if dyes is not None and not all(label.startswith(PREFIX) for label in plain):
        text = "The workspace holds no compensation matrix for this sample: its Comp- names were taken for the dyes."
        add_note(adata, "gates.matrix_assumed", text, sample=_sample_id(adata))
    scales = _scales(sample)
    clock = _clock(adata, scales, found)
    columns = columns_of(values, found, labels=labels, scale=clock)
    inside = _draw(shapes, columns, scales, gates)
    used = list(dict.fromkeys(where.matrix for where in found.values() if where.matrix is not None))
    return _gated(tree, inside, gates), int(node.get("count", -1)), used


def _walk(node: Any, parent: Population | None, tree: list[Population], gates: Path) -> None:
    for child in node.iterfind("{*}Subpopulations/*"):
        tag = etree.QName(child).localname if isinstance(child.tag, str) else ""
        if tag not in {"Population", *BOOLEANS}:
            if child.find("{*}Gate") is not None or child.find("{*}Subpopulations") is not None:
                what = f"the population {child.get('name', '')!r} is a {tag}, which cannot be evaluated"
                raise InputError(what, where=gates, fix="Redraw it as a rectangle, polygon, ellipse or boolean gate.")
            continue
        name = child.get("name", "")
        above, drawn = (parent.path, f"{parent.drawn_as}/{name}") if parent is not None else ((), name)
        # two siblings of one name stay apart
        twins = sum(other.drawn_as == drawn and other.parent is parent for other in tree)
        path = (*above, f"{name} #{twins + 1}" if twins else name)
        population = Population(path, parent, drawn, int(child.get("count", -1)))
        if tag == "Population":
            population.shape = _shape(child, population, gates)
        else:
            population.boolean = tag
            population.operands = [d.get("name", "") for d in child.iterfind("{*}Dependents/{*}Dependent")]
        tree.append(population)
        _walk(child, population, tree, gates)


def _shape(child: Any, population: Population, gates: Path) -> Any:
    drawn = [shape for shape in child.iterfind("{*}Gate/*") if isinstance(shape.tag, str)]
    kinds = [etree.QName(shape).localname for shape in drawn]
    if len(drawn) == 1 and kinds[0] in SHAPES:
        return drawn[0]
    kind = ", ".join(kinds) or "population without a shape"
    why = "FlowJo does not publish the coefficients of its curves, and a guess would move events between gates"
    raise InputError(
        f"the gate {population.said} is a {kind}, which cannot be evaluated",
        where=gates,
        why=why if kinds == ["CurlyQuad"] else "only rectangles, polygons, ellipses and boolean gates are known",
        fix="Redraw it in FlowJo as a quadrant, rectangle, polygon or ellipse, and save the workspace again.",
    )


def _dimensions(shape: Any) -> list[str]:
    return [
        d.get(f"{DATA_TYPE}name", "") for d in shape.iterfind(f"{GATING}dimension/{DATA_TYPE}fcs-dimension")
    ]  # fmt: skip


def _matrices(
    adata: AnnData, root: Any, sample: Any, names: Sequence[str], labels: Sequence[str], gates: Path
) -> list[Compensation]:
    """Return the matrices of the sample; where a gate needs one and there is none, that of the file."""
    own = read_matrices(sample, gates=gates)
    if own or all(name in labels for name in names):
        return own
    shared = root.find("{*}Matrices")
    held = read_matrices(shared, gates=gates) if shared is not None else []
    fitting = [matrix for matrix in held if any(matrix.row_of(name) is not None for name in names)]
    if _unmixed_from(adata) is not None:
        # a workspace with the raw files beside the unmixed ones holds the matrix that unmixed them
        known = {*labels, *(label.replace("/", "_") for label in labels)}
        fitting = [matrix for matrix in fitting if known.issuperset(matrix.detectors)]
    if len(fitting) == 1:
        told = "The workspace names no compensation for this sample: its only matrix that fits was taken"
        text = f"{told} ({fitting[0].name})."
        add_note(adata, "gates.matrix_assumed", text, sample=_sample_id(adata))
        return fitting
    stored = file_matrix(adata, labels)
    if stored is not None and any(stored.row_of(name) is not None for name in names):
        text = "The workspace holds no compensation matrix for this sample: that of the FCS file was taken."
        add_note(adata, "gates.matrix_assumed", text, sample=_sample_id(adata))
        return [stored]
    return []


def _unmixed_from(adata: AnnData) -> list[str] | None:
    """Return the detectors that were unmixed; None where the events are as the instrument gave them."""
    if keys.UNMIXING not in adata.uns:
        return None
    return [str(name) for name in adata.uns[keys.UNMIXING].get("detectors", ())]


def _scales(sample: Any) -> dict[str, Any]:
    """Return the scale of each axis; FlowJo keeps one per channel and one per compensated channel."""
    scales: dict[str, Any] = {}
    for scale in sample.iterfind("{*}Transformations/*"):
        parameter = scale.find(f"{DATA_TYPE}parameter") if isinstance(scale.tag, str) else None
        if parameter is not None:
            scales[parameter.get(f"{DATA_TYPE}name", "")] = scale
    return scales


def _clock(adata: AnnData, scales: Mapping[str, Any], found: Mapping[str, Found]) -> dict[str, float]:
    """Return what makes our seconds those of FlowJo, which divides the length of the run by the ticks."""
    if keys.KIND not in adata.var:
        return {}
    stored = number(file_keywords(adata).get("$TIMESTEP"))
    # the reader left the clock in ticks where it could not believe the step
    step = stored if stored is not None and 1 / LARGEST_FACTOR <= stored <= LARGEST_FACTOR else 1.0
    clock = {}
    for name, where in found.items():
        gain = scales[name].get("gain") if name in scales else None
        if gain and where.channel >= 0 and str(adata.var[keys.KIND].iloc[where.channel]) == "time":
            # of the clocks of a file the reader brings only the one called Time to seconds
            is_seconds = str(adata.var[keys.CHANNEL].iloc[where.channel]).lower() == "time"
            clock[name] = float(gain) / (step if is_seconds else 1.0)
    return clock


def _draw(
    shapes: Sequence[Population],
    columns: Mapping[str, NDArray[np.float64]],
    scales: Mapping[str, Any],
    gates: Path,
) -> dict[int, NDArray[np.bool_]]:
    """Say of each shape by itself which events lie in it."""
    if not shapes:
        return {}
    document, used = flatten(shapes, scales, gates=gates)
    strategy = read_flat_workspace(document, gates=gates)
    place = {f"d{i}": name for i, name in enumerate(used)}
    drawn = {}
    for i, population in enumerate(shapes):
        drawn[id(population)] = draw(strategy, f"g{i}", lambda column: columns[place[column]], gates=gates)
    return drawn


def _gated(tree: Sequence[Population], inside: Mapping[int, NDArray[np.bool_]], gates: Path) -> Gated:
    by_path: dict[str, list[Population]] = {}
    for population in tree:
        by_path.setdefault(population.drawn_as, []).append(population)
    held: dict[int, NDArray[np.bool_]] = {}
    waiting: set[int] = set()

    def events(population: Population) -> NDArray[np.bool_]:
        key = id(population)
        if key not in held:
            if key in waiting:
                raise InputError(f"the gate {population.said} refers to itself", where=gates)
            waiting.add(key)
            own = inside[key] if population.shape is not None else boolean(population)
            held[key] = own if population.parent is None else own & events(population.parent)
        return held[key]

    def boolean(population: Population) -> NDArray[np.bool_]:
        operands = [by_path.get(name.strip("/"), []) for name in population.operands]
        for name, hits in zip(population.operands, operands, strict=True):
            if len(hits) != 1:
                many = "several gates of that name" if hits else "no such gate"
                what = f"the boolean gate {population.said} refers to {name!r}: the workspace has {many}"
                raise InputError(what, where=gates, fix="Make the boolean gate again in FlowJo.")
        if not operands:
            raise InputError(f"the boolean gate {population.said} refers to no gate", where=gates)
        combined = BOOLEANS[population.boolean].reduce([events(hits[0]) for hits in operands])
        return np.asarray(~combined if population.boolean == "NotNode" else combined, dtype=bool)

    made = Gated()
    for population in tree:
        made.add(population.path, events(population), stored=population.stored)
    return made


def _sample_id(adata: AnnData) -> str:
    return str(adata.obs[keys.SAMPLE_ID].iloc[0]) if keys.SAMPLE_ID in adata.obs and adata.n_obs else ""
