"""Labels as a person wants them: renamed, joined into fewer, left out."""

from collections.abc import Iterable
from dataclasses import dataclass

from service.bulk.tables import label_of


@dataclass(frozen=True)
class LabelMap:
    """What becomes of each label; labels that it does not name stay as they are."""

    names: tuple[tuple[str, str | None], ...] = ()  # (label, its new name); None: rows of it are left out
    merge: bool = False  # labels that differ in case or blanks alone are one, in lower case

    @classmethod
    def parse(cls, words: Iterable[str], merge: bool = False) -> "LabelMap":
        """From words such as `1,2=negative`, `4,5=positive` and `3=`, also several in one string. Raises ValueError."""
        names: dict[str, str | None] = {}
        for word in words:
            parts = word.split()
            for part in parts if all("=" in part for part in parts) else [word]:
                old, equals, new = part.partition("=")
                if not equals or "=" in new:
                    raise ValueError(
                        f"expected --map-labels OLD,OLD=NEW ... (OLD= leaves a label out), found {part!r}: put each "
                        "OLD=NEW with blanks in it into quotes of its own"
                    )
                for label in old.split(","):
                    known = label_of(label)
                    if not isinstance(known, str):
                        raise ValueError(f"expected a label before each '=' and ',' of --map-labels, found {part!r}")
                    key = fold(known) if merge else known
                    if names.setdefault(key, new.strip() or None) != (new.strip() or None):
                        raise ValueError(f"expected one new name for each label, found two for {known!r}: keep one")
        return cls(tuple(names.items()), merge)

    def apply(self, label: str) -> str | None:
        """What `label` becomes; None: its row is left out."""
        label = fold(label) if self.merge else label
        return dict(self.names).get(label, label) if self.names else label

    def unknown(self, labels: Iterable[str]) -> list[str]:
        """The labels that are to be renamed and are not among `labels`, those of the data."""
        there = {fold(label) if self.merge else label for label in labels}
        return [label for label, _ in self.names if label not in there]


UNCHANGED = LabelMap()


def fold(label: str) -> str:
    """`label` without case and superfluous blanks."""
    return " ".join(label.split()).casefold()
