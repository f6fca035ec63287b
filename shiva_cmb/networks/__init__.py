"""Keras architectures. This room knows no files, and importing it does not import Keras."""

from shiva_cmb.networks.architectures import (
    UNETR,
    AttentionUNet,
    MonaiUNet,
    PlainUNet,
    ResidualUNet,
    SegResNet,
    StemUNet,
)
from shiva_cmb.networks.build import ARCHITECTURES, build_network
from shiva_cmb.networks.family import PUBLISHED, ShivaUNet
from shiva_cmb.networks.settings import NetworkSettings

__all__ = [
    "ARCHITECTURES",
    "PUBLISHED",
    "UNETR",
    "AttentionUNet",
    "MonaiUNet",
    "NetworkSettings",
    "PlainUNet",
    "ResidualUNet",
    "SegResNet",
    "ShivaUNet",
    "StemUNet",
    "build_network",
]
