"""Where a network looked, and whether that says more than a blob in the middle would."""
