"""The page and the figures of an extraction, written from its tables."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pandas as pd

from interp.evidence import ORDER
from interp.evidence.factor_ablation import OVERALL
from interp.report.tables import markdown, shown
from interp.runs.files import new_folder, write_text

if TYPE_CHECKING:
    from pathlib import Path

TOP_FACTORS = 8
TOP_GENES = 10
TOP_PROGRAMS = 3
LEVEL = 0.05
FOLDING = (
    "Operator and adaptor are both linear, so together they are one matrix of genes x latents and an offset: the "
    "folded map gives the same latents to rounding, at about 47 kB for 1,200 genes, whatever the operator weighed. "
    "Low rank and sparsity therefore save nothing that folding does not; they serve reading, and are shown for what "
    "they lose."
)
IMPACT = (
    "The impact of a factor is the mean drop of the endpoints in test donors when its activation is set to the "
    "training mean, adaptors and references staying as they were fitted. Impact concentrates in any basis to some "
    "degree: the same operator in random rotated bases says how far."
)


def write_extraction(run: Path, out: Path, title: str) -> None:
    """Write `extraction.md`.

    Parameters
    ----------
    run
        Run folder, for the verdict.
    out
        Folder of the extraction's tables; the page goes there.
    title
        What was studied, for the heading.
    """
    parts = [
        f"# Extraction from {title}",
        _headline(run, out),
        "## Compaction\n\n" + _chain(out),
        "## Adaptors\n\n" + _adaptors(out),
        "## Readouts\n\n" + _readouts(out),
        "## Factors\n\n" + _factors(out),
        "## Gene programs of the factors\n\n" + _programs(out),
        "## Genes of the folded map\n\n" + _genes(out),
        "## Operators kept\n\n" + _operators(out),
    ]
    write_text(out / "extraction.md", "\n\n".join(parts) + "\n")


def _headline(run: Path, out: Path) -> str:
    judged = json.loads((run / "verdict.json").read_text())["endpoints"].get(ORDER)
    steps = pd.read_csv(out / "chain.csv").set_index(["step", "endpoint"])
    said = "not judged" if judged is None else f"{judged['readable']['status']}, {judged['model_specific']['status']}"
    words = f"**What was extracted is {said} (order of a left-out stage); see `summary.md`.**"
    at = [(step, ORDER) for step in ("top head", "folded map")]
    if all(key in steps.index for key in at):
        top, folded = (steps.loc[key] for key in at)
        words += (
            f" The top head scores {shown(float(top['value']))} in {shown(float(top['size_bytes']) / 1e6)} MB, folded "
            f"{shown(float(folded['value']))} in {shown(float(folded['size_bytes']) / 1e3)} kB (largest relative "
            f"difference of a latent {shown(float(folded['latent_difference']))})."
        )
    return words


def _chain(out: Path) -> str:
    steps, losses = pd.read_csv(out / "chain.csv"), pd.read_csv(out / "chain_losses.csv")
    values = steps.pivot_table(index="step", columns="endpoint", values="value", sort=False, dropna=False)
    sizes = steps.drop_duplicates("step").set_index("step")[["size_bytes", "n_parameters", "chain_bytes"]]
    text = [FOLDING, markdown(sizes.join(values).reset_index())]
    if len(losses):
        text.append(
            "Losses against the top head, donor by donor (Benjamini-Hochberg over all rows):\n\n" + markdown(losses)
        )
    return "\n\n".join(text)


def _adaptors(out: Path) -> str:
    table, compared = pd.read_csv(out / "adaptors.csv"), pd.read_csv(out / "adaptor_comparison.csv")
    keys = ["variant", "n_latent", "topology"]
    endpoints = [name for name in table if name in set(pd.read_csv(out / "adaptor_values.csv")["endpoint"])]
    means = table.groupby(keys, sort=False, dropna=False)[["inner", *endpoints, "n_parameters", "n_iter"]].mean()
    chosen = table.groupby(keys, sort=False, dropna=False)["chosen"].sum().rename("chosen in splits")
    return "\n\n".join([
        "Maps fitted to anchors, to cells, and to cells with the anchors' topology as a prior, over latent sizes and "
        "weights of that prior, each tuned on training donors (`inner` is that criterion, and alone chooses); means "
        "over splits, endpoints on unseen donors:",
        markdown(means.join(chosen).reset_index()),
        "Variants against each other, each as chosen on training donors, donor by donor:\n\n" + markdown(compared),
    ])  # fmt: skip


def _readouts(out: Path) -> str:
    table = pd.read_csv(out / "readouts.csv")
    table["mean and interval"] = [
        f"{shown(row.value)} ({shown(row.lo)} to {shown(row.hi)})" for row in table.itertuples()
    ]
    wide = table.pivot_table(
        index=["readout", "metric"], columns="layers", values="mean and interval", aggfunc="first", sort=False
    )
    sizes = table.pivot_table(index="readout", columns="layers", values="n_parameters", aggfunc="max", sort=False)
    return (
        "Fitted on cells of training donors and read in cells of the others, donor by donor (mean, 95 % over donors); "
        "temperatures come from donors held out of the training ones. Parameters that each stores, the coefficients, "
        "intercepts and temperature of a split's readout counted:\n\n"
        + markdown(sizes.reset_index())
        + "\n\n"
        + markdown(wide.reset_index())
    )


def _factors(out: Path) -> str:
    impact = pd.read_csv(out / "factor_impact.csv")
    overall = impact[(impact["endpoint"] == OVERALL) & (impact["surrogate"] == impact["surrogate"].iloc[0])]
    columns = ["factor", "rank", "impact", "lo", "hi", "share", "cumulative", "strength", "likeness"]
    top = overall.sort_values("rank").head(TOP_FACTORS)[columns]
    concentration = pd.read_csv(out / "factor_concentration.csv")
    overlap = pd.read_csv(out / "factor_overlap.csv")
    which = (
        f"Of {impact['operator'].iloc[0]}, the best single head on all donors; every split makes it anew from its "
        "training donors. (The chain above follows each split's own choice, so its values differ.)"
    )
    return "\n\n".join([
        f"{which} {IMPACT}",
        markdown(top),
        "How much of the total impact the top factors carry, beside rotated bases of the same operator:\n\n"
        + markdown(concentration[concentration["endpoint"] == OVERALL].drop(columns="endpoint")),
        "The core alone, chosen on donors of other splits, beside random cores of its size:\n\n"
        + markdown(pd.read_csv(out / "factor_core.csv")),
        "Subsets of the top four:\n\n" + markdown(_subsets(out)),
        "Genes shared with the hard sparse surrogate:\n\n" + markdown(overlap[overlap["factor"] == "core"]),
    ])  # fmt: skip


def _subsets(out: Path) -> pd.DataFrame:
    table = pd.read_csv(out / "factor_subsets.csv", keep_default_na=True)
    return table[table["endpoint"] == ORDER]


def _programs(out: Path) -> str:
    table = pd.read_csv(out / "factor_programs.csv")
    tested = table[table["status"] == "tested"]
    found = tested[tested["q"] < LEVEL].sort_values(["factor", "q"])
    skipped = (table["status"] != "tested").sum()
    text = (
        f"{len(found)} of {len(tested)} pairs of a gene list and a program at q < {LEVEL:g} (hypergeometric, "
        f"background: the panel's genes; {skipped} programs are too small on it). `rotated_share` is the share of "
        "random mixtures of the same factors that share as many genes: where it is high, the panel and not the factor "
        "holds the program."
    )
    best = found.groupby(["factor", "side"], sort=True).head(TOP_PROGRAMS)
    columns = ["factor", "side", "program", "n_overlap", "expected", "fold", "q", "rotated_share", "genes"]
    return f"{text}\n\n{markdown(best[columns])}" if len(best) else text


def _genes(out: Path) -> str:
    table = pd.read_csv(out / "attribution.csv")
    rows = []
    for contrast, found in table.groupby("contrast", sort=False):
        sure = found[(found["lo"] > 0) | (found["hi"] < 0)].sort_values("rank")
        sides = {"up": sure[sure["weight"] > 0], "down": sure[sure["weight"] < 0]}
        names = {side: ", ".join(part["gene"].head(TOP_GENES)) or "-" for side, part in sides.items()}
        first = found.iloc[0]
        rows.append({
            "contrast": contrast, "from": first["negative"], "to": first["positive"],
            "genes whose interval leaves 0 out": f"{len(sure)} of {len(found)}", **names,
        })  # fmt: skip
    return (
        "Weights of the folded map along each contrast, for one sd of a gene; intervals by resampling donors and "
        "fitting anew, gene by gene (not corrected for their number). These are the map's genes, not causes.\n\n"
        + markdown(pd.DataFrame(rows))
    )


def _operators(out: Path) -> str:
    return "Each as `operators/NAME.safetensors`, rows to columns; `in` is its transpose.\n\n" + markdown(
        pd.read_csv(out / "operators.csv").drop(columns="orientation")
    )


def draw_extraction(out: Path) -> None:
    """Draw the chain, the factors' impact and loadings, and the genes of the main contrasts into `figures/`.

    Parameters
    ----------
    out
        Folder of the extraction's tables.
    """
    from interp.figures import (
        adaptor_curves,
        adaptor_sweep,
        attribution_forest,
        compaction_chain,
        factor_impact,
        factor_loadings,
        impact_concentration,
        save,
        style,
    )

    steps, losses = pd.read_csv(out / "chain.csv"), pd.read_csv(out / "chain_losses.csv")
    impact, curves = pd.read_csv(out / "factor_impact.csv"), pd.read_csv(out / "factor_curves.csv")
    genes, table = pd.read_csv(out / "factor_genes.csv"), pd.read_csv(out / "attribution.csv")
    label = "order of a left-out stage (Spearman)"
    adaptors, values = pd.read_csv(out / "adaptors.csv"), pd.read_csv(out / "adaptor_values.csv")
    with new_folder(out / "figures") as folder, style():
        save(adaptor_curves(pd.read_csv(out / "adaptor_curves.csv")), folder / "adaptor_curves")
        for over in ("n_latent", "topology"):
            save(adaptor_sweep(adaptors, values, over=over, endpoint=ORDER, label=label), folder / f"adaptor_{over}")
        save(compaction_chain(steps, endpoint=ORDER, losses=losses, label=label).figure, folder / "chain")
        save(factor_impact(impact, surrogate=impact["surrogate"].iloc[0]).figure, folder / "factor_impact")
        save(impact_concentration(curves).figure, folder / "factor_concentration")
        overall = impact[(impact["endpoint"] == OVERALL) & (impact["surrogate"] == impact["surrogate"].iloc[0])]
        top = overall.sort_values("rank")["factor"].head(TOP_FACTORS).tolist()
        for side in ("read", "write"):
            save(factor_loadings(genes, side=side, factors=top).figure, folder / f"factor_genes_{side}")
        for number, contrast in enumerate(_drawn_contrasts(table)):
            save(attribution_forest(table, contrast=contrast).figure, folder / f"genes_{number}")


def _drawn_contrasts(table: pd.DataFrame) -> list[str]:
    """Name the stage axis and the pairs; the other contrasts are in the table."""
    kinds = table.drop_duplicates("contrast").set_index("contrast")["kind"]
    return [name for name, kind in kinds.items() if kind == "pair" or name == "stage axis"]
