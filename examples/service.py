"""A web service that finds the faces in photos and tells their expressions.

    pip install '.[camera]' fastapi python-multipart uvicorn
    uvicorn --app-dir examples service:app

    curl -F images=@party.jpg -F images=@portrait.jpg http://127.0.0.1:8000/faces

http://127.0.0.1:8000/docs describes it, with a form to try it.

Requests run in threads and share one Recognizer: faces that arrive together go through the network
together.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated

import numpy as np
import PIL.Image
from fastapi import FastAPI, File, HTTPException, Request, Response, UploadFile
from fastapi.responses import JSONResponse
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from fer_edge import Recognizer
from fer_edge.errors import InputError
from fer_edge.runtime import RetinaFace, read_image

MAX_BYTES = 20 << 20
"""Of a request."""
MAX_IMAGES = 16
MAX_PIXELS = 25_000_000
"""Of an image: a small file can unpack to gigabytes."""


class Face(BaseModel):
    box: tuple[float, float, float, float] = Field(
        description="x, y, width and height in pixels of the upright image; may reach over its edge"
    )
    score: float = Field(description="How sure the detector is that this is a face, 0 to 1")
    emotion: str = Field(description="The most probable", examples=["happy"])
    probabilities: dict[str, float] = Field(description="Of each emotion; their sum is 1")


class Photo(BaseModel):
    name: str | None
    width: int
    height: int
    faces: list[Face]


class Health(BaseModel):
    status: str
    backend: str = Field(examples=["onnxruntime-cpu"])
    precision: str = Field(examples=["int8"])
    device: str


class Problem(BaseModel):
    detail: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    PIL.Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    with Recognizer() as app.state.recognizer:
        app.state.detector = RetinaFace()
        yield


app = FastAPI(title="Facial expressions", lifespan=lifespan)


@app.middleware("http")
async def limit_size(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    if request.method == "POST":
        length = request.headers.get("content-length", "")
        if not length.isdecimal():
            return JSONResponse({"detail": "Send Content-Length."}, 411)
        if int(length) > MAX_BYTES:
            return JSONResponse({"detail": f"Send {MAX_BYTES >> 20} MiB at most."}, 413)
    return await call_next(request)


@app.get("/health")
def health(request: Request) -> Health:
    """Whether the model is loaded, and what runs it."""
    engine = request.app.state.recognizer.describe()
    return Health(
        status="ok", backend=engine.backend, precision=engine.precision, device=engine.device
    )


@app.post(
    "/faces",
    responses={
        400: {"model": Problem, "description": "A file is no image that can be read"},
        413: {"model": Problem, "description": f"More than {MAX_BYTES >> 20} MiB"},
    },
)
def find_faces(
    request: Request,
    images: Annotated[
        list[UploadFile],
        File(max_length=MAX_IMAGES, description=f"JPEG, PNG, BMP or WebP, at most {MAX_IMAGES}"),
    ],
) -> list[Photo]:
    """Find the faces in each image and classify them; the answer has the order of the images."""
    recognizer, detector = request.app.state.recognizer, request.app.state.detector
    photos = []
    for upload in images:
        image = read(upload)
        faces = [
            Face(
                box=face.box,
                score=face.score,
                emotion=face.emotion,
                probabilities=dict(zip(face.classes, face.probabilities.tolist(), strict=True)),
            )
            for face in recognizer.find(image, detector=detector)
        ]
        height, width = image.shape[:2]
        photos.append(Photo(name=upload.filename, width=width, height=height, faces=faces))
    return photos


def read(upload: UploadFile) -> NDArray[np.uint8]:
    try:
        return read_image(upload.file)
    except InputError as error:
        raise HTTPException(400, f"{upload.filename}: {error}") from error
