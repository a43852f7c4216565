"""Options that stand together in the signatures of several commands, or are declared elsewhere.

A command takes such a group as one parameter; the command line has the options of the group one by
one, where that parameter stands.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from fer_edge.training.declaration import Declared, declared_in


@dataclass(frozen=True)
class Group:
    """Metadata of the parameter that stands for the group."""

    parameters: Sequence[inspect.Parameter]
    gather: Callable[[Mapping[str, Any]], Any]
    """Makes what the command is given out of the values of ``parameters``."""


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` as Typer takes it: its parameters that are dataclasses or groups spread out."""
    groups: dict[str, Group] = {}
    spread: list[inspect.Parameter] = []
    # Not get_type_hints, which until Python 3.10 wraps types of parameters that are None.
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        group = _group_of(parameter.annotation)
        if group is None:
            spread.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
        else:
            groups[name] = group
            spread += group.parameters

    @functools.wraps(command)
    def call(**values: Any) -> None:
        made = {
            name: group.gather({one.name: values.pop(one.name) for one in group.parameters})
            for name, group in groups.items()
        }
        command(**values, **made)

    call.__signature__ = inspect.Signature(spread)  # type: ignore[attr-defined]
    call.__annotations__ = {one.name: one.annotation for one in spread}
    return call


def declared_options(declaration: type) -> Group:
    """The options of a dataclass as :mod:`fer_edge.training.declaration` has them.

    The command is given a dict of the fields' values: lists as lists, paths as absolute ones.
    """
    declared = declared_in(declaration)

    def gather(values: Mapping[str, Any]) -> dict[str, Any]:
        return {option.name: _plain(option, values[option.name]) for option in declared}

    return Group([_parameter(option) for option in declared], gather)


def _group_of(hint: Any) -> Group | None:
    metadata = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    for one in metadata:
        if isinstance(one, Group):
            return one
    return _group_of_dataclass(hint) if hasattr(hint, "__dataclass_fields__") else None


def _group_of_dataclass(made: type) -> Group:
    """The fields of a dataclass whose types carry ``typer.Option``; the command is given one."""
    hints = get_type_hints(made, include_extras=True)
    parameters = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(made)
    ]
    return Group(parameters, lambda values: made(**values))


def _parameter(option: Declared) -> inspect.Parameter:
    kind: Any = Path if option.path else option.kind
    optional = option.many or option.default is None
    # Of a bool's name Typer makes an option that turns it off, too: a recipe may turn it on.
    names: tuple[str, ...] = () if option.kind is bool else (option.flag,)
    if option.option.short:
        names += (option.option.short,)
    what = typer.Option(*names, help=option.describe(), rich_help_panel=option.table.capitalize())
    annotation: Any = list[kind] if option.many else kind
    return inspect.Parameter(
        option.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None if optional else option.default,
        annotation=Annotated[annotation | None if optional else annotation, what],
    )


def _plain(option: Declared, value: Any) -> Any:
    if option.many:
        return [option.rooted(str(one)) if option.path else one for one in value or []]
    return option.rooted(str(value)) if option.path and value is not None else value
