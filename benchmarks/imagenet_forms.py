"""Time the ImageNet teacher in each form, and the training of our student and of the published one, on a GPU or a CPU.

    python benchmarks/imagenet_forms.py --device cuda                                     # 256 pixels, full width
    python benchmarks/imagenet_forms.py --image-size 64 --width 32 --batch 4 --rounds 3   # the same, small, on a CPU

Teacher: eager in fp32 with spectral norms computed at every call, as published; folded; in bfloat16; compiled too.
Student: a step with all losses in plain fp32 on TinyGAN's layout, as published; and ours, in bfloat16, channels-last,
and compiled too. Random weights and images, all forms in turn in one process, medians; on a GPU the peak memory.
What is compiled is left out on a CPU, which compiles it for minutes.
Lands in ``results/imagenet-forms-DEVICE.json``.
"""

import argparse
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from skdcgn.base.config import TINYGAN_CHANNELS, DistillConfig, StudentConfig
from skdcgn.base.files import write_json
from skdcgn.base.presets import IMAGENET_STUDENT
from skdcgn.base.records import override
from skdcgn.base.seeds import generator
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.evaluation.timing import median_seconds
from skdcgn.features.u2net import FULL, U2Net
from skdcgn.results.versions import versions
from skdcgn.students.method import Distill
from skdcgn.students.start import new_student
from skdcgn.teachers.biggan import BigGAN
from skdcgn.teachers.cgn_imagenet import ImageNetCGN, assembled
from skdcgn.teachers.tinygan import DOUBLED
from skdcgn.training.loop import Step
from skdcgn.training.train import make_accelerator

RESULTS = Path(__file__).parent / "results"
LOSSES = {"feature": 1.0, "kl": 1.0, "adversarial": 0.01, "pixel": 0.2}
Calls = dict[str, Callable[[], Any]]


def teacher_calls(cgn: ImageNetCGN, batch: int, device: torch.device) -> Calls:
    """Return, by form, how to draw the three layers of ``batch`` counterfactuals."""
    noise = cgn.spec.sample_noise(batch, generator("forms")).to(device)
    labels = (torch.arange(batch) % cgn.spec.classes).to(device)
    published = copy.deepcopy(cgn)
    for part in (published.f_shape, published.f_text, published.f_bg):
        for module in list(part.modules()):
            if isinstance(module, nn.Conv2d | nn.Linear):
                spectral_norm(module)
    published.eval()
    compiled = copy.deepcopy(cgn)
    compiled.compile()

    def draw(network: nn.Module, bf16: bool) -> None:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            for mechanism in Mechanism:
                network(mechanism, noise, labels).sum().item()  # waits for the device

    return {
        "fp32, as published": lambda: draw(published, False),
        "fp32, folded": lambda: draw(cgn, False),
        "bf16, folded": lambda: draw(cgn, True),
        "bf16, folded, compiled": lambda: draw(compiled, True),
    }


def training_calls(cgn: ImageNetCGN, batch: int, width: int, device: torch.device) -> Calls:
    """Return, by form, how to take one step of a texture's distillation on ``batch`` pairs."""
    spec = cgn.spec
    tiny = StudentConfig(
        channels=tuple(width * count for count in TINYGAN_CHANNELS),
        grid=spec.image_size // DOUBLED,
        embedding=128,
        separable=True,
        class_input=False,
    )
    ours = StudentConfig(
        channels=IMAGENET_STUDENT.channels, grid=spec.image_size // 64, embedding=IMAGENET_STUDENT.embedding
    )
    pairs = {
        "noise": spec.sample_noise(batch, generator("forms")).to(device),
        "labels": (torch.arange(batch) % spec.classes).to(device),
        "images": (torch.rand(batch, 3, spec.image_size, spec.image_size, generator=generator("forms")) * 2 - 1).to(
            device
        ),
    }

    def step(student: StudentConfig, **way: bool) -> Callable[[], Any]:
        torch.manual_seed(0)
        config = override(DistillConfig(texture=student), {**LOSSES, **way})
        method = Distill(config, new_student(config, Mechanism.TEXTURE, spec))
        method.to(make_accelerator(device.type))
        return lambda: method.step(pairs, Step())

    return {
        "TinyGAN, fp32, as published": step(tiny),
        "ours, fp32": step(ours),
        "ours, bf16, channels-last": step(ours, bf16=True, channels_last=True),
        "ours, bf16, channels-last, compiled": step(ours, bf16=True, channels_last=True, compile=True),
    }


def without_compiled(calls: Calls, device: torch.device) -> Calls:
    return {name: call for name, call in calls.items() if device.type == "cuda" or "compiled" not in name}


def measure_forms(calls: Calls, batch: int, rounds: int, device: torch.device) -> dict[str, dict[str, float]]:
    """Return, by form, images per second, the ratio to the first form, and on a GPU the peak memory in GiB."""
    seconds = median_seconds(calls, rounds, warm_up=3)
    first, measurements = next(iter(seconds.values())), {}
    for name, value in seconds.items():
        measurements[name] = {"images_per_second": batch / value, "times_as_fast": first / value}
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            calls[name]()
            measurements[name]["peak_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return measurements


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--width", type=int, default=128, help="of the BigGANs; a TinyGAN's is a quarter of it")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    device = make_accelerator(arguments.device).device
    torch.manual_seed(0)
    cgn = assembled(BigGAN(arguments.image_size, width=arguments.width), U2Net(FULL)).eval().to(device)
    record: dict[str, Any] = {
        "command": " ".join(
            [
                "python benchmarks/imagenet_forms.py",
                *(f"--{k.replace('_', '-')} {v}" for k, v in vars(arguments).items()),
            ]
        ),
        "versions": versions(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
    }
    for name, calls in (
        ("teacher", teacher_calls(cgn, arguments.batch, device)),
        ("training", training_calls(cgn, arguments.batch, arguments.width // 4, device)),
    ):
        record[name] = measure_forms(without_compiled(calls, device), arguments.batch, arguments.rounds, device)
        for form, numbers in record[name].items():
            print(f"{name}, {form}: " + ", ".join(f"{key} {value:.3g}" for key, value in numbers.items()), flush=True)
    write_json(RESULTS / f"imagenet-forms-{arguments.device}.json", record)


if __name__ == "__main__":
    main()
