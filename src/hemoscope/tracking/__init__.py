"""Runs in a tracking server: what is told of a run folder (`record`), to whom, and while it trains (`live`)."""
