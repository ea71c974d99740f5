"""Scores from predictions alone: counts, rates, intervals. Never a network, never an image."""
