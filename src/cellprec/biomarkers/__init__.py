"""Patients × features: what is associated with an outcome, and what foretells it."""

from cellprec.biomarkers.ask import ask
from cellprec.biomarkers.associate import associate
from cellprec.biomarkers.confounding import confounding
from cellprec.biomarkers.headline import headline
from cellprec.biomarkers.patients import patients
from cellprec.biomarkers.predict import Prediction, predict

__all__ = ["Prediction", "ask", "associate", "confounding", "headline", "patients", "predict"]
