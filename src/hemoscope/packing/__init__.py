"""From finished runs to a bundle: thresholds chosen on validation answers, measured on test answers."""
