"""Where the brain is, and which part of it."""

from shiva_cmb.anatomy.network import Anatomy, segment_head
from shiva_cmb.anatomy.rough_mask import rough_brain_mask

__all__ = ["Anatomy", "rough_brain_mask", "segment_head"]
