"""Made-up heads with bleeds in known places, made in a moment: what training is tested on."""

from tests.phantom.making import Phantom, PhantomSettings, TrueBleed, make_head

__all__ = ["Phantom", "PhantomSettings", "TrueBleed", "make_head"]
