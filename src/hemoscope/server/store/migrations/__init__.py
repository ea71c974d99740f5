"""What changed in the tables, one file a version."""
