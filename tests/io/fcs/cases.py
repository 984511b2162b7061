"""Every property and defect of FCS files known to us, each in one small file with its truth."""

from __future__ import annotations

from tests.io.fcs.cases_data import counts, data_sets, data_types, offsets, other_files, text_data
from tests.io.fcs.cases_keywords import keyword_text, matrices, scaling
from tests.io.fcs.maker import Case

GROUPS = (data_types, text_data, scaling, keyword_text, offsets, counts, data_sets, other_files, matrices)


def all_cases() -> dict[str, Case]:
    """Return every case by group and name."""
    return {f"{group.__name__}-{name}": case for group in GROUPS for name, case in group()}
