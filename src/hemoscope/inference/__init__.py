"""A finished network at work: images in, probabilities out."""
