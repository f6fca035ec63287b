"""One command per model that comes with the package: each trains it anew, from label maps alone."""
