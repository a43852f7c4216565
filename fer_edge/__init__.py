"""FER-Edge: facial-expression recognition from training to a camera at the edge."""

__version__ = "0.1.0"
