from collections.abc import Iterator

import pytest

from fer_edge.runtime.live import LivePage


@pytest.fixture
def page() -> Iterator[LivePage]:
    with LivePage(port=0) as page:
        page.start()
        yield page
