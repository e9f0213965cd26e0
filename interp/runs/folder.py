"""Run folders: resumable steps whose inputs and outputs are recorded by hash."""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from interp import __version__
from interp.errors import InputError, IntegrityError
from interp.runs.environment import environment
from interp.runs.files import remove_asides, sha256_json, sha256_path, write_json
from interp.runs.lock import folder_lock

logger = logging.getLogger(__name__)

SCHEMA = 1
MANIFEST = "manifest.json"
CONFIG = "config.json"
LOG = "log.txt"
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class RunFolder:
    """One run on disk; made by `RunFolder.open`.

    A step is run when its inputs, or the package's version, differ from those recorded, or when an output is missing
    or changed. It is recorded only after its outputs stand, so a run that is killed at any moment repeats the step it
    was in and nothing before it.

    Parameters
    ----------
    path
        The folder.
    manifest
        What is recorded so far.
    """

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path = path
        self.manifest = manifest
        self._owner_of: dict[str, str] = {}

    @classmethod
    @contextmanager
    def open(cls, path: str | Path, config: Mapping[str, Any]) -> Iterator[Self]:
        """Open a new run folder or an earlier one, for this process alone.

        Parameters
        ----------
        path
            The folder; made when missing.
        config
            The user's choices, written to ``config.json``. A changed choice redoes those steps that have it among
            their inputs.

        Yields
        ------
        RunFolder
            Its messages also go to ``log.txt``.

        Raises
        ------
        InputError
            The path is a file, a folder of something else, or in use by another process.
        IntegrityError
            The manifest cannot be read.
        """
        path = Path(path)
        if path.exists() and not path.is_dir():
            msg = f"{path} is a file; give a folder for the run."
            raise InputError(msg)
        manifest = _read_manifest(path)
        path.mkdir(parents=True, exist_ok=True)
        with folder_lock(path):
            # Read again: the run that held the lock until now may have gone on.
            run = cls(path, _read_manifest(path) or manifest)
            run.manifest["environment"] = environment()
            run._write_manifest()
            write_json(path / CONFIG, config)
            with _logging_to(path / LOG):
                left = remove_asides(path)
                if left:
                    logger.info("Removed %d unfinished files of an interrupted run.", left)
                yield run

    def step(
        self,
        name: str,
        *,
        inputs: Mapping[str, Any],
        outputs: Sequence[str],
        make: Callable[[Path], object],
    ) -> bool:
        """Run one step unless its recorded outputs stand and its inputs are the same.

        Parameters
        ----------
        name
            The step.
        inputs
            All that the outputs depend on: options, and hashes of files (`RunFolder.sha256`). Has a JSON form.
        outputs
            Files and folders that the step makes, relative to the run folder.
        make
            Called with the run folder; writes every output by `interp.runs.files`.

        Returns
        -------
        bool
            Whether the step ran.

        Raises
        ------
        InputError
            An output is outside the folder, or belongs to another step.
        IntegrityError
            The step ended without one of its outputs.
        """
        self._claim(name, outputs)
        inputs_sha256 = sha256_json({"version": __version__, "inputs": inputs})
        if self._stands(name, inputs_sha256, outputs):
            logger.info("%s: done before, inputs unchanged.", name)
            return False
        if self.manifest["steps"].pop(name, None) is not None:
            self._write_manifest()
        logger.info("%s: started.", name)
        started = time.monotonic()
        make(self.path)
        missing = [output for output in outputs if not (self.path / output).exists()]
        if missing:
            msg = f"The step {name!r} ended without its outputs {missing} in {self.path}; the step must write them."
            raise IntegrityError(msg)
        seconds = time.monotonic() - started
        for other, record in list(self.manifest["steps"].items()):
            if set(record["outputs"]) & set(outputs):
                del self.manifest["steps"][other]
        self.manifest["steps"][name] = {
            "inputs": inputs_sha256,
            "outputs": {output: sha256_path(self.path / output) for output in outputs},
            "seconds": round(seconds, 1),
        }
        self._write_manifest()
        logger.info("%s: done in %.1f s.", name, seconds)
        return True

    def sha256(self, output: str) -> str:
        """Return the recorded hash of an output, for the inputs of a later step.

        Parameters
        ----------
        output
            File or folder that an earlier step made, relative to the run folder.

        Returns
        -------
        str
            64 hex digits.

        Raises
        ------
        InputError
            No recorded step made it.
        """
        for step in self.manifest["steps"].values():
            if output in step["outputs"]:
                return str(step["outputs"][output])
        msg = f"No step of {self.path} has made {output!r}; made so far: {self.outputs()}."
        raise InputError(msg)

    def outputs(self) -> list[str]:
        """List the outputs of all recorded steps, relative to the run folder, by name."""
        return sorted(output for step in self.manifest["steps"].values() for output in step["outputs"])

    def _stands(self, name: str, inputs_sha256: str, outputs: Sequence[str]) -> bool:
        record = self.manifest["steps"].get(name)
        if record is None or record["inputs"] != inputs_sha256 or set(record["outputs"]) != set(outputs):
            return False
        for output, recorded in record["outputs"].items():
            path = self.path / output
            if not path.exists():
                logger.info("%s: %s is gone, so it is made again.", name, output)
                return False
            if sha256_path(path) != recorded:
                logger.warning("%s: %s is not what was recorded, so it is made again.", name, output)
                return False
        return True

    def _claim(self, name: str, outputs: Sequence[str]) -> None:
        for output in outputs:
            target = (self.path / output).resolve()
            if not target.is_relative_to(self.path.resolve()) or output in {"", ".", MANIFEST, CONFIG, LOG}:
                msg = f"The step {name!r} names the output {output!r}; give a path of its own inside the run folder."
                raise InputError(msg)
            owner = self._owner_of.setdefault(output, name)
            if owner != name:
                msg = f"Both {owner!r} and {name!r} name the output {output!r}; give each step its own."
                raise InputError(msg)

    def _write_manifest(self) -> None:
        write_json(self.path / MANIFEST, self.manifest)


def _read_manifest(path: Path) -> dict[str, Any]:
    """Read what a run folder records; nothing yet for a new one."""
    file = path / MANIFEST
    if not file.exists():
        names = [item.name for item in path.iterdir()] if path.exists() else []
        foreign = sorted(name for name in names if not name.startswith("."))
        if foreign:
            msg = f"{path} holds {foreign[:5]} but no {MANIFEST}: not a run folder; give a new or an empty one."
            raise InputError(msg)
        return {"schema": SCHEMA, "steps": {}}
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        schema = manifest["schema"]
        well_formed = all({"inputs", "outputs"} <= set(step) for step in manifest["steps"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{file} is not the manifest of a run ({error!r}); give a new folder, or delete this one."
        raise IntegrityError(msg) from error
    if schema != SCHEMA or not well_formed:
        msg = f"{file} has schema {schema!r}, but this version reads {SCHEMA}; give a new folder, or delete this one."
        raise IntegrityError(msg)
    return dict(manifest)


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Append the package's messages to a file."""
    package = logging.getLogger("interp")
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    level = package.level
    package.addHandler(handler)
    if not package.isEnabledFor(logging.INFO):
        package.setLevel(logging.INFO)
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.setLevel(level)
        handler.close()
