"""The command line: ``fer-edge``."""

from fer_edge.cli.app import main

__all__ = ["main"]
