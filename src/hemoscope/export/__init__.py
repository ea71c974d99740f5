"""A bundle as a graph that runs without Python."""
