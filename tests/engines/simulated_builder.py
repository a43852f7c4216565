# ruff: noqa: ARG002, ARG005, N802
"""TensorRT's builder on the fake GPU: plans that remember their batch sizes and their precision."""

import json
from types import SimpleNamespace

import onnx

from fer_edge.contract import INPUT_NAME

from .cuda.fakes import FakeGpu
from .fakes import FakeContext, FakeLogger, FakeRtxEngine, FakeRuntime, FakeTensorRT

_TYPES = {
    onnx.TensorProto.UINT8: "UINT8",
    onnx.TensorProto.FLOAT: "FLOAT",
    onnx.TensorProto.FLOAT16: "HALF",
}


class BuildingTensorRT(FakeTensorRT):
    """As FakeTensorRT, with a builder; engines take the batch sizes that they were built for."""

    NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
    MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
    ProfilingVerbosity = SimpleNamespace(DETAILED="detailed")
    LayerInformationFormat = SimpleNamespace(JSON="json")
    BuilderFlag = SimpleNamespace(TF32="tf32", REQUIRE_USER_ALLOCATION="user allocation")

    class IProgressMonitor: ...

    def __init__(self, gpu: FakeGpu) -> None:
        super().__init__(gpu)
        self.built: list[dict] = []
        """What each plan was built with."""

    def Builder(self, logger: FakeLogger) -> "SimulatedBuilder":
        super().Runtime(logger)
        return SimulatedBuilder(self)

    def Runtime(self, logger: FakeLogger) -> "BuiltRuntime":
        super().Runtime(logger)
        return BuiltRuntime(self, logger)

    def OnnxParser(self, network: SimpleNamespace, logger: FakeLogger) -> SimpleNamespace:
        def parse(graph: bytes) -> bool:
            model = onnx.load_model_from_string(graph)
            network.precision = next(
                (one.value for one in model.metadata_props if one.key == "fer_edge.precision"), ""
            )
            tensors = [
                SimpleNamespace(
                    name=one.name,
                    dtype=SimpleNamespace(name=_TYPES[one.type.tensor_type.elem_type]),
                    shape=tuple(size.dim_value or -1 for size in one.type.tensor_type.shape.dim),
                )
                for one in (*model.graph.input, *model.graph.output)
            ]
            network.face, network.classes = tensors[0].shape[1:], tensors[1].shape[-1]
            network.num_inputs = network.num_outputs = 1
            network.get_input, network.get_output = (
                (lambda index, tensor=tensor: tensor) for tensor in tensors
            )
            return True

        return SimpleNamespace(parse=parse, num_errors=0)


class SimulatedBuilder:
    def __init__(self, trt: BuildingTensorRT) -> None:
        self.trt = trt

    def create_network(self, flags: int) -> SimpleNamespace:
        return SimpleNamespace()

    def create_builder_config(self) -> SimpleNamespace:
        flags = {"tf32"}
        cache = SimpleNamespace(serialize=lambda: b"timings")
        return SimpleNamespace(
            flags=flags,
            set_flag=flags.add,
            clear_flag=flags.discard,
            set_memory_pool_limit=lambda pool, nbytes: None,
            create_timing_cache=lambda data: cache,
            set_timing_cache=lambda cache, ignore_mismatch: True,
            get_timing_cache=lambda: cache,
            add_optimization_profile=lambda profile: flags.add(("profile", profile.batches[0])),
        )

    def create_optimization_profile(self) -> SimpleNamespace:
        batches: list[tuple[int, ...]] = []

        def set_shape(name: str, *shapes: tuple[int, ...]) -> None:
            assert name == INPUT_NAME
            assert len({shape[1:] for shape in shapes}) == 1
            batches.append(tuple(shape[0] for shape in shapes))

        return SimpleNamespace(batches=batches, set_shape=set_shape)

    def build_serialized_network(self, network: SimpleNamespace, config: SimpleNamespace) -> bytes:
        (batches,) = (flag[1] for flag in config.flags if flag[0] == "profile")
        plan = {
            "precision": network.precision,
            "batches": batches,
            "face": network.face,
            "classes": network.classes,
            "tf32": "tf32" in config.flags,
        }
        self.trt.built.append(plan)
        return json.dumps(plan).encode()


class BuiltRuntime(FakeRuntime):
    def deserialize_cuda_engine(self, plan: bytes) -> "BuiltEngine | None":
        if super().deserialize_cuda_engine(plan) is None:
            return None
        return BuiltEngine(self.trt, self.logger, json.loads(plan))


class BuiltEngine(FakeRtxEngine):
    def __init__(self, trt: FakeTensorRT, logger: FakeLogger, plan: dict) -> None:
        super().__init__(trt, logger)
        self.batches = plan["batches"]
        self.face, self.classes = tuple(plan["face"]), plan["classes"]

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        return [(n, *self.face) for n in self.batches]

    def create_execution_context(self, config: object = "static") -> "FakeContext | None":
        context = super().create_execution_context(config)
        if context is not None:
            context.__class__ = BuiltContext
            context.batches = self.batches
        return context

    def create_engine_inspector(self) -> SimpleNamespace:
        return SimpleNamespace(get_engine_information=lambda form: '{"Layers": []}')


class BuiltContext(FakeContext):
    batches: list[int]

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        super().set_input_shape(name, shape)
        return self.batches[0] <= shape[0] <= self.batches[-1]
