"""Export: from a model to an artifact. Needs onnx; :func:`export_module` needs torch, too."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fer_edge.export.own_module import export_module

__all__ = ["export_module"]


def __getattr__(name: str) -> Any:
    """Import what needs torch when it is asked for."""
    if name == "export_module":
        from fer_edge.errors import MissingDependencyError

        try:
            from fer_edge.export.own_module import export_module
        except ModuleNotFoundError as error:
            raise MissingDependencyError(
                f"Exporting a module needs {error.name}, which is not installed.",
                hint="Install it with: pip install 'fer-edge[train]'",
            ) from error
        return export_module
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
