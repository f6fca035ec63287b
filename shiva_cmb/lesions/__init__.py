"""Lesions in a probability map: components, their table, their shape."""

from shiva_cmb.lesions.criteria import LesionCriteria
from shiva_cmb.lesions.find import FoundLesions, find_lesions
from shiva_cmb.lesions.table import Lesion, LesionTable

__all__ = ["FoundLesions", "Lesion", "LesionCriteria", "LesionTable", "find_lesions"]
