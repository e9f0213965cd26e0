"""What a measurement gives: a number with its interval and its null, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["pass", "fail", "not computable"]
NAN = float("nan")


@dataclass(frozen=True)
class Measured:
    """A number, or why there is none.

    Attributes
    ----------
    value
        The number; NaN when not computable.
    reason
        Why it is not computable; empty when it is.
    lo, hi
        Bounds of its interval; NaN where none was asked for or can be given.
    null_mean, null_sd
        Mean and standard deviation of the same measure on draws of its null; NaN where it has none.

    Examples
    --------
    >>> Measured(0.9).against(0.8), Measured.missing("one donor").against(0.8)
    ('pass', 'not computable')
    """

    value: float
    reason: str = ""
    lo: float = NAN
    hi: float = NAN
    null_mean: float = NAN
    null_sd: float = NAN

    @classmethod
    def missing(cls, reason: str) -> Measured:
        """Return what is not computable, for the given reason."""
        return cls(NAN, reason)

    @property
    def computable(self) -> bool:
        """Whether there is a number."""
        return not self.reason

    def against(self, threshold: float, *, higher_is_better: bool = True) -> Status:
        """Compare with a threshold, itself included: pass, fail, or not computable, which is neither."""
        if not self.computable or self.value != self.value:
            return "not computable"
        return "pass" if (self.value >= threshold if higher_is_better else self.value <= threshold) else "fail"
