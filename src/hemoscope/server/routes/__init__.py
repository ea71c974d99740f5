"""The API, one file a group of routes; every path below /api/v1."""
