"""What brings somebody's network in: reading, normalising, surrounding with the contract."""

from fer_edge.export.importing.importer import ImportOptions, import_onnx
from fer_edge.export.importing.network import Imported, import_network

__all__ = ["ImportOptions", "Imported", "import_network", "import_onnx"]
