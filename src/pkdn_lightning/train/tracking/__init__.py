"""What trackers (W&B, TensorBoard, MLflow) learn of a run.

trackers   what each of them is told at the beginning, at a validation, at the end
lineage    what a run was made from and what it makes, as W&B artifacts by reference
mlflow     MLflow without a server, resumable
"""
