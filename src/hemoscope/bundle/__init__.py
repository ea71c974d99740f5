"""A model as one file: what is in it, and reading it without trust. How one is made: `packing`."""
