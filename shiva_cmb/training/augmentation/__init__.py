"""Random changes of images and labels, as Keras layers."""
