"""FER-Edge and other packages on the same frames and faces, one core each."""
