"""What a run is called: its method is its network and the way it was trained, both read from its configuration."""

from collections.abc import Mapping
from typing import Any, Final

ORDER: Final = (
    "bicubic",
    "URDGN",
    "FSRNet",
    "FSRGAN",
    "DIC",
    "DICGAN",
    "SISN",
    "SPARNet",
    "RCAN",
    "SFMNet",
    "FishFSRNet",
)
"""The order of rows, which is the paper's; what is not listed comes behind, then KDFSRNet, PKDN and teachers."""

STUDENT: Final = "PKDN"
TEACHER: Final = "PKDN teacher"
BLOCKS: Final = ("pfb", "ffb")
"""The options of PKDN's teacher that its ablation switches off."""

_LAST: Final = ("KDFSRNet", STUDENT)
_ADVERSARIAL: Final = {"FSRNet": "FSRGAN", "DIC": "DICGAN", "URDGN": "URDGN"}
_HEATMAPS: Final = {
    "landmarks": "landmark heatmaps",
    "components": "component heatmaps from parsing maps",
}


def class_name(target: Any) -> str:
    """Returns the last part of a `_target_`."""
    return str(target or "").rpartition(".")[2]


def method_name(config: Mapping[str, Any], *, distilled: bool, teacher: Mapping[str, Any] | None = None) -> str:
    """Returns the name of the method that a configuration trains.

    Args:
        config: The resolved configuration of a training.
        distilled: Whether it learned from a teacher.
        teacher: That teacher's network, as far as it is known. PKDN is what learned from a teacher with PFB and FFB;
            the others are its ablation and bear another name.

    Example:
        >>> config = {"model": {"_target_": "pkdn_lightning.networks.pkdn.PKDNStudent"}, "module": {}}
        >>> method_name(config, distilled=True), method_name(config, distilled=False)
        ('PKDN', 'PKDN student, no distillation')
    """
    name = class_name(config["model"]["_target_"])
    if name.endswith("Teacher"):
        name = f"{name.removesuffix('Teacher')} teacher"
        return name + without_blocks(config["model"], " ") if name == TEACHER else name
    if name.endswith("Student"):
        name = name.removesuffix("Student")
        name = name if distilled else f"{name} student, no distillation"
        name += without_blocks(teacher or {}, ", teacher ") if name == STUDENT else ""
    elif distilled:
        name = f"{name}, distilled"
    if class_name(config["module"].get("_target_")) == "AdversarialModule":
        return _ADVERSARIAL.get(name, f"{name}, adversarial")
    return name


def without_blocks(teacher: Mapping[str, Any], before: str) -> str:
    """Returns which of PFB and FFB a teacher lacks, in words behind `before`; nothing if it has both or is unknown."""
    standard = class_name(teacher.get("_target_")) in ("", "PKDNTeacher")  # KDFSRNet's teacher has neither
    low_res = [block.upper() for block in BLOCKS if not teacher.get(block, standard)]
    return f"{before}without {' and '.join(low_res)}" if low_res else ""


def is_ablation(method: str) -> bool:
    """Returns whether a method is PKDN with another teacher than the paper's."""
    return method.startswith(f"{STUDENT}, teacher without")


def is_teacher(method: str) -> bool:
    """Returns whether a method is a teacher."""
    return method.partition(" without ")[0].endswith(" teacher") and not is_ablation(method)


def rank(method: str) -> tuple[int, str]:
    """Returns what to sort methods by."""
    if is_teacher(method):
        return len(ORDER) + 1 + len(_LAST), method
    if method in ORDER:
        return ORDER.index(method), ""
    for place, name in enumerate(_LAST):
        if method.partition(" ")[0].rstrip(",") == name:
            # The plain student before the distilled one: a step of the ablation, and PKDN is the last row.
            return len(ORDER) + 1 + place, "~" if method == name else method
    return len(ORDER), method


def taught_with(config: Mapping[str, Any], *, distilled: bool) -> str:
    """Returns what a method saw in training besides LR and HR faces, in words; empty if nothing."""
    lessons = []
    terms = [term.get("term") or {} for term in config.get("objective", {}).values()]
    priors = {term.get("prior") for term in terms if class_name(term.get("_target_")) == "PriorEstimate"}
    if "parsing" in priors:
        lessons.append("parsing maps")
    heatmaps = config["data"].get("heatmaps", "none")
    if heatmaps in _HEATMAPS:
        lessons.append(_HEATMAPS[heatmaps])
    if distilled:
        lessons.append("a teacher that sees parsing maps")
    if class_name(config["module"].get("_target_")) == "AdversarialModule":
        lessons.append("a discriminator")
    if config["module"].get("init_from"):
        lessons.append("the first weights of another network")
    return ", ".join(lessons)
