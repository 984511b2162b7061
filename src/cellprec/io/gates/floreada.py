"""Gating-ML as Floreada writes it: the gates of all files in one document, their tree in elements of its own."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from lxml import etree  # type: ignore[import-untyped]

from cellprec.errors import InputError
from cellprec.io.gates.flowkit import DATA_TYPE, GATING, TRANSFORMS
from cellprec.io.gates.match import Candidate

if TYPE_CHECKING:
    from pathlib import Path

FLOREADA = "{https://floreada.io/gatingml}"


def is_floreada(root: Any) -> bool:
    """Say whether a Gating-ML document holds a Floreada workspace."""
    return root.find(f".//{FLOREADA}workspace") is not None


def floreada_samples(root: Any) -> list[tuple[Candidate, Any]]:
    """List the files of a Floreada workspace, each with its element."""
    return [(Candidate(file.get("name", "")), file) for file in root.iter(f"{FLOREADA}fcsfile")]


def floreada_document(root: Any, file: Any, *, gates: Path) -> tuple[bytes, dict[str, str]]:
    """Write the gates of one file as plain Gating-ML 2, and tell what each gate is called.

    Floreada keeps gates without parents at the root and nests their ids under each file; the scales are those of
    Gating-ML (flin, flog, logicle, fasinh, hyperlog), under ids that XML does not allow. Rectangles hold linear
    values, polygons coordinates on the scale.

    Raises InputError where the tree names a gate that the document lacks, or a gate names a scale that it lacks.
    """
    made = etree.Element(
        f"{GATING}Gating-ML",
        nsmap={"gating": GATING[1:-1], "transforms": TRANSFORMS[1:-1], "data-type": DATA_TYPE[1:-1]},
    )
    renamed: dict[str, str] = {}
    for tag in ("spectrumMatrix", "transformation"):
        for number, element in enumerate(root.findall(f"{TRANSFORMS}{tag}")):
            twin = copy.deepcopy(element)
            renamed[element.get(f"{TRANSFORMS}id", "")] = f"{tag}{number}"
            twin.set(f"{TRANSFORMS}id", f"{tag}{number}")
            made.append(twin)
    drawn = {gate.get(f"{GATING}id"): gate for gate in root if isinstance(gate.tag, str) and gate.get(f"{GATING}id")}
    names: dict[str, str] = {}
    for place in file.iter(f"{FLOREADA}gate"):
        identity = place.get("id", "")
        if identity not in drawn:
            what = f"the gate {place.get('name', identity)!r} has no shape in the file"
            raise InputError(what, where=gates, why=f"there is no gate with the id {identity}", fix="Export it again.")
        twin = copy.deepcopy(drawn[identity])
        above = next(place.iterancestors(f"{FLOREADA}gate"), None)
        if above is not None:
            twin.set(f"{GATING}parent_id", above.get("id", ""))
        _refer(twin, renamed, place.get("name", identity), gates)
        names[identity] = place.get("name", identity)
        made.append(twin)
    return etree.tostring(made), names


def _refer(gate: Any, renamed: dict[str, str], name: str, gates: Path) -> None:
    for element in gate.iter():
        for attribute in ("compensation-ref", "transformation-ref"):
            for space in (GATING, DATA_TYPE):
                old = element.get(f"{space}{attribute}")
                if old is None or old in ("uncompensated", "FCS"):
                    continue
                if old not in renamed:
                    what = f"the gate {name!r} needs {old!r}, which the file does not define"
                    raise InputError(what, where=gates, fix="Export the workspace again from Floreada.")
                element.set(f"{space}{attribute}", renamed[old])
