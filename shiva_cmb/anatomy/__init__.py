"""Where the brain is."""

from shiva_cmb.anatomy.rough_mask import rough_brain_mask

__all__ = ["rough_brain_mask"]
