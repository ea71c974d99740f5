"""Rows of the review page in SQLite or PostgreSQL; images never lie here."""
