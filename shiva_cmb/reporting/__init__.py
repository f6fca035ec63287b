"""What people look at: pictures of the lesions."""

from shiva_cmb.reporting.overlay import write_overlay

__all__ = ["write_overlay"]
