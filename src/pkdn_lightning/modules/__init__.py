"""LightningModules for training teachers, students and adversarial methods."""

from pkdn_lightning.modules.adversarial import AdversarialModule
from pkdn_lightning.modules.base import SRModule
from pkdn_lightning.modules.student import FrozenTeacher, StudentModule
from pkdn_lightning.modules.teacher import TeacherModule

__all__ = ["AdversarialModule", "FrozenTeacher", "SRModule", "StudentModule", "TeacherModule"]
