"""A trained network, or several, ready to answer: images in, verdicts out."""
