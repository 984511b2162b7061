"""What the channels of an FCS file are called, and what each of them measures."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from cellprec.io.export import unique_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KINDS = ("scatter", "fluorescence", "mass", "time", "other")

_TIME = re.compile(r"(time|hdr-t)([ _-]?[lm]sw)?$", re.IGNORECASE)
_SCATTER = re.compile(r"(fsc|ssc|fs|ss|fals|fwsc|sdsc|forward|side)([\W_\d]|[ahw]$|$)", re.IGNORECASE)
_METAL = (
    r"(?:Y|Zr|Nb|Mo|Ru|Rh|Pd|Ag|Cd|In|Sn|Te|I|Xe|Cs|Ba|La|Ce|Pr|Nd|Sm|Eu|Gd|Tb|Dy|Ho|Er|Tm|Yb|Lu|"
    r"Hf|Ta|W|Re|Os|Ir|Pt|Au|Hg|Tl|Pb|Bi)"
)
_MASS = r"(?:[89]\d|1\d\d|20\d)"
# Nd143Di, (Nd143)Di, CD3_Nd143, 143Nd_CD3, CD3(110:114)Dd; not Y610-A or V450-A
_ISOTOPE = re.compile(
    rf"(?<![A-Za-z0-9])(?:{_METAL}{_MASS}|{_MASS}{_METAL})(?:D[id])?(?![A-Za-z0-9-])|\)D[id]$|^{_METAL}\(.*\)D[id]$"
)
_OTHER = re.compile(
    r"(event|cell)[ _]?(length|#|number|id|count)|original_id|computed time|center$|offset$|width$|residual$|index$|"
    r"hdr-|bead_?dist|file[ _]?(number|id)|(pulse|cell)[ _]?width|unused|amplitude|mean$|gate[ _]?source|"
    r"bc_separation_dist|mahalanobis",
    re.IGNORECASE,
)
_CYTOF = re.compile(r"cytof|helios|\bmass\b|dvs", re.IGNORECASE)


def column_names(channels: Sequence[str], markers: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the columns: the marker where there is one of that name, else the channel; unique."""
    counts = Counter(markers)
    wanted = [m if m and counts[m] == 1 else c for c, m in zip(channels, markers, strict=True)]
    # a marker may be called like another channel: then the channels keep their names
    clashing = {name for name, count in Counter(wanted).items() if count > 1}
    wanted = [c if name in clashing else name for name, c in zip(wanted, channels, strict=True)]
    return tuple(unique_names(wanted))


def column_kinds(channels: Sequence[str], keywords: Mapping[str, str]) -> tuple[str, ...]:
    """Return what each channel measures, one of ``KINDS``."""
    kinds = [_kind(channel) for channel in channels]
    isotopes = [kind == "fluorescence" and bool(_ISOTOPE.search(c)) for c, kind in zip(channels, kinds, strict=True)]
    if _CYTOF.search(keywords.get("$CYT", "")) or sum(isotopes) * 2 > kinds.count("fluorescence"):
        kinds = [
            ("mass" if isotope else "other") if kind == "fluorescence" else kind
            for kind, isotope in zip(kinds, isotopes, strict=True)
        ]
    return tuple(kinds)


def _kind(channel: str) -> str:
    if _TIME.match(channel):
        return "time"
    if _SCATTER.match(channel):
        return "scatter"
    return "other" if _OTHER.match(channel) else "fluorescence"
