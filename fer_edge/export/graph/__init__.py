"""Graphs: what is in one, and what its nodes do."""
