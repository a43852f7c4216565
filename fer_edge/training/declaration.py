"""Options that are declared once, as fields of a dataclass.

The command line, the reader of recipes, the checks and the reference page are made from them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import annotated_types


@dataclass(frozen=True)
class Option:
    """What a field is to people, as metadata of its type: ``Annotated[float, Gt(0), Option(…)]``.

    Its name, type and default are the field's, its bounds those of ``annotated_types`` beside it.
    """

    help: str
    table: str
    """Of recipes, and the group under ``--help``."""
    key: str | None = None
    """In the table, where it is not the field's name."""
    flag: str | None = None
    """On the command line, where it is not the field's name: a list's option is given one by one,
    and has a name in the singular."""
    short: str | None = None
    """On the command line, too: ``-m``."""
    unset: str | None = None
    """What None stands for."""
    path: bool = False
    """A file or folder; lists of them, too."""
    published: bool = False
    """A name of :func:`~fer_edge.models.published.published_models` is a path, too."""


@dataclass(frozen=True)
class Declared:
    """One option."""

    name: str
    """Of the field."""
    annotation: Any
    """Its type with bounds, which pydantic checks."""
    default: Any
    """``MISSING`` where there is none."""
    option: Option

    @property
    def path(self) -> bool:
        return self.option.path

    @property
    def table(self) -> str:
        return self.option.table

    @property
    def key(self) -> str:
        return self.option.key or self.name

    @property
    def flag(self) -> str:
        """With its dashes: ``--weight-decay``."""
        return "--" + (self.option.flag or self.name).replace("_", "-")

    @property
    def many(self) -> bool:
        """It is a list."""
        return get_origin(self._required) is tuple

    @property
    def kind(self) -> type:
        """``str``, ``int``, ``float`` or ``bool``; of a list, of what is in it."""
        inner = _bare(get_args(self._required)[0]) if self.many else self._required
        return type(get_args(inner)[0]) if get_origin(inner) is Literal else inner

    @property
    def values(self) -> str:
        """What it may be, in words, as ``0 to below 1``; empty for anything of its type."""
        if get_origin(self._required) is Literal:
            return _either([str(value) for value in get_args(self._required)])
        bounds = {type(one): one for one in _metadata(self.annotation)}
        if self.many:
            bounds = {type(one): one for one in _metadata(get_args(self._required)[0])}
        low = [f"{b.ge:g}" for b in bounds.values() if isinstance(b, annotated_types.Ge)]
        low += [f"above {b.gt:g}" for b in bounds.values() if isinstance(b, annotated_types.Gt)]
        high = [f"{b.le:.10g}" for b in bounds.values() if isinstance(b, annotated_types.Le)]
        high += [f"below {b.lt:.10g}" for b in bounds.values() if isinstance(b, annotated_types.Lt)]
        if low and not high:
            return low[0] if low[0].startswith("above") else f"{low[0]} or more"
        return " to ".join(low + high)

    def rooted(self, path: str) -> str:
        """A path of this option from the root; ModelError for a name that stands for none."""
        if self.option.published:
            from fer_edge.models.published import find_model

            return str(find_model(path, other="the best.safetensors of a run").resolve())
        return str(Path(path).resolve())

    def describe(self) -> str:
        """Help with the values that it takes and, where it is None, its default."""
        facts = [self.values] if self.values else []
        if self.option.unset:
            facts.append(f"default: {self.option.unset}")
        return self.option.help + (f" ({'; '.join(facts)})" if facts else "")

    @property
    def _required(self) -> Any:
        """The type without bounds and None."""
        bare = _bare(self.annotation)
        if get_origin(bare) in (Union, UnionType):
            (bare,) = (one for one in get_args(bare) if one is not NoneType)
        return _bare(bare)


@cache
def declared_in(declaration: type) -> tuple[Declared, ...]:
    """The options of a dataclass, in its order; fields without an :class:`Option` are none."""
    hints: Mapping[str, Any] = get_type_hints(declaration, include_extras=True)
    return tuple(
        Declared(field.name, hints[field.name], field.default, one)
        for field in fields(declaration)
        for one in _metadata(hints[field.name])
        if isinstance(one, Option)
    )


def flags(declaration: type) -> dict[str, str]:
    """What the options of a declaration are called on the command line, by their names."""
    return {option.name: option.flag for option in declared_in(declaration)}


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _metadata(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()


def _either(words: list[str]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))
