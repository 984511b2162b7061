"""FlowKit asked about a table of values: which events lie in which gate of a Gating-ML 2 document or a workspace."""

from __future__ import annotations

import copy
import io
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from lxml import etree  # type: ignore[import-untyped]

from cellprec.errors import InputError
from cellprec.io.export import fcs_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

GATING = "{http://www.isac-net.org/std/Gating-ML/v2.0/gating}"
TRANSFORMS = "{http://www.isac-net.org/std/Gating-ML/v2.0/transformations}"
DATA_TYPE = "{http://www.isac-net.org/std/Gating-ML/v2.0/datatypes}"
_GATE_KINDS = ("RectangleGate", "PolygonGate", "EllipsoidGate", "QuadrantGate", "BooleanGate")


@dataclass
class Gated:
    """The gates of one sample, parents first: name, path of names, place of the parent in the list, membership."""

    names: list[str] = field(default_factory=list)
    paths: list[tuple[str, ...]] = field(default_factory=list)
    parents: list[tuple[str, ...]] = field(default_factory=list)
    events: list[NDArray[np.bool_]] = field(default_factory=list)
    stored: list[int] = field(default_factory=list)

    def add(self, path: tuple[str, ...], events: NDArray[np.bool_], *, stored: int = -1) -> None:
        """Append a gate; stored: how many events the file says it holds, -1 where it does not say."""
        self.names.append(path[-1])
        self.paths.append(path)
        self.parents.append(path[:-1])
        self.events.append(np.asarray(events, dtype=bool))
        self.stored.append(stored)


def flowkit_sample(
    values: ArrayLike,
    *,
    channels: Sequence[str],
    markers: Sequence[str] | None = None,
    ranges: Sequence[float] | None = None,
    spillover: NDArray[np.float64] | None = None,
) -> Any:
    """Wrap linear values as a sample that FlowKit takes: 64 bits, no scaling keyword, so that no value changes."""
    import flowio  # noqa: PLC0415 (seconds to import, and only gated studies need it)
    import flowkit  # noqa: PLC0415 (as above)

    table = np.asarray(values)
    if not len(table):
        # FlowKit takes no empty sample: one event stands in, and is cut off again by the caller
        table = np.zeros((1, table.shape[1]))
    raw = fcs_bytes(
        table, channels=channels, markers=markers, ranges=ranges, spillover=spillover, keywords={"$FIL": "sample"}
    )
    return flowkit.Sample(flowio.FlowData(io.BytesIO(raw)), sample_id="sample", subsample=1)


def read_gating_ml(document: bytes, *, gates: Path) -> Any:
    """Parse a Gating-ML 2 document."""
    import flowkit  # noqa: PLC0415 (as above)

    try:
        return flowkit.parse_gating_xml(io.BytesIO(document))
    except Exception as error:
        raise not_evaluated(gates, error) from error


def unwrapped(root: Any) -> tuple[bytes, int]:
    """Return a Gating-ML document whose gates all stand at the root, and how many were moved there.

    Some programs wrap gates in elements of their own, and add attributes that the standard lacks.
    """
    moved = [
        gate
        for gate in root.iter(*(f"{GATING}{kind}" for kind in _GATE_KINDS))
        if gate.getparent() is not root
    ]  # fmt: skip
    if not moved:
        return etree.tostring(root), 0
    made = copy.deepcopy(root)
    for child in list(made):
        if isinstance(child.tag, str) and not child.tag.startswith((GATING, TRANSFORMS, DATA_TYPE)):
            made.remove(child)
    for gate in moved:
        twin = copy.deepcopy(gate)
        twin.attrib.pop(f"{GATING}name", None)
        made.append(twin)
    return etree.tostring(made), len(moved)


def read_flat_workspace(document: bytes, *, gates: Path) -> Any:
    """Parse a workspace with the one sample ``sample``."""
    import flowkit  # noqa: PLC0415 (as above)

    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            workspace = flowkit.Workspace(io.BytesIO(document), load_missing_file_data=True)
            return workspace.get_gating_strategy("sample")
    except Exception as error:
        raise not_evaluated(gates, error) from error


def check_channels(
    strategy: Any, *, gates: Path, channels: Sequence[str], markers: Sequence[str], compensated: Sequence[str]
) -> None:
    """Refuse gates on channels that the sample lacks, and gates that FlowKit would compensate in part wrongly.

    compensated: the channels that the matrix of the FCS file changes.
    """
    known = {*channels, *markers, *(label.replace("/", "_") for label in channels)}
    needed: list[str] = []
    for gate in all_gates(strategy):
        used = {d.compensation_ref for d in gate.dimensions or ()} - {None, "uncompensated"}
        for dimension in gate.dimensions or ():
            name = getattr(dimension, "dimension_ref", None) or getattr(dimension, "id", None)
            matrix = strategy.comp_matrices.get(dimension.compensation_ref)
            here = known
            if matrix is not None:
                # a gate on a compensated dye needs every detector of the matrix
                needed += [detector for detector in matrix.detectors if detector not in known]
                here = known | set(matrix.fluorochromes)
            elif dimension.compensation_ref not in (None, "uncompensated", "FCS"):
                raise InputError(
                    f"the gate {gate.gate_name} needs the compensation {dimension.compensation_ref!r}",
                    where=gates,
                    why="the file defines no such matrix",
                    fix="Export the gates again together with the compensation.",
                )
            elif used and dimension.compensation_ref in (None, "uncompensated") and name is not None:
                _not_mixed(strategy, gates, gate, name, used, compensated)
            if name is not None and name not in here:
                needed.append(name)
    if needed:
        raise missing_channels(needed, gates=gates, channels=channels)


def _not_mixed(strategy: Any, gates: Path, gate: Any, name: str, used: set[str], compensated: Sequence[str]) -> None:
    for reference in used:
        matrix = strategy.comp_matrices.get(reference)
        if name in (compensated if matrix is None else (*matrix.detectors, *matrix.fluorochromes)):
            raise InputError(
                f"the gate {gate.gate_name} mixes compensated and uncompensated values ({name} is uncompensated)",
                where=gates,
                why="FlowKit would compensate both axes",
                fix="Draw the gate with both axes compensated, or both not.",
            )


def missing_channels(needed: Iterable[str], *, gates: Path, channels: Sequence[str]) -> InputError:
    """Return the error that says which channels of the gates the sample lacks."""
    return InputError(
        f"the gates need channels that the sample lacks: {', '.join(dict.fromkeys(needed))}",
        where=gates,
        why=f"the sample has: {', '.join(channels)}",
        fix="Check that the gate file belongs to this panel.",
    )


def all_gates(strategy: Any) -> Iterable[Any]:
    """Go through the gates of a strategy, a quadrant gate once."""
    from flowkit.exceptions import QuadrantReferenceError  # noqa: PLC0415 (as above)

    for name, path in strategy.get_gate_ids():
        try:
            yield strategy.get_gate(name, path)
        except QuadrantReferenceError:
            # one quadrant: its gate comes by itself
            continue


def evaluate(strategy: Any, sample: Any, *, gates: Path, n_events: int) -> Gated:
    """Gate the sample; a quadrant is reported as a child of what its gate divides."""
    made = Gated()
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            result = strategy.gate_sample(sample)
            report = {(row.gate_name, tuple(row.gate_path)): row for row in result.report.itertuples()}
            quadrants = {
                (*row.gate_path, row.quadrant_parent) for row in report.values() if isinstance(row.quadrant_parent, str)
            }
            for name, path in strategy.get_gate_ids():
                if (*path, name) in quadrants:
                    continue
                outer = path[:-1] if path in quadrants else path
                events = result.get_gate_membership(name, gate_path=outer)
                above = [part for i, part in enumerate(path[1:], start=2) if path[:i] not in quadrants]
                made.add((*above, name), np.asarray(events, dtype=bool)[:n_events])
    except Exception as error:
        raise not_evaluated(gates, error) from error
    return made


def draw(strategy: Any, name: str, column: Callable[[str], NDArray[np.float64]], *, gates: Path) -> NDArray[np.bool_]:
    """Say which events lie in one gate at the root, whatever lies around it.

    column: gives the linear values of a dimension. Only the columns of the gate are touched, so that a million events
    cost no more than their two axes.
    """
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            gate = strategy.get_gate(name, ("root",))
            axes = {}
            for dimension in gate.dimensions:
                values = column(dimension.id)
                if dimension.transformation_ref is not None:
                    values = strategy.get_transform(dimension.transformation_ref).apply(values.reshape(-1, 1)).ravel()
                axes[dimension.id] = values
            return np.asarray(gate.apply(pd.DataFrame(axes)), dtype=bool)
    except Exception as error:
        raise not_evaluated(gates, error) from error


def not_evaluated(gates: Path, error: Exception) -> InputError:
    """Return the error that hands on what FlowKit said."""
    why = f"FlowKit says: {type(error).__name__}: {error}"
    fix = (
        "Save the workspace again in FlowJo 10 with linear, log, biex, logicle or arcsinh axes, or export Gating-ML 2."
    )
    return InputError("the gate file could not be evaluated", where=gates, why=why, fix=fix)
