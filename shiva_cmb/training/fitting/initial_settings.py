"""What a training starts from. No Keras: settings are checked without."""

from dataclasses import dataclass

from shiva_cmb.errors import UsageError


@dataclass(frozen=True)
class InitialSettings:
    """Which trained weights a fold starts from, and which of them stay as they are."""

    init: str | None = None
    """A bundle's folder or descriptor, a bundled model's name, or a Keras file (.h5, .keras), of the same
    architecture if possible; None starts from random weights."""
    init_channels: tuple[int, ...] = ()
    """For each image channel, which channel (from 0) of the source's first convolutions it takes; where one
    is taken n times, each gets an n-th of it. Empty takes them in turn: 0, 1, ... and over again."""
    init_class: int = 1
    """The class (from 0) of lesions, of a source that gives several."""
    init_background: int = 0
    """The class (from 0) of everything else, of a source whose classes sum to 1."""
    freeze: tuple[str, ...] = ()
    """Parts of the network that do not learn, such as `enc0`, `enc` or `encoder` for all of that kind."""
    freeze_epochs: int | None = None
    """After so many epochs they learn too; None: never."""

    def __post_init__(self) -> None:
        for name in ("init_class", "init_background"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name}: expected 0 or more, got {getattr(self, name)}")
        if min(self.init_channels, default=0) < 0:
            raise UsageError(f"init_channels: expected numbers from 0, got {self.init_channels}")
        if self.init_class == self.init_background:
            raise UsageError(
                f"init_class: expected another class than init_background, got {self.init_class}"
            )
        if self.freeze and self.init is None:
            raise UsageError("freeze: random weights must learn: name trained ones to start from (init)")
        if not all(self.freeze):
            raise UsageError(f"freeze: expected names of parts of the network, got {self.freeze}")
        if self.freeze_epochs is not None and self.freeze_epochs < 1:
            raise UsageError(f"freeze_epochs: expected at least 1, got {self.freeze_epochs}")
