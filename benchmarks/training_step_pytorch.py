"""The PyTorch side of `benchmarks.training_step`: the same network, from the same weights.

Needs NumPy and PyTorch only, so that it runs in an environment without this package.
"""

import argparse
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.training_step import BATCH, FILTERS, HEAD_FILTERS, LEARNING_RATE, batch, serve

DICE_SMOOTHING = 1.0


class UNet(nn.Module):
    """As `ShivaUNet`, with the names of its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleDict()
        before = 1
        for level, width in enumerate(FILTERS):
            self._add_level(f"enc{level}", before, width)
            before = width
        for level in reversed(range(len(FILTERS) - 1)):
            self._add_level(f"dec{level}", before + FILTERS[level], FILTERS[level])
            before = FILTERS[level]
        self._add_level("head", before, HEAD_FILTERS)
        self.parts["probability"] = nn.Conv3d(HEAD_FILTERS, 1, 1)

    def _add_level(self, name: str, before: int, width: int) -> None:
        for index, channels in enumerate((before, width)):
            self.parts[f"{name}_conv{index}"] = nn.Conv3d(channels, width, 3, padding=1, bias=False)
            self.parts[f"{name}_norm{index}"] = nn.BatchNorm3d(width, eps=1e-3, momentum=0.1)

    def _level(self, name: str, x: torch.Tensor) -> torch.Tensor:
        for index in range(2):
            x = functional.silu(self.parts[f"{name}_norm{index}"](self.parts[f"{name}_conv{index}"](x)))
        return x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (batch, 1, x, y, z)."""
        skips = []
        for level in range(len(FILTERS)):
            x = self._level(f"enc{level}", x if level == 0 else functional.max_pool3d(x, 2))
            skips.append(x)
        for level in reversed(range(len(FILTERS) - 1)):
            x = functional.interpolate(x, scale_factor=2, mode="nearest")
            x = self._level(f"dec{level}", torch.cat([x, skips[level]], dim=1))
        logits: torch.Tensor = self.parts["probability"](self._level("head", x))
        return logits

    def load(self, path: Path) -> None:
        """Take the weights that Keras has written: kernels (x, y, z, in, out), scale, offset, statistics."""
        with np.load(path) as stored, torch.no_grad():
            unread = set(stored.files)
            for name, part in self.parts.items():
                places = [part.weight, part.bias]
                if isinstance(part, nn.BatchNorm3d):
                    places += [part.running_mean, part.running_var]
                for index, place in enumerate(place for place in places if place is not None):
                    values = torch.from_numpy(stored[f"{name}/{index}"])
                    place.copy_(values.permute(4, 3, 0, 1, 2) if values.ndim == 5 else values)
                    unread.remove(f"{name}/{index}")
        assert not unread, unread


def loss_of(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Cross-entropy + 1 - soft Dice of each sample, in float32."""
    logits = logits.float()
    probability = torch.sigmoid(logits)
    axes = (1, 2, 3, 4)
    found = (probability * label).sum(axes)
    dice = (2 * found + DICE_SMOOTHING) / (probability.sum(axes) + label.sum(axes) + DICE_SMOOTHING)
    return functional.binary_cross_entropy_with_logits(logits, label) + (1 - dice).mean()


def pytorch_side(how: str, edge: int, weights: Path) -> tuple[Callable[[], float], dict[str, Any]]:
    """A step, and what Keras must have the same.

    Args:
        how: `f32`, `autocast` or `bf16` (weights too).
        edge: voxels along each axis.
        weights: file with the untrained weights.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = torch.bfloat16 if how == "bf16" else torch.float32
    network: Any = UNet()
    network.load(weights)
    network.to(device, precision, memory_format=torch.channels_last_3d).train()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE, eps=1e-7)
    image, label = (
        torch.from_numpy(np.ascontiguousarray(np.moveaxis(part, -1, 1))).to(device)
        for part in batch(BATCH, (edge,) * 3)
    )
    image = image.to(precision).contiguous(memory_format=torch.channels_last_3d)
    if device == "cuda":
        network = torch.compile(network)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, dtype=torch.bfloat16) if how == "autocast" else nullcontext():
            logits = network(image)
        loss = loss_of(logits, label)
        loss.backward()
        optimizer.step()
        return loss.item()  # waits for the device

    return step, {"parameters": parameters, "device": {"cuda": "GPU", "cpu": "CPU"}[device]}


def main() -> None:
    """Run steps on demand."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--how", choices=("f32", "autocast", "bf16"), required=True)
    parser.add_argument("--edge", type=int, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    options = parser.parse_args()
    serve(*pytorch_side(options.how, options.edge, options.weights))


if __name__ == "__main__":
    main()
