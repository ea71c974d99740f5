"""The 27 architectures of the paper: registry, building, and where their weights come from."""
