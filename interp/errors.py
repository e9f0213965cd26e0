"""The errors that the package raises; all of them are `InterpError`."""


class InterpError(Exception):
    """Base of every error that the package raises on purpose."""


class InputError(InterpError):
    """What the user gave cannot be used: cells, columns, options or paths."""


class VocabularyError(InputError):
    """Genes of a panel and of a model's vocabulary do not meet."""


class CheckpointError(InterpError):
    """A model checkpoint is unsafe, incomplete or contradicts its own configuration."""


class StoreError(InterpError):
    """A store on disk is missing, of another schema, or does not hold what was asked for."""


class UnfinishedError(StoreError):
    """A store could not be filled to its end; what is written is kept, and the same call continues."""


class IntegrityError(InterpError):
    """A file is not what its manifest says."""


class DownloadError(InterpError):
    """A file could not be fetched; what came so far is kept, and the same call continues."""


class DependencyError(InterpError):
    """An optional package that this work needs is not installed."""
