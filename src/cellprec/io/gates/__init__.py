"""Gates drawn elsewhere: FlowJo workspaces, Gating-ML, Floreada, evaluated on rightly compensated events."""

from cellprec.io.gates.apply import apply_gates, gate_counts, label_populations

__all__ = ["apply_gates", "gate_counts", "label_populations"]
