"""From a bundle and another laboratory's cells to a bundle that knows them: adapted without labels, or with a few."""
