"""The losses: named terms with scheduled weights.

A term compares the network's output with the ground truth (`Reconstruction`), with the output of the frozen teacher
(`TeacherImage`, `FeatureDistillation`), or an estimated prior with that of the HR face (`PriorEstimate`). `Objective`
is their weighted sum. Terms with weight 0 are not computed, and the teacher runs only if an active term needs it.
Equation numbers refer to PKDN; terms of other methods name their paper.
"""

from pkdn_lightning.losses.distillation import (
    AttentionTransfer,
    FeatureAffinity,
    FeatureDistillation,
    FeatureTerm,
    TeacherImage,
)
from pkdn_lightning.losses.objective import Objective, Progress, Weight
from pkdn_lightning.losses.perceptual import FaceFeatures, FrozenFeatures, VGGFeatures
from pkdn_lightning.losses.terms import Intermediate, LossTerm, PriorEstimate, Reconstruction, Spectrum

__all__ = [
    "AttentionTransfer", "FaceFeatures", "FeatureAffinity", "FeatureDistillation", "FeatureTerm", "FrozenFeatures",
    "Intermediate", "LossTerm", "Objective", "PriorEstimate", "Progress", "Reconstruction", "Spectrum", "TeacherImage",
    "VGGFeatures", "Weight",
]  # fmt: skip
