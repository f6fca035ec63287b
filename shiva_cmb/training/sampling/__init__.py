"""Which part of which case the networks see next, as batches for Keras."""
