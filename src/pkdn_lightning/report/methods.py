"""Names of methods: network and training scheme, both read from a run's configuration."""

from collections.abc import Mapping
from typing import Any, Final

ORDER: Final = (
    *("bicubic", "URDGN", "FSRNet", "FSRGAN", "DIC", "DICGAN", "SISN", "SPARNet", "RCAN", "SFMNet", "FishFSRNet"),
)
"""The order of rows, which is the paper's; other methods follow, then KDFSRNet, PKDN and teachers."""

STUDENT: Final = "PKDN"
TEACHER: Final = "PKDN teacher"
LAST: Final = ("KDFSRNet", STUDENT)
"""The methods of the last rows before the teachers."""

BLOCKS: Final = ("pfb", "ffb")
"""The options of PKDN's teacher that its ablation switches off."""

_ADVERSARIAL: Final = {"FSRNet": "FSRGAN", "DIC": "DICGAN", "URDGN": "URDGN"}
_HEATMAPS: Final = {"landmarks": "landmark heatmaps", "components": "component heatmaps from parsing maps"}


def class_name(target: Any) -> str:
    """Returns the last part of a `_target_`."""
    return str(target or "").rpartition(".")[2]


def method_name(config: Mapping[str, Any], teacher: Mapping[str, Any] | None) -> str:
    """Returns the name of the method that a configuration trains.

    Args:
        config: The resolved configuration of a training.
        teacher: The network that it was distilled from, empty if unknown; None without distillation. PKDN is a student
            of a teacher with PFB and FFB; students of other teachers are its ablation and have another name.

    Example:
        >>> config = {"model": {"_target_": "pkdn_lightning.networks.pkdn.PKDNStudent"}, "module": {}}
        >>> method_name(config, teacher={}), method_name(config, teacher=None)
        ('PKDN', 'PKDN student, no distillation')
    """
    name = class_name(config["model"]["_target_"])
    if name.endswith("Teacher"):
        name = f"{name.removesuffix('Teacher')} teacher"
        return name + without_blocks(config["model"], " ") if name == TEACHER else name
    if name.endswith("Student"):
        name = name.removesuffix("Student")
        name = f"{name} student, no distillation" if teacher is None else name
        if name == STUDENT:
            of_its_kind = class_name((teacher or {}).get("_target_")).endswith("Student")  # which has no such blocks
            name += ", taught by a student" if of_its_kind else without_blocks(teacher or {}, ", teacher ")
    elif teacher is not None:
        name = f"{name}, distilled"
    if class_name(config["module"].get("_target_")) == "AdversarialModule":
        return _ADVERSARIAL.get(name, f"{name}, adversarial")
    return name


def without_blocks(teacher: Mapping[str, Any], before: str) -> str:
    """Returns which of PFB and FFB a teacher lacks, in words after `before`; empty if it has both or is unknown."""
    standard = class_name(teacher.get("_target_")) in ("", "PKDNTeacher")  # KDFSRNet's teacher has neither
    absent = [block.upper() for block in BLOCKS if not teacher.get(block, standard)]
    return f"{before}without {' and '.join(absent)}" if absent else ""


def is_ablation(method: str) -> bool:
    """Returns whether a method is PKDN with another teacher than the paper's."""
    return method.startswith(f"{STUDENT}, teacher without")


def is_teacher(method: str) -> bool:
    """Returns whether a method is a teacher."""
    return method.partition(" without ")[0].endswith(" teacher") and not is_ablation(method)


def rank(method: str) -> tuple[int, str]:
    """Returns what to sort methods by."""
    if is_teacher(method):
        return len(ORDER) + 1 + len(LAST), method
    if method in ORDER:
        return ORDER.index(method), ""
    for place, name in enumerate(LAST):
        if method.partition(" ")[0].rstrip(",") == name:
            # The plain student before the distilled one: a step of the ablation, and PKDN is the last row.
            return len(ORDER) + 1 + place, "~" if method == name else method
    return len(ORDER), method


def _teacher(config: Mapping[str, Any], network: Mapping[str, Any]) -> str:
    """Returns what the teacher of a training sees, in words."""
    if class_name(network.get("_target_")).endswith("Student"):
        return "a teacher that sees LR faces only"
    return f"a teacher that sees {parsing_maps(config)}"


def parsing_maps(config: Mapping[str, Any]) -> str:
    """Returns which parsing maps a training reads, in words."""
    damage = config["data"].get("parsing_damage", "none")
    maps = {"none": "parsing maps", "other": "other faces' parsing maps"}
    return maps.get(damage, f"{damage} parsing maps")


def taught_with(config: Mapping[str, Any], teacher: Mapping[str, Any] | None) -> str:
    """Returns what a method saw in training besides LR and HR faces, in words; empty if nothing.

    Args:
        config: The resolved configuration of a training.
        teacher: The network that it was distilled from; None without distillation.
    """
    terms = [term.get("term") or {} for term in config.get("objective", {}).values()]
    priors = {term.get("prior") for term in terms if class_name(term.get("_target_")) == "PriorEstimate"}
    adversarial = class_name(config["module"].get("_target_")) == "AdversarialModule"
    supervision = [
        parsing_maps(config) if "parsing" in priors else "",
        _HEATMAPS.get(config["data"].get("heatmaps", "none"), ""),
        "" if teacher is None else _teacher(config, teacher),
        "a discriminator" if adversarial else "",
        "the first weights of another network" if config["module"].get("init_from") else "",
    ]
    return ", ".join(filter(None, supervision))
