"""FCS files in: bytes → source → text (keywords) → layout and place (where the events are) → data → AnnData."""

from cellprec.io.fcs.read import FcsHeader, read_fcs, read_fcs_events, read_fcs_header

__all__ = ["FcsHeader", "read_fcs", "read_fcs_events", "read_fcs_header"]
