"""The carried model gives on other processors what it gives where its proof was made."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.machines.emulation import MACHINES, Machine, UnavailableError, answer
from tests.machines.record import RECORDED

pytestmark = pytest.mark.machines

# INT8: sums of integers are exact, the steps between them are float32 and round by the order of
# their operations, so that a value in 255 may fall on its neighbour: 2e-3 was seen; a saturated
# product moves a probability by 0.3 and more. FP32: 4e-7 was seen, a few units in the last place
# after fifteen layers; 1e-5 leaves room for kernels that sum in another order.
TOLERANCE = {"int8": 0.02, "fp32": 1e-5}
# An emulated face takes 0.3 s in INT8 and 1.5 s in FP32.
FACES = {"int8": None, "fp32": 7}

Answers = dict[tuple[Machine, str], "Future[np.ndarray]"]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Answers]:
    """All emulators, two at a time."""
    work: Path = tmp_path_factory.mktemp("machines")
    with np.load(RECORDED) as recorded:
        faces = recorded["faces"]
    with ThreadPoolExecutor(2) as pool:
        yield {
            (machine, precision): pool.submit(
                lambda machine=machine, precision=precision: answer(
                    machine, precision, faces[: FACES[precision]], work
                )[0]
            )
            for machine in MACHINES
            for precision in FACES
        }
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("precision", FACES)
@pytest.mark.parametrize("machine", MACHINES, ids=str)
def test_the_answers_of_the_proof(machine: Machine, precision: str, answers: Answers) -> None:
    try:
        found = answers[machine, precision].result()
    except UnavailableError as error:
        pytest.skip(f"{machine} cannot be emulated here: {error}")
    with np.load(RECORDED) as recorded:
        expected = recorded[precision][: len(found)]
    difference = np.abs(found - expected).max()
    assert difference <= TOLERANCE[precision], f"{machine.instructions}: {difference:.2g}"
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).all()
