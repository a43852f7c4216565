"""An artifact of FER-Edge: fer-edge finds it by the entry point of this package."""
