"""Keras architectures. This room knows no files, and importing it does not import Keras."""

from shiva_cmb.networks.build import build_network
from shiva_cmb.networks.family import PUBLISHED, ShivaUNet

__all__ = ["PUBLISHED", "ShivaUNet", "build_network"]
