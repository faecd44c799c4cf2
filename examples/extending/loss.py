"""A loss: masks are learned with an L1 on differences between neighbouring pixels besides the pixel loss."""

import sys

import torch

import skdcgn
from skdcgn.base.seeds import generator
from skdcgn.students.start import new_student
from skdcgn.training.loop import Batch, Method, Step, fit
from skdcgn.training.losses import pixel_l1


def edge_l1(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean |d(s - t)| over horizontal and vertical differences d of neighbouring pixels."""
    away = student - teacher
    return away.diff(dim=-2).abs().mean() + away.diff(dim=-1).abs().mean()


class WithEdges(Method):
    def __init__(self, student: torch.nn.Module) -> None:
        super().__init__({"student": student}, {"student": torch.optim.Adam(student.parameters(), lr=1e-2)})

    def step(self, batch: Batch, now: Step) -> dict[str, float]:
        images = self.modules["student"].train()(batch["noise"], batch["labels"])
        terms = {"pixel": pixel_l1(images, batch["images"]), "edge": edge_l1(images, batch["images"]) / 2}
        self.descend("student", terms["pixel"] + terms["edge"])
        return {name: term.item() for name, term in terms.items()}


def batch_at(step: int) -> Batch:
    noise, labels = teacher.spec.sample_noise(64, generator(0, "edges", step)), torch.arange(64) % 10
    return {"noise": noise, "labels": labels, "images": teacher.query("shape", noise, labels)}


teacher, steps = skdcgn.load_teacher("double-colored-digits"), int((sys.argv[1:] or [500])[0])
student = new_student(skdcgn.DistillConfig(), skdcgn.Mechanism.SHAPE, teacher.spec)
for record in fit(WithEdges(student), batch_at, steps):
    print(record.step, record.losses)
