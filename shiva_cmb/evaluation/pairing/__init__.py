"""Which files belong to one case."""
