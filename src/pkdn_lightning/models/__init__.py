"""Trained networks on disk: checkpoints, published weights, the Hugging Face hub, exported graphs.

checkpoints   a network rebuilt from a checkpoint, with the card that describes it
pretrained    safetensors with their card, the hub, and the weights that come with the package (beside this file)
hub           publishing a model
model_card    its README
runtimes      exported graphs: torch.export and ONNX
"""
