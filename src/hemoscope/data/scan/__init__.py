"""What lies on a disk becomes a manifest: folders, CSV, zip, Parquet and `.npz`, with every problem in it."""
