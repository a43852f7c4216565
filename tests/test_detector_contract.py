import pytest

from fer_edge.detector_contract import Bucket, bucket_of


def test_buckets_count_their_anchors():
    assert Bucket(640, 480).anchors == 2 * (80 * 60 + 40 * 30 + 20 * 15)
    assert Bucket(320, 240).grids == ((30, 40), (15, 20), (8, 10))
    assert Bucket(320, 240).turned == Bucket(240, 320)


def test_a_size_is_read_as_it_is_written():
    assert bucket_of(str(Bucket(960, 544))) == Bucket(960, 544)


@pytest.mark.parametrize("text", ["", "640", "640x", "640x-480", "31x640", "640x4097", "axb"])
def test_other_sizes_are_refused(text):
    with pytest.raises(ValueError, match="width and height in pixels from 32 to 4096"):
        bucket_of(text)
