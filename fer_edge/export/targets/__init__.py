"""What is written for a target: TensorRT's engines, Triton's models."""
