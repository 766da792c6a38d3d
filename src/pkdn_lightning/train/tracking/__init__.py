"""Logging to W&B, TensorBoard, MLflow and CSV.

trackers    what is logged at the start, at a validation, at the end, by kind of logger
artifacts   stores and checkpoints as W&B artifacts by reference
mlflow      MLflow without a server, resumable
csv_log     a CSV file that survives a resume
"""
