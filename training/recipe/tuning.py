"""What a person changes of a preset."""

from dataclasses import dataclass, replace

from training.fitting.checkpoint import RunError
from training.recipe.recipes import Preset

_WARM = 1 / 3  # of the preset's learning rate


@dataclass(frozen=True)
class Tuning:
    """What a person sets in place of the preset's; None: as the preset has it."""

    epochs: int | None = None  # at most
    learning_rate: float | None = None  # the peak, where there is a cycle
    embedding_size: int | None = None
    hidden_size: int | None = None  # units of the LSTM in each direction
    dropout: float | None = None  # of the embeddings, and of what the last layer reads

    def apply(self, preset: Preset, warm_start: bool = False) -> Preset:
        """`preset` with these changes; a warm start learns in smaller steps unless told otherwise.

        Raises RunError where sizes are set that a bundle to start from decides.
        """
        if warm_start and (self.embedding_size or self.hidden_size):
            raise RunError(
                "expected --embedding-size and --hidden-size without --from, found both: a network that starts from a "
                "bundle has that bundle's sizes; leave one of them away"
            )
        # The weights of a bundle are good already: smaller steps keep what they know.
        rate = self.learning_rate or preset.plan.learning_rate * (_WARM if warm_start else 1)
        plan = replace(preset.plan, epochs=self.epochs or preset.plan.epochs, learning_rate=rate)
        preset = replace(
            preset,
            plan=plan,
            embedding_size=self.embedding_size or preset.embedding_size,
            hidden_size=self.hidden_size or preset.hidden_size,
        )
        if self.dropout is not None:
            preset = replace(preset, embedding_dropout=self.dropout, head_dropout=self.dropout)
        return preset
