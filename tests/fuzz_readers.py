"""Every reader of something that a user, another program or a killed run may have left: one line each.

A new reader is fuzzed by being added to ``READERS``. ``build`` writes sound files into an empty folder; ``read`` reads
and uses them as a command would; ``targets`` are the files to damage.
"""

import gzip
import io
import json
import shutil
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from helpers_audit import small_record
from skdcgn.base.config import (
    ClassifyConfig,
    DistillConfig,
    EnsembleConfig,
    QueryConfig,
    RunConfig,
    StudentConfig,
    TeachConfig,
)
from skdcgn.base.cure_config import Trained
from skdcgn.base.door import read_bytes, read_json
from skdcgn.base.errors import UserError
from skdcgn.base.files import write_json
from skdcgn.base.presets import PHOTO_RUNS, run_preset
from skdcgn.base.progress import silent
from skdcgn.base.records import to_dict
from skdcgn.base.seeds import generator
from skdcgn.base.tensors import write_tensors
from skdcgn.cgn.black_box import Access
from skdcgn.cgn.captions import Caption
from skdcgn.cgn.classes import Classes
from skdcgn.cgn.compose import compose
from skdcgn.cgn.mechanism import Mechanism, Spec
from skdcgn.cgn.pictures import save_picture
from skdcgn.cgn.stated_spec import stated_spec
from skdcgn.cgn.subset import parse_classes
from skdcgn.cgn.wire import (
    ANSWERS,
    QUESTIONS,
    Body,
    answer_to_bytes,
    as_question,
    parse_question,
    parse_service,
    question_to_bytes,
    service_of,
)
from skdcgn.classifiers.any import open_classifier
from skdcgn.classifiers.backbones import load_backbone
from skdcgn.classifiers.class_names import read_names
from skdcgn.classifiers.ensemble import load_ensemble, train_ensemble
from skdcgn.classifiers.small_cnn import classify, load_classifier
from skdcgn.cli.options import configure
from skdcgn.data.counterfactuals import read_counterfactuals, stream_from_cgn, stream_from_file
from skdcgn.data.folders import check_pictures, list_photos, load_pictures
from skdcgn.data.idx import load_idx_folder
from skdcgn.data.images import LabelledImages
from skdcgn.data.mask_sources import from_masks
from skdcgn.data.masks import list_masked, usable_photos
from skdcgn.data.segment import segment
from skdcgn.data.synthetic_photos import OBJECTS, synthetic_photos
from skdcgn.data.textures import load_textures
from skdcgn.deploy.card import metadata
from skdcgn.deploy.origin import origin_of
from skdcgn.evaluation.challenge import ChallengeConfig, write_challenge
from skdcgn.evaluation.imagenet import open_challenges
from skdcgn.evaluation.in9 import read_in9_map
from skdcgn.evaluation.scores import HeadScores, PixelL1
from skdcgn.evaluation.shape_bias import list_cue_conflicts
from skdcgn.experiments.artifacts import artifact_kind
from skdcgn.experiments.cure_record import CureRecord, cure_rows, read_cure
from skdcgn.experiments.studies import Study
from skdcgn.experiments.study import study_record
from skdcgn.features.extractors import load_extractor
from skdcgn.features.perceptual import load_features
from skdcgn.features.saliency import load_saliency
from skdcgn.features.u2net import U2Net, Width
from skdcgn.pairs.estimate import estimate_query
from skdcgn.pairs.manifest import read_manifests
from skdcgn.pairs.query import query_all, query_pairs
from skdcgn.pairs.stored import StoredPairs
from skdcgn.report.mnist import write_mnist_report
from skdcgn.report.photos import write_photos_report
from skdcgn.report.pictures import embedded_pictures
from skdcgn.results.photo_record import PhotoCounts, PhotosResults, StudentNumbers, TrainingBudget
from skdcgn.results.records import read_study, write_study
from skdcgn.results.study_record import PointScore, StudyPoint
from skdcgn.students.active import read_questions
from skdcgn.students.distill import assemble, distill_mechanism
from skdcgn.students.enough import Look, read_looks
from skdcgn.students.generator import StudentGenerator, student_size
from skdcgn.students.start import read_embeddings
from skdcgn.teachers.cgn import CGN
from skdcgn.teachers.cgn_imagenet import random_cgn
from skdcgn.teachers.checkpoints import initial_cgn
from skdcgn.teachers.load import load_teacher
from skdcgn.teachers.photographs import build_photo_cgn
from skdcgn.teachers.record import record
from skdcgn.teachers.recorded import open_recorded
from skdcgn.teachers.remote import answer_images
from skdcgn.training.loop import Record
from skdcgn.training.run_folder import RunFolder, read_metrics

SPEC = Spec(16, 4, 3)
TINY = StudentConfig(channels=(4, 4), embedding=2)
DISTILL = DistillConfig(steps=2, batch_size=2, shape=TINY, texture=TINY, background=TINY)


@dataclass(frozen=True)
class Reader:
    """How to write sound files, which of them to damage, how to read them."""

    build: Callable[[Path], Any]
    targets: tuple[str, ...]
    read: Callable[[Path], Any]
    share: float = 1.0  # of the examples, less for large files


class Formula:
    """A teacher without weights: flat pictures whose tone is a function of noise and label."""

    spec, digest, size = SPEC, "formula", None

    def query(self, mechanism, noise, labels):
        tone = torch.sigmoid(noise[:, :1] + labels[:, None])[..., None, None]
        return tone.expand(-1, Mechanism(mechanism).channels, SPEC.image_size, SPEC.image_size).clone()


def images(count=6, classes=3, size=32):
    rng = generator("fuzz")
    pictures = torch.rand(count, 3, size, size, generator=rng) * 2 - 1
    return LabelledImages(pictures, torch.arange(count) % classes)


# Sound files.


def student(folder):
    torch.manual_seed(0)
    mechanisms = {m: StudentGenerator(m, SPEC, **student_size(DISTILL, m)) for m in Mechanism}
    assemble(mechanisms, DISTILL, folder)


def mnist_cgn(name):
    def build(folder):
        torch.manual_seed(0)
        state = CGN(Spec(classes=3, noise_dim=4)).state_dict()
        if name.endswith(".safetensors"):
            write_tensors(folder / name, state)
        else:
            torch.save(state, folder / name)

    return build


def imagenet_cgn(folder):
    write_tensors(folder / "cgn.safetensors", random_cgn(64, 8, 2, width=4, u2net=(2, 2)).state_dict())


def parts(folder):
    cgn = random_cgn(128, 8, 2, width=4, u2net=(2, 2))
    biggan = {f"generator.{k}": v for k, v in cgn.f_shape.generator.state_dict().items()}
    torch.save(biggan | {"embeddings.weight": torch.zeros(8, 2)}, folder / "biggan.bin")
    torch.save(cgn.u2net.state_dict(), folder / "u2net.pth")


def pairs(store):
    def build(folder):
        query_all(Formula(), folder, QueryConfig(6, 6, 6, 6, shard_size=3, store=store))

    return build


def journal(folder):
    """Pairs of a query that ended in its third shard: their last shard is in the journal alone."""
    answers = iter([True, True, False])

    class Ending(Formula):
        def query(self, *arguments):
            if not next(answers):
                raise ConnectionError
            return super().query(*arguments)

    with suppress(ConnectionError):
        query_pairs(Ending(), Mechanism.TEXTURE, 9, folder, shard_size=3)


def read_pairs(folder):
    stored = StoredPairs(folder / "texture" / "train")
    return [stored.images(torch.tensor([0, 5, 2])), *stored]


class Service(Formula):
    """The formula as a paid black box of two rows a query; the process ends while it answers query ``end``."""

    access = Access(batch=2, paid=True)

    def __init__(self, end=0):
        self.end, self.queries = end, 0

    def query(self, mechanism, noise, labels):
        self.queries += 1
        if self.queries == self.end:
            raise KeyboardInterrupt
        return super().query(mechanism, noise, labels)


PAID = QueryConfig(6, 6, 6, 2, shard_size=6)
OPEN = "shape/train/ledger/answered-0-000006.safetensors", "shape/train/ledger/asked-0-000007.safetensors"


def ledger(folder):
    """Leave a ledger with answers and a query that is open, as a killed process does."""
    with suppress(KeyboardInterrupt):
        query_all(Service(8), folder, PAID)
    assert all((folder / name).is_file() for name in OPEN)


def read_ledger(folder):
    return estimate_query(Service(), folder, PAID), query_all(Service(), folder, PAID)


def distillation(folder):
    pairs("float32")(folder / "pairs")
    distill_mechanism(folder / "pairs" / "shape" / "train", DISTILL, folder / "run", device="cpu")


def distill_again(folder):
    longer = replace(DISTILL, steps=3)
    distill_mechanism(folder / "pairs" / "shape" / "train", longer, folder / "run", device="cpu", extend=True)


def classifier(folder):
    classify(images(), ClassifyConfig(epochs=1), folder, device="cpu")


def classify_images(folder):
    return load_classifier(folder)(images().images)


def class_folders(folder, names=("cat", "dog"), size=8, suffix=".png"):
    for number, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for index in range(2):
            Image.new("RGB", (size, size), (40 * number, 90 * index, 50)).save(folder / name / f"{index}{suffix}")


def ensemble(folder):
    class_folders(folder / "real", ("0", "1", "2"))
    config = EnsembleConfig(weights="none", width=4, image_size=16, epochs=1, batch_size=4, counterfactuals=2)
    train_ensemble(folder / "real", stream_from_cgn(Formula(), 2), config, folder / "run", device="cpu", workers=1)


def counterfactuals(folder):
    write_tensors(folder / "counterfactuals.safetensors", compose(Formula(), 6).to_dict())


def stream(folder):
    file = folder / "counterfactuals.safetensors"
    return stream_from_file(file, 4).at(0), read_counterfactuals(file)


def idx(folder):
    for name, count in (("train", 7), ("t10k", 3)):
        pixels, labels = bytes(range(4)) * 9 * count, bytes(index % 10 for index in range(count))
        write_idx(folder / f"{name}-images-idx3-ubyte.gz", pixels, (count, 6, 6))
        write_idx(folder / f"{name}-labels-idx1-ubyte.gz", labels, (count,))


def write_idx(path, data, shape):
    path.write_bytes(gzip.compress(struct.pack(f">I{len(shape)}I", 0x800 + len(shape), *shape) + data))


def pictures(suffix, mode="RGB", **how):
    def build(folder):
        for name in ("cat", "dog"):
            (folder / name).mkdir()
            picture = Image.effect_noise((12, 9), 80).convert("I" if mode == "I;16" else mode).convert(mode)
            picture.save(folder / name / f"0{suffix}", **how)

    return build


def textures(folder):
    for part in ("object", "background"):
        (folder / part).mkdir()
        for index in range(10):
            Image.new("RGB", (8, 8), (index, 7, 9)).save(folder / part / f"{index}.png")


def challenges(folder):
    class_folders(folder / "val", ("n01440764", "n02123045"))
    nine = [
        f"{number:02d}_{word}"
        for number, word in enumerate(["dog", "bird", "car", "frog", "cat", "fly", "piano", "ape", "fish"])
    ]
    for variant in ("mixed_same", "mixed_rand"):
        class_folders(folder / "in9" / variant / "val", nine, 4)
    (folder / "in9" / "in_to_in9.json").write_text(json.dumps({"0": 3, "1": -1}))


def open_all(folder):
    return open_challenges(("n01440764", "n02123045"), images=folder / "val", in9_folder=folder / "in9")


def own_challenge(folder):
    photos = synthetic_photos(folder, train=1, test=1, size=16)
    write_challenge(photos.test, photos.masks, folder / "in9", ChallengeConfig(8), watch=silent)


def read_own_challenge(folder):
    sets = open_challenges(tuple(OBJECTS), in9_folder=folder / "in9")
    check_pictures(sets.files, silent)
    return write_challenge(folder / "test", folder / "masks", folder / "in9", ChallengeConfig(8), watch=silent)


def photo_cgn(folder):
    photos = synthetic_photos(folder, train=2, test=1, size=16)
    build_photo_cgn(photos.images, photos.masks, folder / "photos.safetensors", image_size=16, watch=silent)


def read_photo_cgn(folder):
    return compose(load_teacher(folder / "photos.safetensors"), 4)


def read_photographs(folder):
    return build_photo_cgn(
        folder / "train", folder / "masks", folder / "again.safetensors", image_size=16, watch=silent
    )


def cues(folder):
    (folder / "bear").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "bear" / "bear1-cat1.png")


def caption(folder):
    save_picture(folder / "shape.png", torch.zeros(8, 8, 3, dtype=torch.uint8), 1, Caption(("0", "1"), ("teacher",)))


def run_folder(folder):
    run = RunFolder(folder / "run", RunConfig())
    for step in (1, 2):
        run.log(Record(step, 2, {"loss": 0.5}))


def open_run(folder):
    return RunFolder(folder / "run", RunConfig()).metrics(), read_metrics(folder / "run" / "metrics.jsonl")


def digits_run(folder):
    from test_report import write_run

    write_run(folder / "run")


def photos_run(folder):
    scores = {"top-1": HeadScores(4, {"ensemble": 50.0}), "BG-gap": HeadScores(4, {"ensemble": 12.5})}
    results = PhotosResults(
        preset="photos",
        seed=0,
        digest="0" * 64,
        names=("cat", "dog"),
        photographs=PhotoCounts(8, 6, 4, 4),
        budget=TrainingBudget(10, 10, 64, 32),
        photo_cgn="0" * 64,
        classifiers={"real": scores, "counterfactuals": scores},
        student=StudentNumbers(7, {"shape": PixelL1(0.1, 0.5)}),
        synthetic=False,
        versions={"torch": "2"},
        seconds={"segment": 3.5},
    )
    write_json(folder / "run" / "results.json", to_dict(results))
    write_json(folder / "run" / "config.json", to_dict(PHOTO_RUNS["photos"]))


def run_of_student(folder):
    photos_run(folder)
    pairs = {"teacher": "0" * 64, "count": 40}
    for mechanism in Mechanism:
        write_json(folder / "run" / "students" / mechanism / "config.json", {"pairs": pairs, "seed": 0})


def read_origin(folder):
    return metadata(origin_of(folder / "run" / "student", 7), "MIT", "student")


def study(folder):
    points = [StudyPoint("a", {"classify.policy": ("shape.noise:1",)}), StudyPoint("b", {}, teach={"steps": 7})]
    scores = [
        PointScore("b", "student", 0, None, None, {}, stopped="the student draws one image"),
        PointScore("a", "student", 0, 80.0, 7, {"shape": PixelL1(0.1, 0.5)}, 3.0),
    ]
    kind = Study("letters", "Which letter?", "number", lambda base: points)
    write_study(folder, study_record(kind, run_preset("smoke"), TeachConfig(), points, scores, command="x", quick=True))


def settings(folder):
    (folder / "mine.json").write_text(json.dumps({"seed": 3, "distill": {"steps": 5, "shape": {"channels": [4, 4]}}}))


def vgg(folder):
    places, channels = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21), (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512)
    state = {}
    for place, (inputs, outputs) in zip(places, pairwise(channels), strict=True):
        state[f"features.{place}.weight"] = torch.zeros(outputs, inputs, 3, 3)
        state[f"features.{place}.bias"] = torch.zeros(outputs)
    torch.save(state, folder / "vgg.pth")


def backbone(folder):
    torch.save(load_backbone("small", width=4, weights="none").state_dict(), folder / "backbone.pth")


def onnx_extractor(folder):
    module = torch.nn.Sequential(torch.nn.AvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(12, 2))
    from onnx import TensorProto, helper, numpy_helper, save

    weight = numpy_helper.from_array(module[2].weight.detach().numpy(), "w")
    nodes = [
        helper.make_node("AveragePool", ["x"], ["p"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["y"], transB=1),
    ]
    ins = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 3, 8, 8])]
    outs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["B", 2])]
    model = helper.make_model(
        helper.make_graph(nodes, "g", ins, outs, [weight]), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 8
    save(model, folder / "features.onnx")


def onnx_generator(folder):
    from onnx_generators import StyleGAN, write_stylegan

    metadata = {"spec": '{"classes": 3, "names": ["a", "b", "c"], "truncation": 0.7}'}
    draws = {0: "mask", 1: "texture", 2: "background"}
    write_stylegan(folder / "gan.onnx", StyleGAN(), draws, labels="int64", metadata=metadata)


def spec_file(folder):
    (folder / "spec.json").write_text('{"image_size": 16, "noise_dim": 4, "names": ["a", "b"], "tiles": false}')


def onnx_classifier(folder):
    from onnx_classifiers import write_colour_classifier

    metadata = {"names": "{0: 'red', 1: 'green', 2: 'blue'}", "mean": "[0.5, 0.4, 0.3]", "std": "0.25"}
    write_colour_classifier(folder / "classifier.onnx", metadata=metadata)


def torchscript(folder):
    from test_any_classifier import colour_network, save_script

    save_script(colour_network(), folder / "net.pt")


def class_names(folder):
    (folder / "names.json").write_text('{"0": "red", "1": "green", "2": "blue"}')
    (folder / "names.txt").write_text("red\ngreen\nblue\n")


def embeddings(folder):
    save_file({"table": torch.zeros(3, 2)}, folder / "embeddings.safetensors")


def classes_file(folder):
    (folder / "classes.txt").write_text("0-3,5\n7")


def teacher(name):
    return lambda folder: compose(load_teacher(folder / name), 2)


def masks(folder):
    class_folders(folder / "photos")
    for form, kind in (("LA", "cat"), ("L", "dog")):
        (folder / "masks" / kind).mkdir(parents=True)
        for index in range(2):
            Image.effect_noise((9, 9), 200).convert(form).save(folder / "masks" / kind / f"{index}.png")


def read_masks(folder):
    photos = list_photos(folder / "photos")
    return usable_photos(list_masked(photos, folder / "masks")), segment(
        folder / "photos", folder / "out", from_masks(folder / "masks"), size=8
    )


def segmentation(folder):
    masks(folder)
    read_masks(folder)


def u2net(folder):
    torch.save(U2Net((Width(1, 2),) * 11).state_dict(), folder / "u2net.pth")


def onnx_saliency(folder):
    from test_segment import onnx_saliency

    onnx_saliency(folder / "saliency.onnx", 8)


def saliency(name):
    return lambda folder: load_saliency(folder / name).network(torch.zeros(2, 3, 8, 8))


def cure_file(folder: Path) -> None:
    """Write cure.json."""
    audit = small_record()
    record = CureRecord(
        classifier="mine", cgn="teacher", seed=0, layers=Trained.LAST, varied=(), before=audit,
        after=audit, accuracy_before=90.0, accuracy_after=89.5, held_out=50, most_lost=2.0, kept=True, verdict="less",
    )  # fmt: skip
    write_json(folder / "cure.json", record.to_dict())


def recorded_levels():
    """Labels, noise and pictures of each mechanism, uint8."""
    rng = generator("fuzz", "recorded")
    levels = {m: torch.randint(256, (6, m.channels, 8, 8), generator=rng, dtype=torch.uint8) for m in Mechanism}
    return torch.arange(6) % 3, torch.randn(6, 4, generator=rng).clamp(-2, 2), levels


def recorded_folder(folder):
    labels, noise, levels = recorded_levels()
    for mechanism, images in levels.items():
        for row, image in enumerate(images):
            path = folder / "pictures" / mechanism / f"{row}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy()).save(path)
    (folder / "labels.csv").write_text("".join(f"{row}.png,{label}\n" for row, label in enumerate(labels.tolist())))
    np.save(folder / "noise.npy", noise.numpy())


def recorded_arrays(folder):
    labels, noise, levels = recorded_levels()
    arrays = {**{m.value: images for m, images in levels.items()}, "labels": labels, "noise": noise}
    write_tensors(folder / "all.safetensors", arrays)
    np.savez_compressed(folder / "all.npz", **{name: values.numpy() for name, values in arrays.items()})


def recorded_parquet(folder):
    from pyarrow import parquet, table

    labels, noise, levels = recorded_levels()
    columns = {m.value: [{"bytes": png_bytes(image), "path": None} for image in levels[m]] for m in Mechanism}
    parquet.write_table(table({**columns, "label": labels.tolist(), "noise": noise.tolist()}), folder / "all.parquet")


def png_bytes(image):
    file = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy()).save(file, "PNG")
    return file.getvalue()


def recording(name, labels=None, noise=None):
    """Record a file or folder, and ask for what was recorded."""

    def read(folder):
        out = folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        files = [path and folder / path for path in (labels, noise)]
        record(folder / name, out, labels=files[0], noise=files[1], watch=silent)
        teacher = open_recorded(out)
        return [teacher.query(m, *teacher.recorded(m, "train")) for m in Mechanism]

    return read


def questions(folder):
    rng = generator("questions")
    tensors = {"noise": SPEC.sample_noise(6, rng), "labels": torch.arange(6) % SPEC.classes}
    write_tensors(folder / "round-00001.safetensors", tensors)


def looks(folder):
    write_json(folder / "looks.json", to_dict((Look(2000, 1000, 0.04, 0.002, 0.003),)))


def answers(folder: Path) -> None:
    """Write what a service answers, and what a client asks: one body each."""
    images = Formula().query("texture", torch.zeros(2, 4), torch.tensor([0, 1]))
    question = as_question("texture", torch.zeros(2, 4), torch.tensor([0, 1]))
    for body in ANSWERS:
        (folder / f"answer.{body}").write_bytes(answer_to_bytes(images, body))
    for body in QUESTIONS:
        (folder / f"question.{body}").write_bytes(question_to_bytes(question, body))
    (folder / "spec.json").write_text(json.dumps({**SPEC.to_dict(), "digest": "x", "formats": ["npz"]}))


def read_answers(folder: Path) -> None:
    """Read all of them as client and server do, past the first that is damaged."""
    service, refusals = service_of(SPEC), []
    readers = [
        *((f"answer.{body}", partial(read_answer, body=body, spec=SPEC)) for body in ANSWERS),
        *((f"question.{body}", partial(parse_question, body=body, service=service)) for body in QUESTIONS),
        ("spec.json", lambda data: parse_service(data.decode(errors="replace"), "the service")),
    ]
    for name, read in readers:
        try:
            read(read_bytes(folder / name, 2**20))
        except UserError as refusal:
            refusals.append(refusal)
    if refusals:
        raise refusals[0]


def read_answer(data: bytes, body: Body, spec: Spec) -> torch.Tensor:
    """Read an answer to two questions about textures."""
    return answer_images(data, body, spec, Mechanism.TEXTURE, 2, "the answer")


READERS = {
    "answers of a service": Reader(
        answers,
        (*(f"answer.{body}" for body in ANSWERS), *(f"question.{body}" for body in QUESTIONS), "spec.json"),
        read_answers,
    ),
    "recorded pictures": Reader(
        recorded_folder,
        ("labels.csv", "noise.npy", "pictures/texture/1.png"),
        recording("pictures", "labels.csv", "noise.npy"),
    ),
    "recorded npz": Reader(recorded_arrays, ("all.npz",), recording("all.npz")),
    "recorded safetensors": Reader(recorded_arrays, ("all.safetensors",), recording("all.safetensors")),
    "recorded parquet": Reader(recorded_parquet, ("all.parquet",), recording("all.parquet")),
    "cure": Reader(cure_file, ("cure.json",), lambda folder: cure_rows(read_cure(folder))),
    "student": Reader(
        lambda folder: student(folder / "student"),
        ("student/config.json", "student/model.safetensors"),
        lambda folder: compose(load_teacher(folder / "student"), 2),
    ),
    "origin of a student": Reader(
        run_of_student, ("run/results.json", "run/config.json", "run/students/shape/config.json"), read_origin
    ),
    "mnist cgn, safetensors": Reader(mnist_cgn("cgn.safetensors"), ("cgn.safetensors",), teacher("cgn.safetensors")),
    "mnist cgn, pth": Reader(mnist_cgn("cgn.pth"), ("cgn.pth",), teacher("cgn.pth")),
    "imagenet cgn": Reader(imagenet_cgn, ("cgn.safetensors",), teacher("cgn.safetensors"), 0.3),
    "parts of an imagenet cgn": Reader(
        parts, ("biggan.bin", "u2net.pth"), lambda f: initial_cgn(f / "biggan.bin", f / "u2net.pth"), 0.3
    ),
    "pairs": Reader(
        pairs("float32"),
        ("texture/train/manifest.json", "texture/train/shard-00000.safetensors"),
        read_pairs,
    ),
    "journal": Reader(journal, ("manifest.journal",), read_manifests),
    "ledger": Reader(ledger, ("ledger.jsonl", *OPEN), read_ledger, 0.5),
    "pairs as png": Reader(
        pairs("png"), ("texture/train/manifest.json", "texture/train/shard-00001.safetensors"), read_pairs
    ),
    "active questions": Reader(
        questions,
        ("round-00001.safetensors",),
        lambda folder: read_questions(folder / "round-00001.safetensors", 6, SPEC),
    ),
    "looks": Reader(looks, ("looks.json",), lambda folder: read_looks(folder / "looks.json")),
    "distillation": Reader(
        distillation,
        ("run/config.json", "run/checkpoint.safetensors"),
        distill_again,
    ),
    "classifier": Reader(classifier, ("config.json", "checkpoint.safetensors"), classify_images),
    "artifact": Reader(classifier, ("config.json",), artifact_kind),
    "features of a classifier": Reader(
        classifier, ("config.json", "checkpoint.safetensors"), lambda folder: load_extractor(str(folder), device="cpu")
    ),
    "ensemble": Reader(
        ensemble,
        ("run/config.json", "run/checkpoint.safetensors"),
        lambda folder: load_ensemble(folder / "run")[0](torch.zeros(1, 3, 16, 16)),
    ),
    "counterfactuals": Reader(counterfactuals, ("counterfactuals.safetensors",), stream),
    "idx": Reader(
        idx,
        ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
        lambda folder: load_idx_folder(folder, "train"),
    ),
    **{
        f"pictures{suffix} {mode}": Reader(
            pictures(suffix, mode, **how), (f"cat/0{suffix}",), lambda folder: load_pictures(folder, 8)
        )
        for suffix, mode, how in (
            (".png", "RGB", {}),
            (".png", "I;16", {}),
            (".png", "LA", {}),
            (".png", "P", {}),
            (".jpg", "RGB", {}),
            (".jpg", "CMYK", {}),
            (".gif", "P", {}),
            (".tiff", "RGB", {"compression": "tiff_lzw"}),
            (".webp", "RGB", {}),
            (".bmp", "L", {}),
            (".ico", "RGB", {}),
            (".ppm", "RGB", {}),
            (".tga", "RGB", {}),
            (".jp2", "RGB", {}),
            (".avif", "RGB", {}),
        )
    },
    "textures": Reader(textures, ("object/3.png",), lambda folder: load_textures(folder, "object", 8)),
    "challenges": Reader(
        challenges, ("val/n02123045/1.png", "in9/mixed_same/val/00_dog/1.png", "in9/in_to_in9.json"), open_all
    ),
    "map of imagenet-9": Reader(
        challenges, ("in9/in_to_in9.json",), lambda f: read_in9_map(f / "in9/in_to_in9.json", Classes("it", 2))
    ),
    "own challenge": Reader(
        own_challenge,
        ("in9/challenge.json", "in9/only_bg_t/val/disc/test0.png", "masks/disc/test0.png", "test/disc/test0.png"),
        read_own_challenge,
    ),
    "photo cgn": Reader(photo_cgn, ("photos.safetensors",), read_photo_cgn),
    "photographs and masks": Reader(
        photo_cgn, ("train/disc/train0.png", "masks/disc/train1.png"), read_photographs, 0.5
    ),
    "cue conflicts": Reader(cues, ("bear/bear1-cat1.png",), list_cue_conflicts),
    "caption": Reader(caption, ("shape.png",), embedded_pictures),
    "run folder": Reader(run_folder, ("run/config.json", "run/metrics.jsonl"), open_run),
    "report": Reader(
        digits_run,
        ("run/results.json", "run/config.json", "run/students/shape/metrics.jsonl", "run/pictures/shape.png"),
        lambda folder: write_mnist_report(folder / "run"),
        0.5,
    ),
    "photos report": Reader(
        photos_run,
        ("run/results.json", "run/config.json"),
        lambda folder: write_photos_report(folder / "run"),
        0.3,
    ),
    "study": Reader(study, ("study.json",), read_study),
    "settings": Reader(settings, ("mine.json",), lambda folder: configure(RunConfig(), folder / "mine.json", {})),
    "json": Reader(settings, ("mine.json",), lambda folder: read_json(folder / "mine.json")),
    "vgg16": Reader(vgg, ("vgg.pth",), lambda folder: load_features(str(folder / "vgg.pth")), 0.2),
    "backbone": Reader(
        backbone, ("backbone.pth",), lambda f: load_backbone("small", width=4, weights=str(f / "backbone.pth"))
    ),
    "onnx extractor": Reader(
        onnx_extractor, ("features.onnx",), lambda folder: load_extractor(folder / "features.onnx", device="cpu")
    ),
    "onnx generator": Reader(onnx_generator, ("gan.onnx",), teacher("gan.onnx"), 0.3),
    "spec of a black box": Reader(
        spec_file, ("spec.json",), lambda folder: stated_spec(folder / "spec.json").over(Spec())
    ),
    "onnx classifier": Reader(
        onnx_classifier,
        ("classifier.onnx",),
        lambda folder: open_classifier(folder / "classifier.onnx").probabilities(torch.zeros(2, 3, 8, 8)),
    ),
    "any classifier": Reader(
        classifier,
        ("config.json", "checkpoint.safetensors"),
        lambda folder: open_classifier(folder).probabilities(images().images),
        0.3,
    ),
    "torchscript": Reader(
        torchscript,
        ("net.pt",),
        lambda folder: open_classifier(folder / "net.pt").probabilities(torch.zeros(2, 3, 8, 8)),
        0.3,
    ),
    "class names": Reader(
        class_names,
        ("names.json", "names.txt"),
        lambda folder: [read_names(folder / name) for name in ("names.json", "names.txt")],
    ),
    "embeddings": Reader(
        embeddings, ("embeddings.safetensors",), lambda folder: read_embeddings(folder / "embeddings.safetensors", 3, 2)
    ),
    "masks": Reader(masks, ("masks/cat/0.png", "masks/dog/1.png"), read_masks),
    "record of masks": Reader(segmentation, ("out/segment.json", "out/cat/0.png"), read_masks),
    "u2net": Reader(u2net, ("u2net.pth",), saliency("u2net.pth"), 0.3),
    "onnx saliency": Reader(onnx_saliency, ("saliency.onnx",), saliency("saliency.onnx")),
    "classes": Reader(classes_file, ("classes.txt",), lambda folder: parse_classes(str(folder / "classes.txt"), 10)),
}
