"""The command `pkdn <verb>`: the same as `python -m pkdn_lightning.<verb>`."""

import runpy
import sys

from pkdn_lightning import __version__

VERBS = {
    "prepare": "turns a face dataset into a store of training data",
    "train": "trains a teacher or a student; a student's teacher is trained first if missing",
    "evaluate": "measures runs, checkpoints and bicubic under one protocol",
    "sweep": "shows the status of a sweep's jobs: finished, running, waiting, failed",
    "predict": "restores faces in images, folders and photographs",
    "export": "writes a trained model as safetensors, torch.export program, ONNX and 8-bit ONNX",
    "demo": "opens a local web page that restores faces in uploaded images",
    "info": "shows the cost of networks per block: parameters, operations, memory, time",
    "report": "compares all finished runs: the paper's tables and figure, with statistics",
}
"""Verbs with their descriptions; each is an executable module of this package."""


def main() -> None:
    """Runs the verb named on the command line."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help", "help"):
        lines = [f"  {verb:<10}{what}" for verb, what in VERBS.items()]
        sys.stdout.write("\n".join(["usage: pkdn <verb> [key=value ...]", "", *lines, "", _FOOTER, ""]))
        return
    if sys.argv[1] == "--version":
        sys.stdout.write(f"pkdn-lightning {__version__}\n")
        return
    verb = sys.argv.pop(1)
    if verb not in VERBS:
        sys.stderr.write(f"There is no verb '{verb}'. There are: {', '.join(VERBS)}.\n")
        sys.exit(2)
    # Same as `python -m`, so that Lightning can start the processes of further devices with the same command.
    try:
        runpy.run_module(f"pkdn_lightning.{verb}", run_name="__main__", alter_sys=True)
    except KeyboardInterrupt:  # before the verb's own modules are imported, which takes seconds
        sys.stderr.write("Stopped by the keyboard.\n")
        sys.exit(1)


_FOOTER = "`pkdn <verb> --help` lists the keys of a verb; `pkdn train experiment=demo` is a good start."

if __name__ == "__main__":
    main()
