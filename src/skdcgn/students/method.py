"""The method of distillation: one step of a student mechanism, on the losses of :mod:`skdcgn.students.distill`."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from skdcgn.base.config import Distance, DistillConfig
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.features.perceptual import load_features
from skdcgn.students.discriminator import Discriminator
from skdcgn.students.generator import StudentGenerator
from skdcgn.training import losses
from skdcgn.training.loop import Batch, Method, Step, fixed_weights, moving_average

BETAS = (0.5, 0.99)
DISCRIMINATOR_BETAS = (0.0, 0.9)


class Distill(Method):
    """One step of distillation; the batch holds ``noise``, ``labels`` and the teacher's ``images``."""

    def __init__(self, config: DistillConfig, student: StudentGenerator) -> None:
        mechanism = student.mechanism
        modules: dict[str, nn.Module] = {"student": student}
        optimizers: dict[str, torch.optim.Optimizer] = {
            "student": torch.optim.Adam(student.parameters(), lr=config.learning_rate, betas=BETAS, fused=True)
        }
        self.adversary = bool(config.feature or config.kl or config.adversarial)
        if self.adversary:
            modules["discriminator"] = discriminator = Discriminator(mechanism.channels, student.spec.classes)
            optimizers["discriminator"] = torch.optim.Adam(
                discriminator.parameters(), lr=config.discriminator_rate, betas=DISCRIMINATOR_BETAS, fused=True
            )
        if config.ema:
            modules["ema"] = moving_average(student, config.ema)
        super().__init__(modules, optimizers, {"features": load_features(config.features)} if config.perceptual else {})
        self.config = config
        by_mean = mechanism is Mechanism.SHAPE and config.masks is Distance.L2
        self.distance = losses.pixel_l2 if by_mean else losses.pixel_l1
        self.bf16, self.channels_last, self.compiled = config.bf16, config.channels_last, config.compile

    def result(self) -> StudentGenerator:
        """Return the student, or the average of its weights, in evaluation mode."""
        if self.config.ema:
            return cast(StudentGenerator, cast(AveragedModel, self.modules["ema"]).module.eval())
        return cast(StudentGenerator, self.modules["student"].eval())

    def step(self, batch: Batch, now: Step) -> dict[str, float]:
        with self.autocast():
            student = self.modules["student"].train()(batch["noise"], batch["labels"])
        terms = {"pixel": self.config.pixel * self.distance(student, batch["images"])}
        if self.config.perceptual:
            terms["perceptual"] = self.config.perceptual * self._perceptual(student, batch["images"])
        logged: dict[str, float] = {}
        if self.adversary:
            logged["discriminator"] = self._train_discriminator(batch["images"], student.detach(), batch["labels"])
            terms |= self.adversarial_terms(student, batch["images"], batch["labels"])
        self.descend("student", torch.stack(list(terms.values())).sum())
        if self.config.ema:
            cast(AveragedModel, self.modules["ema"]).update_parameters(self.modules["student"])
        return logged | {name: value.item() for name, value in terms.items()}

    def _perceptual(self, student: Tensor, teacher: Tensor) -> Tensor:
        with self.autocast():
            of_student, of_teacher = (self.frozen["features"](x.expand(-1, 3, -1, -1)) for x in (student, teacher))
        return losses.feature_l1(of_student, of_teacher)

    def adversarial_terms(self, student: Tensor, teacher: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the discriminator's losses of student and teacher images (B, C, H, W), each with its weight."""
        config = self.config
        with fixed_weights(self.modules["discriminator"]) as discriminator, self.autocast():
            with torch.no_grad():
                of_teacher = [f.float() for f in discriminator(teacher, labels).features]
            logits, features = discriminator(student, labels)
        of_student = [f.float() for f in features]
        terms = {}
        if config.feature:
            terms["feature"] = config.feature * losses.feature_l1(of_student, of_teacher)
        if config.kl:
            terms["kl"] = config.kl * losses.feature_kl(of_student, of_teacher, config.temperature)
        if config.adversarial:
            terms["adversarial"] = config.adversarial * losses.hinge_generator(logits)
        return terms

    def _train_discriminator(self, real: Tensor, fake: Tensor, labels: Tensor) -> float:
        discriminator = self.modules["discriminator"]
        with self.autocast():
            logits = discriminator(real, labels).logits, discriminator(fake, labels).logits
        loss = losses.hinge_discriminator(*logits)
        self.descend("discriminator", loss)
        return loss.item()
