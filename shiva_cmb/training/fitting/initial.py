"""Starting from trained weights: which source, which weights of it, and which of them stay as they are."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from shiva_cmb.ensemble import named_model, open_bundle
from shiva_cmb.ensemble.keras_engine import load_keras_model
from shiva_cmb.errors import ModelError, Note, UsageError, warn_user
from shiva_cmb.training.fitting.initial_settings import InitialSettings
from shiva_cmb.training.fitting.surgery import (
    Classes,
    Weights,
    change_channels,
    choose_class,
    chosen_channels,
)

TAKEN = "taken"
OUTPUT = "probability"
"""How the names of our networks' last layers begin."""

_ALIASES = {"encoder": "enc", "decoder": "dec"}
_KERAS_FILES = (".h5", ".hdf5", ".keras")


@dataclass(frozen=True)
class Transfer:
    """Where the weights of a network came from."""

    source: Path
    """The Keras file."""
    origins: tuple[tuple[str, str], ...]
    """Each layer with weights, and what became of it: `taken`, or in words what was done or why not."""

    @property
    def lines(self) -> tuple[str, ...]:
        """To print: how many layers were taken, then those that were not simply taken."""
        changed = [f"{layer}: {how}" for layer, how in self.origins if how != TAKEN]
        taken = len(self.origins) - len(changed)
        return (
            f"{taken} of {len(self.origins)} layers with weights start as they are in {self.source}",
            *changed,
        )

    def as_dict(self) -> dict[str, Any]:
        """For a bundle: plain texts."""
        return {"source": str(self.source), "layers": dict(self.origins)}


@dataclass(frozen=True)
class _Layer:
    """A layer with weights, of either network."""

    name: str
    kind: str
    weights: Weights

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(values.shape for values in self.weights)


def source_of_fold(init: str, fold: int, validation: Collection[str], *, note: Note = warn_user) -> Path:
    """The Keras file that a fold starts from.

    Of a bundle with several folds, the one trained on the fewest of this fold's validation cases; among
    equals the one of the same number, then the next ones, then from the first on.

    Args:
        init: see `InitialSettings.init`.
        fold: number of the fold, from 0.
        validation: names of its validation cases.
        note: told if the source was trained on any of these, or does not say on what.

    Raises:
        ModelError: if there is no such file, or a fold of the bundle is missing or no Keras file.
    """
    path = named_model(init)
    if path.suffix.lower() in _KERAS_FILES:
        note(f"{path} does not say which cases it was trained on: figures of those will be too good")
        return path
    bundle = open_bundle(path, note=note)
    known = [frozenset(part.validation_cases) for part in bundle.part.folds]
    seen = frozenset().union(*known)
    count = len(bundle.fold_paths)
    left_out = known if len(known) == count else [frozenset()] * count
    learned = [sorted((seen - mine) & frozenset(validation)) for mine in left_out]
    chosen = min(range(count), key=lambda index: (len(learned[index]), (index - fold) % count))
    source = bundle.fold_paths[chosen]
    if source.suffix.lower() not in _KERAS_FILES:
        raise ModelError(f"{source} is no Keras file (.h5, .keras): training cannot start from it")
    if not seen:
        note(
            f"{bundle.descriptor_path} does not say which cases its folds were trained on: figures of those "
            "will be too good"
        )
    elif learned[chosen]:
        names = ", ".join(learned[chosen][:5]) + (", ..." if len(learned[chosen]) > 5 else "")
        note(
            f"fold {fold} starts from {source}, which was trained on {len(learned[chosen])} of its "
            f"{len(validation)} validation cases ({names}): its figures will be too good; use the same folds"
        )
    return source


def initial_weights(source: Path, network: keras.Model, settings: InitialSettings) -> Transfer:
    """Give a network the weights of a trained one, as far as they fit.

    Layers are matched by name, kind and shapes. If no kernel fits by name, as in files of other tools, they
    are matched in order among those of the same kind and shapes. First convolutions are changed to the
    image's channels, last ones to one class: see `surgery`. What fits nothing is left as it is.

    Args:
        source: a Keras file, see `source_of_fold`.
        network: of `build_network`, for training or not; changed.
        settings: see `InitialSettings`.

    Returns:
        What became of each layer.

    Raises:
        ModelError: if the file cannot be read, could run foreign code, or nothing in it fits.
        UsageError: if a channel or class is named that it does not have.
    """
    model = load_keras_model(source)
    theirs = list(_layers(model))
    fit = _Fit(
        chosen_channels(_channels(model), network.input_shape[-1], settings.init_channels),
        bool(settings.init_channels) or _channels(model) != network.input_shape[-1],
        _channels(model),
        _classes(model, settings),
        theirs[-1].name if theirs else "",
        frozenset(_image_readers(network)),
    )
    found = _by_name(list(_layers(network)), theirs, fit)
    if not _has_kernel(found):
        found = _by_order(list(_layers(network)), theirs, fit)
    if not _has_kernel(found):
        raise ModelError(
            f"no layer of {source} fits the network {network.name}: neither by name nor by order are kernels "
            "of the same shape; start from a model of the same architecture and widths"
        )
    for name, (weights, _) in found.items():
        if weights is not None:
            network.get_layer(name).set_weights(weights)
    return Transfer(source, tuple((name, how) for name, (_, how) in found.items()))


def stages(network: keras.Model) -> tuple[str, ...]:
    """The parts of a network by what its layers' names begin with, from the image on: `enc0`, `enc1`, ..."""
    return tuple(dict.fromkeys(_stage(layer.name) for layer in network.layers if layer.weights))


def freeze(network: keras.Model, parts: Sequence[str]) -> None:
    """Keep parts of a network from learning; their batch normalisation uses its running statistics.

    Args:
        network: of `build_network`, not compiled yet; changed.
        parts: of `stages`, or without the number for all of a kind (`enc`), or `encoder` and `decoder`.

    Raises:
        UsageError: if the network has no such part, or nothing would be left to learn.
    """
    known = stages(network)
    frozen: set[str] = set()
    for part in parts:
        wanted = _ALIASES.get(part, part)
        named = {stage for stage in known if stage == wanted or stage.rstrip("0123456789") == wanted}
        if not named:
            raise UsageError(f"freeze: {network.name} has no part {part!r}: it has {', '.join(known)}")
        frozen |= named
    if frozen == set(known):
        raise UsageError(f"freeze: nothing of {network.name} would be left to learn")
    for layer in network.layers:
        if _stage(layer.name) in frozen:
            layer.trainable = False


def _stage(layer: str) -> str:
    return re.split("_", layer, maxsplit=1)[0]


_Found = dict[str, tuple[Weights | None, str]]
"""For each layer of the network: its new weights, and where they came from or why there are none."""


@dataclass(frozen=True)
class _Fit:
    """How weights of a source are made to fit."""

    chosen: tuple[int, ...]
    rewire: bool
    """Whether first convolutions have to be changed at all."""
    channels: int
    """Of the source's image."""
    classes: Classes
    last: str
    """The source's last layer with weights."""
    readers: frozenset[str]
    """Layers of the network that see the image itself."""

    def __call__(self, own: _Layer, other: _Layer) -> tuple[Weights, str] | None:
        """The weights for `own`, and what was done, or None."""
        if own.kind != other.kind or len(own.shapes) != len(other.shapes):
            return None
        weights, done = other.weights, []
        if self.rewire and own.name in self.readers:
            if other.shapes[0][-2:-1] != (self.channels,):
                return None
            weights = change_channels(weights, self.chosen)
            done.append(f"channels {self.channels} -> {len(self.chosen)} (each from {_texts(self.chosen)})")
        ends = own.name.startswith(OUTPUT) and other.name == self.last
        if ends and self.classes.count > 1 and other.shapes[0][-1] == self.classes.count:
            weights = choose_class(weights, self.classes)
            done.append(self.classes.text)
        if tuple(values.shape for values in weights) != own.shapes:
            return None
        return weights, ", ".join(done) or TAKEN


def _by_name(own: Sequence[_Layer], others: Sequence[_Layer], fit: _Fit) -> _Found:
    named = {layer.name: layer for layer in others}
    found: _Found = {}
    for layer in own:
        other = named.get(layer.name)
        if other is None:
            found[layer.name] = None, "left as initialised (not in the source)"
            continue
        shapes = f"{_texts(layer.shapes)} vs {_texts(other.shapes)}"
        found[layer.name] = fit(layer, other) or (None, f"left as initialised (shapes {shapes})")
    return found


def _by_order(own: Sequence[_Layer], others: Sequence[_Layer], fit: _Fit) -> _Found:
    """Each layer in turn takes the first fitting one that is left."""
    found: _Found = {}
    left = list(others)
    for layer in own:
        found[layer.name] = None, "left as initialised (nothing fits)"
        for place, other in enumerate(left):
            fitted = fit(layer, other)
            if fitted is not None:
                weights, how = fitted
                extra = "" if how == TAKEN else f", {how}"
                found[layer.name] = weights, f"taken by order from {other.name}{extra}"
                del left[place]
                break
    return found


def _has_kernel(found: _Found) -> bool:
    """Whether more than slopes, scales and offsets fit."""
    return any(weights is not None and max(v.ndim for v in weights) > 1 for weights, _ in found.values())


def _layers(model: Any) -> Iterator[_Layer]:
    """All layers with weights, also those of models within."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _layers(layer)
        elif layer.weights:
            yield _Layer(layer.name, type(layer).__name__, layer.get_weights())


def _channels(model: Any) -> int:
    return int(model.inputs[0].shape[-1])


def _classes(model: Any, settings: InitialSettings) -> Classes:
    """How many classes a source has. Several without any activation at the end are taken for a softmax."""
    count = int(model.outputs[0].shape[-1])
    activations = []
    for layer in reversed(model.layers):
        activations.append(getattr(getattr(layer, "activation", None), "__name__", ""))
        if layer.weights:
            break
    return Classes(count, "sigmoid" not in activations, settings.init_class, settings.init_background)


def _image_readers(network: keras.Model) -> Iterator[str]:
    """Layers with weights that have none between themselves and the image."""
    for layer in network.layers:
        if layer.weights and any(_sees_image(tensor) for tensor in _inputs(layer)):
            yield layer.name


def _sees_image(tensor: Any) -> bool:
    before = tensor._keras_history.operation
    if isinstance(before, keras.layers.InputLayer):
        return True
    return not before.weights and any(_sees_image(one) for one in _inputs(before))


def _inputs(layer: Any) -> Sequence[Any]:
    return layer.input if isinstance(layer.input, list | tuple) else [layer.input]


def _texts(values: Sequence[Any]) -> str:
    return ", ".join(str(value) for value in values)
