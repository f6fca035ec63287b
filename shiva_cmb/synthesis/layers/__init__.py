"""The scanner and the bleeds as Keras layers: what training makes on the accelerator."""
