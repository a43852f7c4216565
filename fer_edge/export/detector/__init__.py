"""From the weights of RetinaFace to the artifact of a detector."""
