"""The page of planted heads: how often which head was first, how often one was named, and what else knows the class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
from scipy.stats import binomtest

from interp.report.tables import markdown, shown
from interp.runs.seeds import stream
from interp.stats import bootstrap_interval

if TYPE_CHECKING:
    from collections.abc import Mapping

# The world in which no head knows anything.
NO_HEAD = "no head"
# Heads are named at q under it; the shares that are wanted of runs (19 of 20) and of screens of nothing.
LEVEL, WANTED_FIRST, WANTED_NAMED = 0.05, 0.95, 0.05
# Representations without the model, by what the page calls them, and everything whose AUROC is shown.
WITHOUT = {
    "raw log1p": "raw log1p",
    "bag of tokens": "bag of tokens",
    "10 components": "PCA-10",
    "10 projections": "random projection-10",
}
KNOWN = (*WITHOUT, "other heads", "later heads", "planted head", "embedding")
INTERVAL = "95 % interval (binomial, exact)"
ABOUT = """\
Do the screens of probing and ablation find the one head that knows a class, and do they name none where none knows?

**Cells.** `interp.simulate`: {donors} donors, {cells} cells of all stages, {genes} genes. Two genes, drawn anew in
every run, get counts of their own, {low:g} or {high:g} in the mean, each state with chance 1/2 whatever else the cell
is. The class is whether the two agree: both high or both low. It is independent of each gene alone, so that no linear
readout of expression has it.

**Model.** scGPT's own initial weights, {layers} layers of {each} heads, width {width}, another draw in every run.
Edited, in all three worlds: (1) three orthonormal directions of the residual stream, orthogonal to the ones that
LayerNorm takes out, are kept free: taken out of the gene embeddings and out of what values, heads and MLPs write; (2)
the two genes' embeddings get the first of them, the marker; (3) the value encoder sees values as shares of the middle
bin and puts them, rising, on the second, the ramp; (4) the queries, keys and values of all heads and the inputs of
all MLPs are blind to the third, the out direction.

**The head that knows**, in the middle or in the last layer (which head of the layer is drawn): query constant, key =
{marker:g} x marker + {value:g} x ramp, value = ramp, and what it moves is written to the out direction, times
{written:g}. So it attends to whichever of the two genes is higher and writes how high that is: a soft maximum. It
writes the same to every token. Nobody later reads the out direction, so no later head and no MLP carries on what it
wrote, save by LayerNorm's common scale; the residual stream takes it to the embedding. With no head that knows, that
head keeps its initial weights and all else stays.

**How much it can know.** z of a head is a mean of values v weighted by exp(score), so z over a threshold t means a
sum over tokens of exp(score) (v - t) above zero: an additive function of the two genes, if the query does not depend
on them. Its sign is right in three of the four states at most, so a linear probe of z reaches a balanced accuracy of
about 0.75 and no more. The embedding holds more: beside the maximum it has what other heads read of each gene alone.

**Probing.** `interp.probe` of `z` at `<cls>`, balanced accuracy on donors never seen. {draws} draws of the control
task: p is at least 1 / (1 + {draws} x {heads}) = {pooled:.4f} by their pool and {flip:.1g} by the sign-flip over
donors; one head alone of {heads} needs p <= {level:g} / {heads} = {need:.4f} for q < {level:g}, so that every head
can be reported.

**Ablation.** `interp.ablate_heads`: z of the head replaced by its mean over cells, the drop in balanced accuracy of a
readout of the embedding that was frozen before, on donors it never saw. p by the sign-flip over donors, and no less
than p that the intact readout reads the class at all. Without that bound 8 of 120 screens on other seeds reported a
head where none knows, most of them missed by a readout at chance; with it 1 did. Where a head knows, the readout also
uses what other heads read of each gene alone, so others that are named beside it may be named rightly or not: these
runs cannot tell.

q is Benjamini-Hochberg over the {heads} heads of a screen. A head that ties with the planted one counts as before it.
The weights, scores and sizes above were set on seeds under 1000; the runs below have the seeds from {first} on.
One run on one core that was shared with other work: {cost} (medians); {minutes:.0f} minutes for the {number} runs.

Made by `python artifacts/recipes/planted_heads.py`."""
KNOWERS = """\
## What else knows it

AUROC on donors never seen: chance is 0.5. The same probe without the model (raw log1p of all genes, which genes are
tokens, ten principal components, ten random projections), on z of all heads but the planted one (their mean in a run),
of those in later layers, of the planted head, and on the embedding.

"""


def page(runs: pd.DataFrame, about: Mapping[str, Any]) -> str:
    """Write the counts as Markdown; runs that are not there are not counted and not guessed."""
    parts = [
        "# Planted heads",
        ABOUT.format(**about),
        "## One head knows\n\nThe head's rank among all heads by the score, its own and that of the best other head "
        "(means over runs), and heads at q < "
        f"{LEVEL:g}.\n\n" + markdown(_counts(runs[runs["world"] != NO_HEAD])),
        f"## No head knows\n\nScreens that report any head at q < {LEVEL:g}, by the score that decides and by any of "
        "the three metrics.\n\n" + markdown(_named(runs[runs["world"] == NO_HEAD])),
        KNOWERS + markdown(_known(runs[runs["method"] == "probing"])),
    ]
    return "\n\n".join(parts) + "\n"


def _interval(n: int, of: int) -> str:
    found = binomtest(n, of).proportion_ci(0.95, method="exact")
    return f"{shown(found.low)} to {shown(found.high)}"


def _counts(runs: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for (world, method), own in runs.groupby(["world", "method"], sort=False):
        n = int((own["rank"] == 1).sum())
        rows.append(
            {
                "knows": world, "screen": method, "runs": len(own), "first": n, "share": n / len(own),
                INTERVAL: _interval(n, len(own)), "wanted": f">= {WANTED_FIRST:g}",
                "holds": n / len(own) >= WANTED_FIRST, "score": own["value"].mean(),
                "least": own["value"].min(), "best other": own["best other"].mean(),
                "largest other": own["best other"].max(), "at q under the level": int((own["q"] < LEVEL).sum()),
                "runs with others at it": int((own["others named"] > 0).sum()),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _named(runs: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for method, own in runs.groupby("method", sort=False):
        n, every = int((own["named"] > 0).sum()), int((own["named by any metric"] > 0).sum())
        rows.append(
            {
                "screen": method, "screens": len(own), "report a head": n, "share": n / len(own),
                INTERVAL: _interval(n, len(own)), "wanted": f"<= {WANTED_NAMED:g}",
                "holds": n / len(own) <= WANTED_NAMED, "by any metric": every,
                "share by any": every / len(own), "smallest p seen": own["smallest p"].min(),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _known(runs: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for world, own in runs.groupby("world", sort=False):
        for what in KNOWN:
            values = own[what].dropna().to_numpy(float)
            if len(values):
                lo, hi = bootstrap_interval(values, rng=stream(0, "planted heads page", f"{world} {what}"))
                rows.append(
                    {
                        "knows": world, "probe of": what, "runs": len(values), "AUROC": values.mean(),
                        "95 % interval over runs": f"{shown(lo)} to {shown(hi)}", "least": values.min(),
                        "most": values.max(),
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)
