"""Many texts in little memory."""

from array import array


class Texts:
    """A growing list of texts, kept as UTF-8 in one piece: a string a text would take some 50 bytes more each."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._ends = array("q", [0])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, row: int) -> str:
        return self._bytes[self._ends[row] : self._ends[row + 1]].decode("utf-8", "surrogatepass")

    def append(self, text: str) -> None:
        """Adds a text."""
        self._bytes += text.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._bytes))
