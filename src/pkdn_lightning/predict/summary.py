"""What a prediction did, in numbers and words."""

from collections import Counter
from collections.abc import Sequence

from pkdn_lightning.console import counted
from pkdn_lightning.predict.manifest import Row


def summary(rows: Sequence[Row], skipped: int) -> str:
    """Returns how many pictures were restored, left alone and failed, and how many faces by which model.

    Args:
        rows: A row per picture.
        skipped: How many of them were done before.
    """
    counts = Counter(row.status for row in rows)
    faces = sum((Counter(row.models) for row in rows), Counter[str]())
    by = [name if len(faces) == 1 else f"{number} by {name}" for name, number in faces.most_common()]
    restored = f" ({counted(faces.total(), 'face')}{' by ' if len(by) == 1 else ': '}{', '.join(by)})" if by else ""
    before = f" ({skipped} of them done before)" if skipped else ""
    kept = f", {counts['kept']} kept as they were" if counts["kept"] else ""
    return (
        f"{counted(len(rows), 'picture')}: {counts['restored']} restored{restored}, {counts['copied']} left alone, "
        f"{counts['failed']} failed{kept}{before}"
    )


def remarks(rows: Sequence[Row]) -> list[str]:
    """Returns what else a user should know: faces left alone, turned photographs, and models that suit better."""
    found = []
    if kept := Counter(face["kept"] for row in rows for face in row.faces if "kept" in face):
        reasons = "; ".join(f"{number} {reason}" for reason, number in kept.most_common())
        found.append(
            f"{counted(kept.total(), 'face')} left alone: {reasons}. faces=all restores all that lie in the picture."
        )
    if turned := [row.input for row in rows if row.turn and row.status == "restored"]:
        found.append(
            f"{counted(len(turned), 'photograph')} on the side or upside down, restored as stored: {turned[0]}"
            + (", ..." if len(turned) > 1 else "")
        )
    for name, number in Counter(row.better for row in rows if row.better).items():
        found.append(f"The faces of {counted(number, 'picture')} have a size that {name} suits better: model={name}")
    return found
