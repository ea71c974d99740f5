"""Runs beside each other: how sure each score is, and which of them can be told apart."""
