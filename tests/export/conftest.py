import numpy as np
import onnx
import onnxruntime
import pytest

from fer_edge.data import FaceDataset, synthetic_dataset
from fer_edge.engines.integer_products import integer_products
from fer_edge.export.quantization.calibration import calibrate
from fer_edge.export.quantization.table import CalibrationTable
from fer_edge.models import MODELS
from tests.engines.conftest import building_tensorrt, gpu, package  # noqa: F401
from tests.export.graphs import plain_graph, residual_graph


@pytest.fixture(scope="session")
def faces() -> FaceDataset:
    return synthetic_dataset(140, seed=3, split="val")


@pytest.fixture(scope="session")
def residual() -> onnx.ModelProto:
    return residual_graph()


@pytest.fixture(scope="session")
def plain() -> onnx.ModelProto:
    return plain_graph()


@pytest.fixture(scope="session")
def residual_table(residual: onnx.ModelProto, faces: FaceDataset) -> CalibrationTable:
    return calibrate(residual, "residual", faces, method="minmax", samples=140, equalised=False)


@pytest.fixture(scope="session")
def plain_table(plain: onnx.ModelProto, faces: FaceDataset) -> CalibrationTable:
    return calibrate(plain, "plain", faces, method="minmax", samples=140, equalised=False)


@pytest.fixture(scope="session", params=MODELS)
def exported(request):
    """A model of the registry with lively batch norms, and its graph; each is exported once."""
    import torch

    from fer_edge.export.graph.view import canonicalise
    from fer_edge.export.importing.torch_export import torch_to_onnx
    from fer_edge.models import build_model

    torch.manual_seed(0)
    model = build_model(request.param)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.bias, 0, 0.2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.0)
            torch.nn.init.normal_(module.running_mean, 0, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    model.eval()
    return request.param, model, canonicalise(torch_to_onnx(model, request.param))


def run(
    model: onnx.ModelProto, faces: np.ndarray, *tensors: str, optimise: bool = True
) -> list[np.ndarray]:
    """Values of inner tensors, or the probabilities if none is named."""
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    for tensor in tensors:
        observed.graph.output.append(onnx.ValueInfoProto(name=tensor))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    integer_products().apply_to(options)
    session = onnxruntime.InferenceSession(observed.SerializeToString(), options)
    return session.run(list(tensors) or ["probabilities"], {"faces": faces.reshape(-1, 1, 48, 48)})
