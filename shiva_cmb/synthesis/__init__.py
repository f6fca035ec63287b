"""Images made to order, with a known truth."""

from shiva_cmb.synthesis.phantom import Phantom, PhantomSettings, TrueBleed, make_head

__all__ = ["Phantom", "PhantomSettings", "TrueBleed", "make_head"]
