"""What sweepers and launchers raise, in words: Hydra's of a choice, Optuna's of a study, submitit's of SLURM."""

import re


def explain_sweep(error: Exception) -> str | None:
    """Returns what a sweep failed at and what to type next; None of errors of other origin.

    The plugins may not be installed, so their exceptions are known by message and module.
    """
    message = str(error).strip()
    if "No trials are completed" in message:
        return "SweepError: no trial of the study was completed."
    if "Config group override must be a string" in message:  # e.g. of a range
        return "ConfigError: the choices of a group are names; --help lists them."
    if 'Could not detect "srun"' in message:
        return "SweepError: there is no SLURM on this machine: srun is not found. Jobs side by side: launch=joblib"
    if not type(error).__module__.startswith("submitit."):
        return None
    if refused := re.findall(r"sbatch: error: (.*)", message):
        return (
            f"SweepError: SLURM refused the jobs: {'. '.join(each.rstrip('.') for each in refused)}.\n"
            "Partitions, memory (MB) and GPUs of its nodes: sinfo -o '%P %m %G'\n"
            "Set what fits: hydra.launcher.partition=<name> hydra.launcher.mem_gb=8 hydra.launcher.gpus_per_node=0"
        )
    if ended := re.search(r"Job (\S+) .* with path (\S+)_result\.pkl\s.*\(state: (.*?)\)", message):
        job, log, state = ended.groups()
        return (
            f"SweepError: job {job} ended without a result (state {state}); its log is {log}_log.err. The other jobs "
            "go on.\nRepeat the command when they have ended: it continues what is unfinished."
        )
    return None
