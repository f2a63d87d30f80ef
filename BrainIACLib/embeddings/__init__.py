"""Embeddings of many scans as one table, computed once."""
