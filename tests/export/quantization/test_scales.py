import numpy as np
import pytest

from fer_edge.export.quantization.scales import SMALLEST_SCALE, scale_of, uneven, weight_scales


@pytest.mark.parametrize("largest", [1e-9, 0.01, 1.0, 3.3333, 1234.5])
def test_scale_covers_the_range_and_is_a_float16(largest):
    scale = scale_of(largest)
    assert scale * 127 >= largest
    assert float(np.float16(scale)) == scale >= SMALLEST_SCALE
    if largest > 0.01:
        assert scale * 127 < largest * 1.002


def test_a_tiny_channel_gets_the_smallest_normal_float16():
    weights = np.array([[1e-12, 0], [1.0, 0]], np.float32)
    scales = weight_scales(weights)
    assert scales[0] == 2.0**-14
    assert scales[1] * 127 >= 1.0
    np.testing.assert_array_equal(scales, scales.astype(np.float16))


@pytest.mark.parametrize(
    ("extremes", "low", "high"),
    [
        ((-10.0, 10.0), -10.0, 10.0),
        ((-0.1, 10.0), -0.1, 10.0),
        ((-10.0, -1.0), -10.0, 0.0),
        ((-0.1, 30.0), -0.1, 12.0),
    ],
)
def test_uneven_extremes_share_all_256_integers(extremes, low, high):
    scale, zero_point = uneven(12.0, extremes)
    assert 0 <= zero_point <= 255
    assert -zero_point * scale == pytest.approx(low, abs=scale / 2)
    assert (255 - zero_point) * scale == pytest.approx(high, abs=scale)
