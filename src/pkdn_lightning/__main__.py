"""The command `pkdn <verb>`: the same as `python -m pkdn_lightning.<verb>`."""

import runpy
import sys

from pkdn_lightning import __version__

VERBS = {
    "prepare": "makes a store, the suite's training data, from a folder of faces",
    "train": "trains a teacher, a student, or a student with the teacher it needs",
    "evaluate": "measures runs, checkpoints and bicubic under one protocol",
    "sweep": "shows where the jobs of a sweep stand: finished, running, waiting, failed",
    "predict": "restores faces in images, folders and photographs",
    "export": "writes a trained model as safetensors, torch.export program, ONNX, and 8-bit ONNX",
    "demo": "opens a local web page that restores the faces of images dropped on it",
    "info": "says what networks cost, block by block: parameters, operations, memory, time",
    "report": "compares all finished runs: the paper's tables and figure, with statistics",
}
"""Each verb is a module of this package that can be run."""


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
    # As `python -m` does it, so that processes started for further devices can be started the same way.
    runpy.run_module(f"pkdn_lightning.{verb}", run_name="__main__", alter_sys=True)


_FOOTER = "`pkdn <verb> --help` shows what a verb can be told; `pkdn train experiment=demo` is a good start."

if __name__ == "__main__":
    main()
