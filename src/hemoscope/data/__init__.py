"""Cells on a disk: scanned, checked, split, cut out, drawn, and kept as pixels that are ready to train on."""
