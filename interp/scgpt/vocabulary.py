"""The vocabulary of an scGPT model: gene symbols and special tokens, each with its row in the gene embedding."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from interp.errors import VocabularyError

PAD = "<pad>"
CLS = "<cls>"
# The published whole-human vocabulary is 1.3 MB with 60,697 entries (scGPT 0.2.4).
MAX_VOCABULARY_BYTES = 64 * 2**20
MAX_VOCABULARY = 1_000_000
SHOWN = 8
MAX_NAME = 120


class Vocabulary:
    """Gene symbols and special tokens of a model, in the order of their ids.

    Names written like ``<pad>`` are special tokens; they are never matched by a gene of that name.

    Parameters
    ----------
    symbols
        All entries; an entry's position is its id.

    Raises
    ------
    VocabularyError
        A name is not a text or stands twice, or ``<pad>`` or ``<cls>`` is not there.

    Examples
    --------
    >>> vocabulary = Vocabulary(["<pad>", "<cls>", "CD34", "GATA1"])
    >>> vocabulary.ids(["GATA1", "CD34"]).tolist()
    [3, 2]
    >>> "<pad>" in vocabulary
    False
    """

    def __init__(self, symbols: Sequence[str]) -> None:
        self.symbols = tuple(symbols)
        _check_symbols(self.symbols)
        self.genes = tuple(symbol for symbol in self.symbols if not is_special(symbol))
        self._id_of = {symbol: index for index, symbol in enumerate(self.symbols)}
        self._gene_set = frozenset(self.genes)
        self.sha256 = hashlib.sha256(json.dumps(self.symbols, ensure_ascii=True).encode()).hexdigest()

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, int]) -> Vocabulary:
        """Make a vocabulary from a mapping of symbol to id.

        Parameters
        ----------
        mapping
            Symbol to id; the ids are 0 to n - 1, each used once, in any order.

        Returns
        -------
        Vocabulary

        Raises
        ------
        VocabularyError
            The ids are not a permutation of 0 to n - 1, or as for the constructor.
        """
        if len(mapping) > MAX_VOCABULARY:
            msg = f"the vocabulary has {len(mapping):,} entries; at most {MAX_VOCABULARY:,} are accepted"
            raise VocabularyError(msg)
        _check_ids(mapping)
        return cls(sorted(mapping, key=mapping.__getitem__))

    @classmethod
    def read(cls, path: str | Path) -> Vocabulary:
        """Read a published ``vocab.json`` (symbol to id).

        Parameters
        ----------
        path
            The file.

        Returns
        -------
        Vocabulary

        Raises
        ------
        VocabularyError
            The file is missing, too large, not such a mapping, or its ids are no permutation.
        """
        path = Path(path)
        try:
            return cls.from_mapping(_read_mapping(path))
        except VocabularyError as error:
            msg = f"{path}: {error}"
            raise VocabularyError(msg) from error
        except OSError as error:
            msg = f"{path} cannot be read: {error.strerror or error}"
            raise VocabularyError(msg) from error

    def __len__(self) -> int:
        """Return the number of entries, special tokens included."""
        return len(self.symbols)

    def __contains__(self, gene: object) -> bool:
        """Tell whether a gene is in the vocabulary; a special token is none."""
        return gene in self._gene_set

    def __eq__(self, other: object) -> bool:
        """Compare entries and their ids."""
        return self.symbols == other.symbols if isinstance(other, Vocabulary) else NotImplemented

    def __hash__(self) -> int:
        """Hash the entries."""
        return hash(self.sha256)

    def __repr__(self) -> str:
        """Return the numbers of genes and special tokens."""
        return f"Vocabulary({len(self.genes):,} genes, {len(self) - len(self.genes)} special tokens)"

    @property
    def pad_id(self) -> int:
        """Id of the padding token."""
        return self._id_of[PAD]

    @property
    def cls_id(self) -> int:
        """Id of the token that stands for the whole cell."""
        return self._id_of[CLS]

    def ids(self, genes: Iterable[str]) -> np.ndarray:
        """Return the ids of genes.

        Parameters
        ----------
        genes
            Gene symbols, all in the vocabulary (test one with ``gene in vocabulary``).

        Returns
        -------
        numpy.ndarray
            int64 (gene,).

        Raises
        ------
        VocabularyError
            A gene is not in the vocabulary, or is the name of a special token.
        """
        genes = list(genes)
        unknown = [gene for gene in genes if gene not in self._gene_set]
        if unknown:
            msg = (
                f"{len(unknown)} of {len(genes)} genes are not in the vocabulary of {len(self.genes):,} symbols "
                f"({some(unknown)}); leave them out, or map Ensembl ids and aliases to symbols first"
            )
            raise VocabularyError(msg)
        return np.fromiter((self._id_of[gene] for gene in genes), dtype=np.int64, count=len(genes))

    def to_mapping(self) -> dict[str, int]:
        """Return symbol to id, as ``vocab.json`` holds it."""
        return dict(self._id_of)


def is_special(symbol: str) -> bool:
    """Tell whether a vocabulary entry is a special token, written like ``<pad>``.

    Parameters
    ----------
    symbol
        A vocabulary entry.

    Returns
    -------
    bool
    """
    return symbol.startswith("<") and symbol.endswith(">")


def _read_mapping(path: Path) -> dict[str, int]:
    size = path.stat().st_size
    if size > MAX_VOCABULARY_BYTES:
        msg = f"the file has {size:,} bytes; a vocabulary has at most {MAX_VOCABULARY_BYTES:,}"
        raise VocabularyError(msg)
    try:
        mapping = json.loads(path.read_bytes(), object_pairs_hook=_unique_pairs)
    except VocabularyError:
        raise
    except (ValueError, RecursionError) as error:
        msg = f"not valid JSON ({error}); expected a vocab.json as scGPT publishes it"
        raise VocabularyError(msg) from error
    if not isinstance(mapping, dict):
        msg = f"holds a {type(mapping).__name__}; expected an object of gene symbol to id"
        raise VocabularyError(msg)
    return mapping


def _check_symbols(symbols: tuple[str, ...]) -> None:
    odd = [symbol for symbol in symbols if not isinstance(symbol, str) or not symbol]
    if odd:
        msg = f"a vocabulary entry is a non-empty text; got {some(odd)}"
        raise VocabularyError(msg)
    if len(set(symbols)) != len(symbols):
        msg = f"vocabulary entries stand twice: {some(_repeated(symbols))}"
        raise VocabularyError(msg)
    absent = [token for token in (PAD, CLS) if token not in symbols]
    if absent:
        msg = f"the vocabulary lacks the special tokens {', '.join(absent)}, which every scGPT model needs"
        raise VocabularyError(msg)


def _check_ids(mapping: Mapping[str, int]) -> None:
    odd = [symbol for symbol, index in mapping.items() if not isinstance(index, int) or isinstance(index, bool)]
    if odd:
        msg = f"an id is a whole number; it is not for {some(odd)}"
        raise VocabularyError(msg)
    n = len(mapping)
    outside = [f"{symbol}={index}" for symbol, index in mapping.items() if not 0 <= index < n]
    if outside or len(set(mapping.values())) != n:
        what = f"{some(outside)} lie outside" if outside else f"{n - len(set(mapping.values()))} are used twice"
        msg = f"the ids of {n} entries must be 0 to {n - 1}, each once, for they are rows of the embedding; {what}"
        raise VocabularyError(msg)


def _unique_pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        msg = f"names stand twice: {some(_repeated([name for name, _ in pairs]))}"
        raise VocabularyError(msg)
    return found


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def some(items: Iterable[object]) -> str:
    """Name the first few of some things for a message, and say how many more there are.

    Parameters
    ----------
    items
        What to name.

    Returns
    -------
    str
    """
    items = list(items)
    shown = ", ".join(str(item)[:MAX_NAME] for item in items[:SHOWN])
    return shown + (f" and {len(items) - SHOWN} more" if len(items) > SHOWN else "")
