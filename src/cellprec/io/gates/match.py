"""Which sample of a gate file belongs to these events: by name, by keyword, by what was acquired when."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote

from cellprec import keys
from cellprec.errors import InputError
from cellprec.io.fcs.text import whole
from cellprec.notes import add_note

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from anndata import AnnData

# what a cytometer writes once per acquisition, whatever the file is called later
_IDENTITY = ("GUID", "$GUID")
_ACQUIRED = ("$TOT", "$DATE", "$BTIM", "$ETIM")
_LISTED = 10


@dataclass(frozen=True)
class Candidate:
    """One sample of a gate file: its name there, the file it was drawn on, its stored keywords and event count."""

    name: str
    file: str = ""
    keywords: Mapping[str, str] = field(default_factory=dict)
    count: int = -1

    @property
    def aliases(self) -> tuple[str, ...]:
        """What the sample may be called beside its name."""
        return tuple(alias for alias in (self.file, self.keywords.get("$FIL", "")) if alias.strip())

    @property
    def counts(self) -> tuple[int, ...]:
        """How many events the sample has, where the gate file says so: as counted there, and by $TOT."""
        return tuple(n for n in (self.count, whole(self.keywords.get("$TOT"))) if n is not None and n > 0)


def match_sample(
    adata: AnnData, *, gates: Path, candidates: Sequence[Candidate], sample_name: str | None = None
) -> Candidate:
    """Find the sample of the gate file that these events are, or refuse and list what is there.

    adata: events as ``read_fcs`` gives them. gates: the file, for messages. candidates: the samples in it.
    sample_name: the name as the gate file spells it; then nothing else is tried.

    The name of the file, $FIL and the sample id are tried first (exactly, then without folder, ending and case), then
    the GUID, then the tube name, then event count, date and times together. A sample found by a keyword alone is a
    note; so is the only sample of a file that answers to nothing, if it has as many events or does not say.

    Raises InputError where no sample or more than one answers, and where the only one has another number of events.
    """
    stored = file_keywords(adata)
    named = [sample_name] if sample_name else [str(adata.uns.get("fcs", {}).get("file", "")), stored.get("$FIL", "")]
    sought = [name for name in (named if sample_name else [*named, _sample_id(adata)]) if name.strip()]
    for wanted in sought:
        hits = _called(wanted, candidates)
        if len(hits) > 1:
            hits = _same_acquisition(stored, hits) or hits
        if len(hits) == 1:
            return hits[0]
        if hits:
            names = ", ".join(dict.fromkeys(hit.name for hit in hits))
            raise InputError(
                f"several samples of the workspace answer to {wanted!r}: {names}",
                where=gates,
                why="the gates of the one would be applied to the other",
                fix="Name the one that is meant, or give the samples different names and save the file again.",
            )
    if not sample_name:
        found = _by_keyword(adata, stored, candidates) or _only(adata, stored, candidates, sought, gates)
        if found is not None:
            return found
    there = ", ".join(sorted(c.name for c in candidates)[:_LISTED]) + (" ..." if len(candidates) > _LISTED else "")
    raise InputError(
        f"the workspace has no sample called {' or '.join(repr(name) for name in sought)}",
        where=gates,
        why=f"its {len(candidates)} samples are: {there or 'none'}",
        fix="Give the name of the sample as the workspace spells it.",
    )


def file_keywords(adata: AnnData) -> dict[str, str]:
    """Return the keywords of the FCS file, as ``read_fcs`` kept them; none where the events came otherwise."""
    held = json.loads(str(adata.uns.get("fcs", {}).get("keywords", "{}")))
    return {str(name): str(value) for name, value in held.items()}


def _called(wanted: str, candidates: Sequence[Candidate]) -> list[Candidate]:
    same: Callable[[str, str], bool]
    for same in (lambda a, b: a == b, lambda a, b: folded(a) == folded(b)):
        hits = [c for c in candidates if same(wanted, c.name)]
        hits = hits or [c for c in candidates if any(same(wanted, alias) for alias in c.aliases)]
        if hits:
            return hits
    return []


def _same_acquisition(stored: Mapping[str, str], candidates: Sequence[Candidate]) -> list[Candidate]:
    for names in (_IDENTITY, _ACQUIRED):
        hits = [c for c in candidates if _agree(stored, c.keywords, names)]
        if hits:
            return hits
    return []


def _agree(stored: Mapping[str, str], other: Mapping[str, str], names: tuple[str, ...]) -> bool:
    if names is _IDENTITY:
        mine = {stored[name].strip().casefold() for name in names if stored.get(name, "").strip()}
        return any(other.get(name, "").strip().casefold() in mine for name in names if other.get(name, "").strip())
    return all(stored.get(name, "").strip() and stored[name].strip() == other.get(name, "").strip() for name in names)


def _by_keyword(adata: AnnData, stored: Mapping[str, str], candidates: Sequence[Candidate]) -> Candidate | None:
    for names, said in (
        (_IDENTITY, "its GUID"),
        (("TUBE NAME",), "its tube name"),
        (_ACQUIRED, "its event count, date and times"),
    ):
        hits = [c for c in candidates if _agree(stored, c.keywords, names)]
        if len(hits) == 1:
            text = f"The sample {hits[0].name} of the workspace was taken by {said}: no name agreed."
            add_note(adata, "gates.sample_by_keyword", text, sample=_sample_id(adata))
            return hits[0]
    return None


def _only(
    adata: AnnData, stored: Mapping[str, str], candidates: Sequence[Candidate], sought: Sequence[str], gates: Path
) -> Candidate | None:
    if len(candidates) != 1:
        return None
    only = candidates[0]
    # of a file that was read in part, or cleaned since, $TOT is what FlowJo saw
    ours = {adata.n_obs, whole(stored.get("$TOT"))}
    if only.counts and ours.isdisjoint(only.counts):
        here = sought[0] if sought else "this sample"
        raise InputError(
            f"the only sample of the workspace, {only.name!r}, is not {here!r}",
            where=gates,
            why=f"no name agrees, and {only.name!r} has {only.counts[0]:,} events, {here!r} has {adata.n_obs:,}",
            fix="Give the workspace of this file, or the name of the sample as the workspace spells it.",
        )
    other = next((only.keywords[name] for name in _IDENTITY if only.keywords.get(name, "").strip()), "")
    mine = any(stored.get(name, "").strip() for name in _IDENTITY)
    drawn = f" Its gates were drawn on another acquisition (GUID {other})." if other and mine else ""
    none = f"it answers to none of {', '.join(sought)}"
    text = f"The only sample of the workspace, {only.name}, was taken: {none}.{drawn}"
    add_note(adata, "gates.only_sample", text, sample=_sample_id(adata))
    return only


def folded(name: str) -> str:
    """Return a name without folder, ending and case."""
    base = unquote(name).strip().replace("\\", "/").rsplit("/", 1)[-1]
    return re.sub(r"(\.fcs|\.lmd)?(\.gz)?$", "", base.casefold())


def _sample_id(adata: AnnData) -> str:
    return str(adata.obs[keys.SAMPLE_ID].iloc[0]) if keys.SAMPLE_ID in adata.obs and adata.n_obs else ""
