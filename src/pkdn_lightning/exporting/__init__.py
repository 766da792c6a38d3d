"""What the verb `export` does, part by part.

graphs      the network as a torch.export program and as ONNX, with what one has to know inside the file
rewriting   the ONNX graph as its 8-bit form wants it
quantising  the ONNX model in 8-bit integers
checking    each file against the original, on faces
running     the plot: all of it in turn
"""
