"""Trained networks on disk: checkpoints, published weights, the Hugging Face hub, exported graphs.

card          describes the network in a file
checksum      detects damaged files
checkpoints   rebuilds a network from a checkpoint and its card
pretrained    safetensors on disk and on the hub, and the included weights (beside this file)
hub           publishes a model
model_card    writes its README
runtimes      runs a model, whatever its format; ONNX graphs without torch
torch_runtimes  runs checkpoints and torch.export programs
onnx_int8     quantises ONNX graphs to 8 bits
onnx_rewrite  rewrites ONNX graphs for 8-bit kernels
"""
