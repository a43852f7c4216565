"""What is done to pixels: files opened, boxes, crops, sizes and colours."""
