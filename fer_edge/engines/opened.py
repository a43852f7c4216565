"""What an engine that was opened of an artifact is checked for, and told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from fer_edge.engines.base import DescribedEngine
from fer_edge.errors import ArtifactError, EngineError, EngineLoadError

if TYPE_CHECKING:
    from fer_edge.artifact import Artifact

Opened = TypeVar("Opened", bound=DescribedEngine)


def of_file(file: str, error: EngineError) -> EngineError:
    """The error, naming the file."""
    if file in error.message:
        return error
    return type(error)(f"{file}: {error.message}", hint=error.hint)


def telling(
    engine: Opened,
    file: str | None,
    passed_over: Iterable[EngineError],
    choice: str | None = None,
) -> Opened:
    """Let :meth:`Engine.describe` say what was loaded, instead of what, and why."""
    reasons = tuple(error.message for error in passed_over)
    engine.add_facts(file=file, passed_over=reasons, choice=choice)
    return engine


def keeps_contract(engine: Opened, artifact: Artifact, file: str) -> Opened:
    """The engine; ArtifactError if it takes other faces or gives others labels than is recorded."""
    have, wanted = engine.describe().contract, artifact.contract
    if have != wanted:
        engine.close()
        raise ArtifactError(
            f"The manifest gives {artifact.folder / file} as {wanted}, and it is {have}.",
            hint="Export the model again.",
        )
    return engine


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Say of which file an EngineLoadError is."""
    try:
        yield
    except EngineLoadError as error:
        raise EngineLoadError(f"{path}: {error.message}", hint=error.hint) from error
