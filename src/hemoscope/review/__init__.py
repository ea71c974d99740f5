"""Reviewing a slide: its cells, the log of what readers did, the count that follows, and what leaves the house."""
