"""Checks that a server answers as the classifier does."""

from concurrent.futures import ThreadPoolExecutor

import httpx

from benchmarks.peers import Peer
from service.model.classifier import Classifier

TEXTS = [
    f"{'I wanted to love it, café scenes and all. ' * (index % 5)}The film was {'truly ' * (index * 7 % 31)}"
    f"{('wonderful', 'dull', 'fine', 'a “mess”')[index % 4]}<br />{index}/20"
    for index in range(20)
]
TOLERANCE = 1e-6  # of a probability in a batch, where texts are padded; alone it must be bit-identical


def agreement(peer: Peer, url: str, classifier: Classifier) -> float:
    """The largest difference of a probability from the classifier's when all TEXTS are sent at once.

    Raises ValueError if it exceeds TOLERANCE, or if there is any difference one text at a time, and httpx.HTTPError.
    """
    expected = [classifier([text])[0].probabilities for text in TEXTS]
    with httpx.Client(timeout=60) as client, ThreadPoolExecutor(len(TEXTS)) as pool:

        def ask(text: str) -> bytes:
            headers = {"content-type": "application/json"}
            return client.post(url + peer.path, content=peer.body(text), headers=headers).raise_for_status().content

        alone = _difference(peer, [ask(text) for text in TEXTS], expected)
        together = _difference(peer, list(pool.map(ask, TEXTS)), expected)
    if alone > 0 or together > TOLERANCE:
        raise ValueError(f"differs from the classifier by {alone:.1e} alone and by {together:.1e} among others")
    return together


def _difference(peer: Peer, answers: list[bytes], expected: list[dict[str, float]]) -> float:
    answered = [peer.probabilities(answer) for answer in answers]
    if [set(one) for one in answered] != [set(one) for one in expected]:
        raise ValueError(f"expected the labels {sorted(expected[0])}, found {sorted(answered[0])}")
    pairs = zip(answered, expected, strict=True)
    return max(abs(one[label] - other[label]) for one, other in pairs for label in other)
