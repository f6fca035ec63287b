"""Training of the anatomy network: images of random contrast from label maps, and the fit."""
