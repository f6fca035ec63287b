"""A second generator, written independently of the first: scans by simulation, to judge networks on.

Susceptibility and relaxation of a whole head at 0.5 mm, the field by convolution with a dipole, the complex
signal, and its average over the native voxels. Of what the first generator uses only the reading of head
maps, the rule of what is visible and the writing of files are used here, so that what networks learned from
that generator's habits does not help them.
"""

from shiva_cmb.synthesis.physical.scan import make_scan
from shiva_cmb.synthesis.physical.settings import PhysicalSettings

__all__ = ["PhysicalSettings", "make_scan"]
