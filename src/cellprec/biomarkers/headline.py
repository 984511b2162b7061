"""The honest answer about one outcome, in one sentence or three."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellprec.biomarkers.associate import ASSOCIATED, CANNOT_TELL, CONFOUNDED
from cellprec.biomarkers.predict import BETTER, CLINICAL, NO_GAIN, WITHIN

if TYPE_CHECKING:
    import pandas as pd

    from cellprec.biomarkers.predict import Prediction


def headline(associations: pd.DataFrame, prediction: Prediction | None, *, name: str) -> str:
    """Say in plain words what the features tell about the outcome, and what they do not.

    ``associations`` is the table of ``associate``, ``prediction`` what ``predict`` gave, ``name`` the outcome.

    >>> import pandas as pd
    >>> row = {"feature": "f", "n": 10, "n_positive": 2, "p": float("nan"), "verdict": "cannot tell: too few"}
    >>> headline(pd.DataFrame([row]), None, name="severe_icans")
    'Whether any feature goes along with severe icans in these 10 patients (2 with it) cannot be told: too few.'
    """
    said = name.replace("_", " ")
    sentences = [_association(associations, said=said, who=_who(associations, prediction))]
    followers = associations.loc[associations["verdict"] == CONFOUNDED, "feature"].tolist()
    if followers:
        more = f" and {len(followers) - 1} more" if len(followers) > 1 else ""
        looks = "look associated but follow" if more else "looks associated but follows"
        sentences.append(f"{followers[0]}{more} {looks} the batch.")
    if prediction is not None:
        sentences.append(_foretold(prediction.table, said=said))
    return " ".join(sentences)


def _who(associations: pd.DataFrame, prediction: Prediction | None) -> str:
    if prediction is not None and len(prediction.table):
        n, events = prediction.table["n"].max(), prediction.table["n_events"].max()
    elif len(associations):
        n, events = associations["n"].max(), associations["n_positive"].max()
    else:
        return "these patients"
    return f"these {n:.0f} patients ({events:.0f} with it)"


def _association(table: pd.DataFrame, *, said: str, who: str) -> str:
    tested = int(table["p"].notna().sum())
    if not tested:
        reasons = table["verdict"].str.removeprefix(f"{CANNOT_TELL}: ")
        why = reasons.mode().iloc[0] if len(reasons) else "no feature was measured"
        return f"Whether any feature goes along with {said} in {who} cannot be told: {why}."
    found = table[table["verdict"] == ASSOCIATED]
    if found.empty:
        return f"No feature goes along with {said} in {who}: none of {tested} tested passes a 5 % false discovery rate."
    top = found.iloc[0]
    first = (
        f"{top['feature']} goes along with {said} in {who}: {'higher' if top['effect'] > 0.5 else 'lower'} with it, "
        f"AUC {top['effect']:.2f} ({top['low']:.2f}–{top['high']:.2f}), q = {top['q']:.2g}"
    )
    others = len(found) - 1
    return first + (f"; {others} more of {tested} tested do too." if others else f"; the only one of {tested} tested.")


def _foretold(table: pd.DataFrame, *, said: str) -> str:
    models = table[(table["model"] != CLINICAL) & table["auc"].notna()]
    if models.empty:
        reason = table["verdict"].str.removeprefix(f"{CANNOT_TELL}: ").iloc[-1]
        return f"Whether {said} can be foretold in new patients cannot be told: {reason}."
    best = models.sort_values("p_permutation", kind="stable").iloc[0]
    numbers = (
        f"out-of-sample AUC {best['auc']:.2f} ({best['low']:.2f}–{best['high']:.2f}), p = {best['p_permutation']:.2g}"
    )
    clinic = table.loc[table["model"] == CLINICAL, "auc"].dropna()
    beside = f", beside {clinic.iloc[0]:.2f} from the clinical covariates alone" if len(clinic) else ""
    verdict = str(best["verdict"])
    more = f" beyond what its batch tells{beside}" if WITHIN in verdict else beside
    if not verdict.startswith(BETTER):
        return f"No model foretells it in patients it has not seen ({best['model']}: {numbers}{more})."
    adds = "; that it adds to them is not shown" if verdict.endswith(NO_GAIN) else ""
    return f"In patients it has not seen, the model of {best['model']} foretells it: {numbers}{more}{adds}."
