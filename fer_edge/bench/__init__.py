"""Latency, accuracy and memory of an artifact's precisions, side by side.

:mod:`~fer_edge.bench.suite` measures, :mod:`~fer_edge.bench.report` and
:mod:`~fer_edge.bench.plot` show. Nothing is imported here: the process that measures memory
starts in this package and must not load what it does not need.
"""
