"""Data belong to a run's identity: what changed since it was read is named, whether the run ended or was killed."""

import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from PIL import Image

from skdcgn.base.config import ClassifyConfig, DistillConfig, EnsembleConfig, QueryConfig, TeachConfig
from skdcgn.base.errors import UserError
from skdcgn.base.presets import IMAGENET_RUNS, IMAGENET_TEACHERS, run_preset, teach_preset
from skdcgn.base.progress import ignore
from skdcgn.base.records import override
from skdcgn.base.seeds import generator
from skdcgn.base.tensors import write_tensors
from skdcgn.base.weights import below
from skdcgn.classifiers.backbones import SmallResNet
from skdcgn.classifiers.ensemble import train_ensemble
from skdcgn.classifiers.small_cnn import classify
from skdcgn.data.counterfactuals import read_counterfactuals, stream_from_file
from skdcgn.data.glyphs import load_glyphs
from skdcgn.data.idx import FILES
from skdcgn.data.images import LabelledImages
from skdcgn.data.stand_in import NAMES, NINE, VARIANTS
from skdcgn.data.textures import load_textures
from skdcgn.deploy.generate import write_counterfactuals
from skdcgn.evaluation.attribution import train_mechanism_classifiers
from skdcgn.experiments.run_imagenet import run_imagenet
from skdcgn.experiments.run_mnist import run_mnist
from skdcgn.experiments.stages import Workspace
from skdcgn.experiments.study import measure_points
from skdcgn.pairs.query import query_all
from skdcgn.results.records import RESULTS_FILE
from skdcgn.results.study_record import PointConfig
from skdcgn.students.distill import distill, distill_mechanism
from skdcgn.teachers.cgn import CGN, CGNTeacher
from skdcgn.teachers.load import load_teacher
from skdcgn.teachers.teach import teach
from skdcgn.teachers.teach_imagenet import teach_imagenet
from test_idx import idx_bytes

FEW = QueryConfig(shape=20, texture=20, background=20, held_out=10)
TINY_CLASSIFIER = ClassifyConfig(images=40, epochs=1, save_every=1)
TINY_TEACHER = TeachConfig(steps=2, batch_size=4, perceptual=0, local=0)


class Killed(Exception):  # noqa: N818
    pass


def kill(record):
    raise Killed


class Case(NamedTuple):
    """A training (with more callbacks, in a folder), a change of what it reads, and the words that name it."""

    train: Callable
    change: Callable[[], object]
    words: str


def lay_pictures(folder, classes=("cat", "dog"), count=2):
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            pixels = torch.randint(256, (20, 24, 3), generator=generator(label, index), dtype=torch.uint8)
            Image.fromarray(pixels.numpy()).save(folder / name / f"{index}.bmp")
    return folder


def repaint(file, value=7):
    """Replace a picture by another one of the same name and size in bytes."""
    size = file.stat().st_size
    with Image.open(file) as image:
        Image.new("RGB", image.size, (value, value, value)).save(file)
    assert file.suffix != ".bmp" or file.stat().st_size == size


def lay_glyphs(folder, images=20, seed=0):
    folder.mkdir(exist_ok=True)
    for split in FILES:
        pixels = torch.randint(256, (images, 8, 8), generator=generator(split, seed), dtype=torch.uint8).numpy()
        labels = (torch.arange(images) % 10).to(torch.uint8).numpy()
        for name, array in zip(FILES[split], (pixels, labels), strict=True):
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx_bytes(array), mtime=0))
    return folder


def lay_textures(folder):
    for part, green in (("object", 90), ("background", 200)):
        for index in range(10):
            (folder / part).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (150, 150), (20 * index, green, 30)).save(folder / part / f"{index}.bmp")
    return folder


def lay_classifier(folder, seed):
    """Train a classifier for nothing: its features serve as fixed ones."""
    shutil.rmtree(folder, ignore_errors=True)
    images = torch.zeros(4, 3, 32, 32)
    classify(LabelledImages(images, torch.arange(4) % 2), ClassifyConfig(epochs=1), folder, seed=seed, device="cpu")
    return folder


def lay_teacher(file, seed):
    torch.manual_seed(seed)
    write_tensors(file, CGN().state_dict())
    return file


def teaching(**changes):
    def train(out, *callbacks):
        teach(replace(TINY_TEACHER, **changes), out, device="cpu", callbacks=callbacks)

    return train


def taught_pictures(tmp):
    folder = lay_pictures(tmp / "mine")
    return folder, teaching(images=str(folder))


def picture_replaced(tmp):
    folder, train = taught_pictures(tmp)
    return Case(train, lambda: repaint(folder / "cat" / "0.bmp"), f"the images in {folder}")


def class_renamed(tmp):
    folder, train = taught_pictures(tmp)
    return Case(train, lambda: (folder / "dog").rename(folder / "aardwolf"), f"the classes in {folder}, the images in")


def one_class_more(tmp):
    folder, train = taught_pictures(tmp)
    return Case(train, lambda: lay_pictures(folder, ("cat", "dog", "emu")), f"the classes in {folder}")


def teachers_textures(tmp):
    folder = lay_textures(tmp / "coats")
    train = teaching(appearance="wildlife", textures=str(folder))
    return Case(train, lambda: repaint(folder / "object" / "3.bmp"), f"the textures in {folder}")


def teachers_glyphs(tmp):
    folder = lay_glyphs(tmp / "idx")
    return Case(teaching(glyphs=str(folder)), lambda: lay_glyphs(folder, seed=1), f"the glyphs in {folder}")


def teachers_features(tmp):
    folder = lay_classifier(tmp / "features", 0)
    train = teaching(features=str(folder), perceptual=1.0)
    return Case(train, lambda: lay_classifier(folder, 1), f"the features in {folder}")


def photographs_start(tmp):
    file, state = tmp / "start.safetensors", load_teacher("imagenet-smoke").cgn.state_dict()
    write_tensors(file, state)
    config = replace(IMAGENET_TEACHERS["imagenet-smoke"], start=str(file), steps=2, accumulate=1, batch_size=2)

    def change():
        state["f_text.embeddings.weight"] = state["f_text.embeddings.weight"] + 1
        write_tensors(file, state)

    return Case(
        lambda out, *callbacks: teach_imagenet(config, out, device="cpu", callbacks=callbacks),
        change,
        f"the weights in {file}",
    )


def photographs_parts(tmp):
    state, files = load_teacher("imagenet-smoke").cgn.state_dict(), (tmp / "biggan.bin", tmp / "u2net.pth")
    for file, part in zip(files, ("f_shape.", "u2net."), strict=True):
        torch.save(below(state, part), file)
    config = replace(
        IMAGENET_TEACHERS["imagenet-smoke"],
        **{"biggan": str(files[0]), "u2net": str(files[1]), "steps": 2, "accumulate": 1, "batch_size": 2},
    )

    def change():
        parts = below(state, "u2net.")
        torch.save(
            {name: 1.01 * value if value.is_floating_point() else value for name, value in parts.items()}, files[1]
        )

    return Case(
        lambda out, *callbacks: teach_imagenet(config, out, device="cpu", callbacks=callbacks),
        change,
        f"the weights in {files[0]} and {files[1]}",
    )


def distilling(pairs, **changes):
    config = DistillConfig(steps=2, batch_size=4, **changes)

    def train(out, *callbacks):
        distill_mechanism(pairs / "texture" / "train", config, out, device="cpu", callbacks=callbacks)

    return train


class Shifted(CGNTeacher):
    """A function of the user's that was edited: its digest is still its name."""

    def query(self, mechanism, noise, labels):
        return super().query(mechanism, noise.flip(1), labels)


def lay_pairs(folder, teacher=CGNTeacher):
    torch.manual_seed(0)
    shutil.rmtree(folder, ignore_errors=True)
    query_all(teacher(CGN(), "callable:mine.draw"), folder, FEW)
    return folder


def students_pairs(tmp):
    pairs = lay_pairs(tmp / "pairs")
    return Case(distilling(pairs), lambda: lay_pairs(pairs, Shifted), f"the pairs in {pairs}")


def students_features(tmp):
    folder, pairs = lay_classifier(tmp / "features", 0), lay_pairs(tmp / "pairs")
    train = distilling(pairs, perceptual=1.0, features=str(folder))
    return Case(train, lambda: lay_classifier(folder, 1), f"the features in {folder}")


def students_embeddings(tmp):
    file = tmp / "embeddings.safetensors"
    write_tensors(file, {"mine": torch.zeros(10, 4)})
    train = distilling(lay_pairs(tmp / "pairs"), embeddings=str(file))
    return Case(train, lambda: write_tensors(file, {"mine": torch.ones(10, 4)}), f"the embeddings in {file}")


def lay_counterfactuals(folder, seed=0):
    torch.manual_seed(0)
    return write_counterfactuals(CGNTeacher(CGN(), "any"), folder, 30, seed=seed)[0]


def ensembling(tmp, **changes):
    real = lay_pictures(tmp / "real", [f"c{label}" for label in range(10)], count=1)
    file = lay_counterfactuals(tmp / "images")
    config = EnsembleConfig(width=4, image_size=16, epochs=1, batch_size=5, counterfactuals=4, **changes)

    def train(out, *callbacks):
        train_ensemble(real, stream_from_file(file, 4), config, out, device="cpu", callbacks=callbacks)

    return real, train


def ensembles_pictures(tmp):
    real, train = ensembling(tmp)
    return Case(train, lambda: repaint(real / "c3" / "0.bmp"), f"the images in {real}")


def ensembles_classes(tmp):
    real, train = ensembling(tmp)
    return Case(train, lambda: (real / "c3").rename(real / "c33"), f"the classes in {real}")


def ensembles_counterfactuals(tmp):
    _, train = ensembling(tmp)
    return Case(train, lambda: lay_counterfactuals(tmp / "images", 1), "the counterfactuals")


def ensembles_weights(tmp):
    file = tmp / "backbone.safetensors"

    def lay(seed):
        torch.manual_seed(seed)
        write_tensors(file, SmallResNet(4).state_dict())

    lay(0)
    return Case(ensembling(tmp, weights=str(file))[1], lambda: lay(1), f"the weights in {file}")


def classifiers_images(tmp):
    lay_counterfactuals(tmp / "images")

    def train(out, *callbacks):
        data = read_counterfactuals(tmp / "images" / "counterfactuals.safetensors")
        classify(data, TINY_CLASSIFIER, out, device="cpu", callbacks=callbacks)

    return Case(train, lambda: lay_counterfactuals(tmp / "images", 1), "the training images")


CASES = [
    picture_replaced,
    class_renamed,
    one_class_more,
    teachers_textures,
    teachers_glyphs,
    teachers_features,
    photographs_start,
    photographs_parts,
    students_pairs,
    students_features,
    students_embeddings,
    ensembles_pictures,
    ensembles_classes,
    ensembles_counterfactuals,
    ensembles_weights,
    classifiers_images,
]


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.mark.parametrize("killed", [False, True], ids=["finished", "killed"])
@pytest.mark.parametrize("prepare", CASES, ids=lambda prepare: prepare.__name__)
def test_a_training_whose_data_changed_is_refused_by_name_and_nothing_is_written(prepare, killed, tmp_path):
    case, out = prepare(tmp_path), tmp_path / "out"
    if killed:
        with pytest.raises(Killed):
            case.train(out, kill)
    else:
        case.train(out)
    before = files_of(out)
    case.change()
    with pytest.raises(UserError) as error:
        case.train(out)
    assert "on other data (different now: " in str(error.value)
    assert case.words in str(error.value)
    assert str(error.value).startswith(f"{out} holds a run ")
    assert str(error.value).endswith(": choose another --out, or delete that folder")
    assert "\n" not in str(error.value)
    assert files_of(out) == before


def test_data_that_are_as_they_were_again_are_no_other_data(tmp_path):
    folder, train = taught_pictures(tmp_path)
    train(tmp_path / "whole")
    with pytest.raises(Killed):
        train(tmp_path / "out", kill)
    shutil.copytree(folder, tmp_path / "copy")
    repaint(folder / "dog" / "1.bmp")
    shutil.rmtree(folder)
    (tmp_path / "copy").rename(folder)
    (folder / "cat" / "notes.txt").write_text("no picture, and not read")
    train(tmp_path / "out")
    weights = [(tmp_path / name / "teacher.safetensors").read_bytes() for name in ("whole", "out")]
    assert weights[0] == weights[1]


def test_a_longer_run_on_other_data_is_refused_for_its_data(tmp_path):
    folder, train = taught_pictures(tmp_path)
    train(tmp_path / "out")
    repaint(folder / "dog" / "1.bmp")
    config = replace(TINY_TEACHER, images=str(folder), steps=3)
    with pytest.raises(UserError, match="holds a run on other data"):
        teach(config, tmp_path / "out", device="cpu", extend=True)


def test_mechanism_classifiers_of_another_cgn_are_refused(tmp_path):
    torch.manual_seed(0)
    train_mechanism_classifiers(CGNTeacher(CGN(), "one"), tmp_path, TINY_CLASSIFIER, device="cpu")
    with pytest.raises(UserError, match=r"other data \(different now: the training images\)"):
        train_mechanism_classifiers(CGNTeacher(CGN(), "two"), tmp_path, TINY_CLASSIFIER, device="cpu")


def test_pairs_of_a_teacher_whose_file_changed_are_refused(tmp_path):
    file = lay_teacher(tmp_path / "cgn.safetensors", 0)
    config = DistillConfig(steps=1, batch_size=4)
    distill(load_teacher(file), tmp_path / "out", config, FEW, device="cpu")
    lay_teacher(file, 1)
    with pytest.raises(UserError, match=r"holds other pairs \(differs in teacher\)"):
        distill(load_teacher(file), tmp_path / "out", config, FEW, device="cpu")


def test_textures_and_glyphs_are_read_anew_in_the_same_process(tmp_path):
    coats, idx = lay_textures(tmp_path / "coats"), lay_glyphs(tmp_path / "idx")
    before = load_textures(coats, "object"), load_glyphs(str(idx), "train").images
    repaint(coats / "object" / "0.bmp")
    lay_glyphs(idx, seed=1)
    after = load_textures(coats, "object"), load_glyphs(str(idx), "train").images
    assert not any(torch.equal(*pair) for pair in zip(before, after, strict=True))


def change_teacher(tmp):
    lay_teacher(tmp / "cgn.safetensors", 1)


def change_glyphs(tmp):
    lay_glyphs(tmp / "idx", seed=1)


def change_textures(tmp):
    repaint(tmp / "coats" / "background" / "9.bmp")


def change_embeddings(tmp):
    write_tensors(tmp / "embeddings.safetensors", {"mine": torch.ones(10, 4)})


def lay_run(tmp):
    """Lay all that a run reads; return its configuration."""
    write_tensors(tmp / "embeddings.safetensors", {"mine": torch.zeros(10, 4)})
    return override(
        run_preset("smoke"),
        {
            "glyphs": str(lay_glyphs(tmp / "idx")),
            "appearance": "wildlife",
            "textures": str(lay_textures(tmp / "coats")),
            "teacher": str(lay_teacher(tmp / "cgn.safetensors", 0)),
            "test_copies": 1,
            **{f"query.{name}": count for name, count in vars(FEW).items() if isinstance(count, int)},
            "distill.steps": 1,
            "distill.embeddings": str(tmp / "embeddings.safetensors"),
            "classify.images": 40,
            "classify.epochs": 1,
        },
    )


RUN_CHANGES = {
    change_teacher: "the teacher",
    change_glyphs: "the glyphs in",
    change_textures: "the textures in",
    change_embeddings: "the embeddings in",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    tmp = tmp_path_factory.mktemp("finished")
    config = lay_run(tmp)
    run_mnist(config, tmp / "out", device="cpu", speed_images=2)
    return tmp


@pytest.mark.parametrize("change", RUN_CHANGES)
def test_a_finished_run_returns_no_results_of_other_data(finished, change):
    before = files_of(finished / "out")
    config = lay_run(finished)
    try:
        change(finished)
        with pytest.raises(UserError, match=rf"on other data \(different now: {RUN_CHANGES[change]} [^,]*\): choose"):
            run_mnist(config, finished / "out", device="cpu", speed_images=2)
    finally:
        lay_run(finished)
    assert files_of(finished / "out") == before


def test_a_finished_run_on_the_same_data_returns_its_results(finished):
    config = lay_run(finished)
    results = json.loads((finished / "out" / RESULTS_FILE).read_text())
    assert run_mnist(config, finished / "out", device="cpu", speed_images=2).digest == results["digest"]


@pytest.mark.parametrize("change", RUN_CHANGES)
def test_a_killed_run_goes_on_with_no_other_data(change, tmp_path):
    config = lay_run(tmp_path)
    with pytest.raises(Killed):
        run_mnist(config, tmp_path / "out", device="cpu", watch=stop_at_once)
    change(tmp_path)
    with pytest.raises(UserError, match=rf"different now: {RUN_CHANGES[change]} [^,]*\)"):
        run_mnist(config, tmp_path / "out", device="cpu", watch=stop_at_once)


def stop_at_once(name, total):
    raise Killed


PHOTO_CHANGES = {
    "the classes in": lambda tmp: (tmp / "in" / "train" / "airplane").rename(tmp / "in" / "train" / "zebra"),
    "the images in": lambda tmp: repaint(next((tmp / "in" / "train").rglob("*.bmp"))),
    "the validation images in": lambda tmp: repaint(next((tmp / "in" / "val").rglob("*.bmp"))),
    "the cue conflicts in": lambda tmp: repaint(next((tmp / "in" / "cue-conflict").rglob("*.bmp"))),
    "the pictures of ImageNet-9 in": lambda tmp: repaint(next((tmp / "in" / "in9" / "original").rglob("*.bmp"))),
    "the classes of ImageNet-9 in": lambda tmp: (tmp / "in" / "in9" / "in_to_in9.json").write_text("{}"),
    "the weights in": lambda tmp: (tmp / "backbone.safetensors").write_bytes(b"other"),
    "the teacher": lambda tmp: write_tensors(tmp / "cgn.safetensors", changed(load_teacher("imagenet-smoke"))),
}


def changed(teacher):
    return {
        name: value + 1 if name.endswith("gen_z.bias") else value for name, value in teacher.cgn.state_dict().items()
    }


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Folders laid out as the public data sets, a teacher and a backbone."""
    tmp, teacher = tmp_path_factory.mktemp("photographs"), load_teacher("imagenet-smoke")
    for part in ("train", "val"):
        lay_pictures(tmp / "in" / part, NAMES, count=1)
    cues = lay_pictures(tmp / "in" / "cue-conflict", NAMES[:2], count=1)
    for shape, texture in (NAMES[:2], NAMES[1::-1]):
        (cues / shape / "0.bmp").rename(cues / shape / f"{shape}1-{texture}1.bmp")
    for variant in VARIANTS:
        lay_pictures(tmp / "in" / "in9" / variant / "val", [f"{label:02d}_{name}" for label, name in enumerate(NINE)])
    in9_map = {str(label): label if label < len(NINE) else -1 for label in range(len(NAMES))}
    (tmp / "in" / "in9" / "in_to_in9.json").write_text(json.dumps(in9_map))
    write_tensors(tmp / "cgn.safetensors", teacher.cgn.state_dict())
    write_tensors(tmp / "backbone.safetensors", SmallResNet(8).state_dict())
    return tmp


@pytest.mark.parametrize("killed", [False, True], ids=["finished", "killed"])
@pytest.mark.parametrize("words", PHOTO_CHANGES)
def test_a_run_on_photographs_compares_all_that_it_reads(words, killed, photographs, tmp_path):
    shutil.copytree(photographs, tmp_path, dirs_exist_ok=True)
    folders = {"real": "train", "val": "val", "cue_conflict": "cue-conflict", "in9": "in9"}
    config = override(
        IMAGENET_RUNS["imagenet-smoke"],
        {
            **{key: str(tmp_path / "in" / name) for key, name in folders.items()},
            "teacher": str(tmp_path / "cgn.safetensors"),
            "ensemble.weights": str(tmp_path / "backbone.safetensors"),
        },
    )
    with pytest.raises(Killed):
        run_imagenet(config, tmp_path / "out", device="cpu", watch=stop_at_once)
    if not killed:
        (tmp_path / "out" / RESULTS_FILE).write_text("the results of the run")
    PHOTO_CHANGES[words](tmp_path)
    with pytest.raises(UserError, match=f"on other data .different now: .*{words}"):
        run_imagenet(config, tmp_path / "out", device="cpu", watch=stop_at_once)


def measured(config, folder, teaching):
    points = [PointConfig("point", config, ("biased", "student"), teaching)]
    workspace = Workspace(folder, device="cpu", watch=lambda name, total: ignore)
    return list(measure_points(points, workspace, [0], results=folder / "results.jsonl", compared=20))


@pytest.mark.slow
@pytest.mark.parametrize("change", RUN_CHANGES)
def test_stages_that_studies_share_are_those_of_the_same_data(change, tmp_path):
    config = lay_run(tmp_path)
    names = {key: getattr(config, key) for key in ("glyphs", "appearance", "textures")}
    teaching = None if change is change_teacher else override(teach_preset("smoke"), {**names, "steps": 1})
    before = measured(config, tmp_path / "shared", teaching)
    change(tmp_path)
    again, new = (measured(config, tmp_path / name, teaching) for name in ("shared", "new"))
    assert before != again == new
