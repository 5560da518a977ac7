"""A service that the tests of a module share."""

from collections.abc import Iterator

import pytest

from service.model.classifier import Classifier
from tests.support.server import make_app, serving


@pytest.fixture(scope="module")
def url(tiny_classifier: Classifier) -> Iterator[str]:
    """Where it is served, with default limits."""
    with serving(make_app(tiny_classifier)) as found:
        yield found
