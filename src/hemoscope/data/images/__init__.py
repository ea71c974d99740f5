"""One image file becomes upright 8-bit RGB, or an error; what it looks like, as numbers."""
