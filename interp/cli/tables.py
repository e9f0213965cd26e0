"""Plain aligned tables for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interp.scgpt.fit_check import FitCheck
    from interp.scgpt.model import HookedScGPT

NONE = "none"


def aligned(rows: Sequence[tuple[str, object]]) -> str:
    """Write names and values in two columns.

    Examples
    --------
    >>> print(aligned([("layers", 6), ("d_model", 128)]))
    layers   6
    d_model  128
    """
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {value}" for name, value in rows)


def key_rows(
    loaded: int,
    missing: Sequence[str],
    misshaped: Sequence[Sequence[Any]],
    unused: Sequence[str],
    *,
    extra: str = "extra keys",
) -> list[tuple[str, object]]:
    """Return the rows that say which keys of a checkpoint a model uses; `extra` names those that it does not."""
    shapes = [f"{name} {list(given)} for {list(expected)}" for name, given, expected in misshaped]
    rows = [("loaded keys", loaded), ("missing keys", ", ".join(missing) or NONE)]
    rows += [("misshaped keys", ", ".join(shapes))] if shapes else []
    return [*rows, (extra, ", ".join(unused) or NONE)]


def model_rows(found: dict[str, Any]) -> list[tuple[str, object]]:
    """Return the rows that describe a checkpoint, from `describe_checkpoint`."""
    keys = key_rows(found["loaded"], found["missing"], found["misshaped"], found["extra"])
    return [
        ("folder", found["folder"]),
        ("weights", found["weights"]),
        *found["config"].items(),
        ("genes", f"{found['genes']:,} and {found['special_tokens']} special tokens"),
        ("parameters", f"{found['parameters']:,}"),
        ("hook points", found["hook_points"]),
        ("key style", found["key_style"]),
        *keys,
        ("published", "the whole-human scGPT, all files" if found["is_scgpt_human"] else "no"),
    ]


def fit_rows(found: FitCheck, n_genes: int) -> list[tuple[str, object]]:
    """Return the rows that sum up how a model fits a panel of `n_genes` genes."""
    own, mean = found.r2
    verdict = "no better than gene means" if not found.fits else "yes, with warnings" if found.warnings else "yes"
    return [
        (
            "masked values",
            f"R2 {own:.3f} of the model, {mean:.3f} of each gene's mean; the loss is mse, in squared bins",
        ),
        (
            "genes",
            f"{len(found.match.matched):,} of {n_genes:,} known, with {found.match.count_share:.1%} of the counts",
        ),
        ("fits", verdict),
    ]


def file_table(files: Sequence[dict[str, Any]]) -> str:
    """Write name, size, sum and origin of files, one a line."""
    head = f"{'file':17}  {'bytes':>13}  {'sha256':64}  published as"
    rows = [f"{f['name']:17}  {f['bytes']:>13,}  {f['sha256']}  {f['published'] or NONE}" for f in files]
    return "\n".join([head, *rows])


def site_table(model: HookedScGPT) -> str:
    """Write the kinds of activations of a model: the word for `--sites`, the layers, and the shape for one cell."""
    from interp.capture.catalogue import site_kinds

    rows = [("site", "layers", "shape for one cell")]
    for kind in site_kinds(model):
        layers = f"{kind.layers[0]} to {kind.layers[-1]}" if kind.layers else "-"
        rows.append((kind.word, layers, " x ".join("token" if size is None else str(size) for size in kind.shape)))
    first, second = (max(len(row[i]) for row in rows) for i in (0, 1))
    return "\n".join(f"{word:{first}}  {layers:{second}}  {shape}" for word, layers, shape in rows)
