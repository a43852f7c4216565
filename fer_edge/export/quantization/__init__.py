"""Post-training quantisation: calibration, placement, and the graphs that are made of them."""
