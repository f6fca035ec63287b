"""What people look at: pictures of the lesions."""

from shiva_cmb.reporting.gallery import GalleryEntry, GalleryVolumes, write_gallery
from shiva_cmb.reporting.overlay import write_overlay

__all__ = ["GalleryEntry", "GalleryVolumes", "write_gallery", "write_overlay"]
