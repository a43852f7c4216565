"""What is said in JSON: the messages of the Open Inference Protocol, and those of photos.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Byte = Annotated[int, Field(strict=True, ge=0, le=255)]
Size = Annotated[int, Field(strict=True, ge=0)]
Flag = Annotated[bool, Field(strict=True)]


class _Asked(BaseModel):
    """The protocol lets clients add members; what is not known here is ignored."""

    model_config = ConfigDict(extra="allow")


class InputParameters(_Asked):
    binary_data_size: Size | None = Field(
        None, description="Bytes of this tensor after the JSON, in the place of data"
    )


class InputTensor(_Asked):
    name: Literal["faces"] = Field(description="The one input of every model")
    datatype: Literal["UINT8"]
    shape: list[Size] = Field(
        description="Faces, channels, height and width, as the model's metadata has them",
        min_length=4,
        max_length=4,
    )
    parameters: InputParameters | None = None
    data: Annotated[list[Byte] | list[list[list[list[Byte]]]] | None, Field(union_mode="smart")] = (
        Field(None, description="Pixels 0..255, row by row, flat or nested")
    )


class OutputParameters(_Asked):
    binary_data: Flag | None = Field(None, description="After the JSON, in the place of data")
    classification: Size = Field(
        0, description="So many most probable labels, as 'probability:index:label'"
    )


class AskedOutput(_Asked):
    name: Literal["probabilities"] = Field(description="The one output of every model")
    parameters: OutputParameters | None = None


class RequestParameters(_Asked):
    timeout: Size | None = Field(
        None, description="Microseconds until an answer is of no use (504); 0 is the server's"
    )
    binary_data_output: Flag = Field(False, description="Answer after the JSON")


class InferenceRequest(_Asked):
    id: Annotated[str, Field(strict=True)] | None = Field(None, description="Given back")
    parameters: RequestParameters | None = None
    inputs: list[InputTensor] = Field(min_length=1, max_length=1)
    outputs: list[AskedOutput] | None = Field(None, max_length=1)


class OutputTensor(BaseModel):
    name: Literal["probabilities"]
    datatype: Literal["FP32", "BYTES"]
    shape: list[int]
    parameters: dict[str, int] | None = None
    data: list[float] | list[str] | None = None


class InferenceAnswer(BaseModel):
    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


class TensorMetadata(BaseModel):
    name: str
    datatype: str
    shape: list[int] = Field(description="-1 is any number of faces")
    parameters: dict[str, str] | None = Field(
        None, description="labels: those of the last axis, separated by commas"
    )


class ModelMetadata(BaseModel):
    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: dict[str, str] = Field(description="precision, backend and device that answer")


class ServerMetadata(BaseModel):
    name: str
    version: str
    extensions: list[str]


class Live(BaseModel):
    live: bool


class Ready(BaseModel):
    ready: bool


class ModelReady(BaseModel):
    name: str
    ready: bool


class IndexEntry(BaseModel):
    name: str
    version: str
    state: str
    reason: str


class Face(BaseModel):
    box: tuple[float, float, float, float] = Field(
        description="x, y, width and height in pixels of the upright photo; may reach over its edge"
    )
    score: float | None = Field(description="How sure the detector is, 0 to 1")
    emotion: str = Field(description="The most probable")
    probabilities: dict[str, float] = Field(description="Of each label of the model; sum 1")


class Photo(BaseModel):
    model: str
    width: int
    height: int
    faces: list[Face]


class Problem(BaseModel):
    error: str = Field(description="What is wrong, and what to do about it")


VERSION = "1"
"""Of every model: a folder has one."""
