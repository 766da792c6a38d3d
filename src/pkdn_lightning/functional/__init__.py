"""Pure functions on tensors: resizing and colour."""
