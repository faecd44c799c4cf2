"""``skdcgn run photos``: segment photographs, make a photo CGN of them, train classifiers, challenge them, report.

RUN/config.json, masks/, photos.safetensors, challenge/, ensembles/, pictures/, results.json, report.html; with
``student`` also pairs/, students/ and student/. A killed run can be resumed. Every classifier has the same number of
images per step and as many steps:

    real              real photographs alone
    counterfactuals   a share of them counterfactuals: the whole object of one photograph before another's background
    independent       a share of them counterfactuals: mask, texture and background of three photographs
    ensemble          as ``independent``, with a head for each mechanism
    paste             a share of them pasted: the object of one photograph on the whole of another
    student           as ``counterfactuals``, drawn by the student
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from skdcgn.base.config import EnsembleConfig, Heads
from skdcgn.base.contents import Reads, value_reads
from skdcgn.base.files import write_json
from skdcgn.base.photo_config import SYNTHETIC, PhotosConfig
from skdcgn.base.photo_layers import BackgroundFill
from skdcgn.base.progress import Watch, log_progress
from skdcgn.base.records import to_dict
from skdcgn.cgn.mechanism import Teacher
from skdcgn.classifiers.backbones import load_backbone
from skdcgn.classifiers.ensemble import backbone_reads
from skdcgn.classifiers.photo_batches import counterfactual_stream
from skdcgn.classifiers.schedules import Epochs
from skdcgn.data.folders import check_pictures, list_photos
from skdcgn.data.segment import segment
from skdcgn.evaluation.challenge import ChallengeConfig, ChallengeRecord, write_challenge
from skdcgn.evaluation.fidelity import fidelity
from skdcgn.evaluation.imagenet import open_challenges
from skdcgn.evaluation.scores import HeadScores
from skdcgn.experiments.ensembles import EnsembleTask, trained_scores
from skdcgn.experiments.photo_folders import MASKS, PhotoFolders, photo_folder_reads, photo_folders
from skdcgn.experiments.photo_pictures import draw_photo_run
from skdcgn.experiments.stages import Clock, Run, Workspace, query_and_distill
from skdcgn.features.saliency import mask_source
from skdcgn.report.photos import write_photos_report
from skdcgn.results.photo_record import PhotoCounts, PhotosResults, StudentNumbers, TrainingBudget
from skdcgn.results.records import RESULTS_FILE, read_results
from skdcgn.results.versions import versions
from skdcgn.students.distill import distill_reads
from skdcgn.students.generator import StudentCGN
from skdcgn.teachers.photographs import PhotoCGN, build_photo_cgn, load_photo_cgn
from skdcgn.training.run_folder import RunFolder

PHOTO_CGN, PASTE, CHALLENGE = "photos.safetensors", "paste.safetensors", "challenge"


class Row(NamedTuple):
    """The training of one classifier, and the CGN of its counterfactuals; None: real photographs alone."""

    config: EnsembleConfig
    cgn: Teacher | None = None


def run_photos(config: PhotosConfig, out: Path, *, device: str = "auto", watch: Watch = log_progress) -> PhotosResults:
    """Run all stages in ``out``; return the results, which ``out/results.json`` keeps.

    Raises:
        UserError: a folder, a mask, the segmenter or the backbone is wrong, or ``out`` holds another run.
    """
    space = Workspace(out, device=device, watch=watch)
    folder = RunFolder(out, config, reads=photos_reads(config))
    if (out / RESULTS_FILE).exists():
        write_photos_report(out)
        return read_results(out, PhotosResults)
    load_backbone(config.ensemble.backbone, width=config.ensemble.width, weights=config.ensemble.weights)
    folders = photo_folders(config, out)
    segment_photos(folders, config, space)
    cgn = make_photo_cgn(folders, config, space)
    whole_backgrounds = replace(config, background=BackgroundFill.PHOTOGRAPH)
    paste = make_photo_cgn(folders, whole_backgrounds, space, PASTE) if config.paste else None
    run = Run(config, cgn, folder, space)
    challenge = make_challenge(run, folders)
    student = query_and_distill(run)[1] if config.student else None
    scores = train_rows(run, folders, table_rows(config, cgn, paste=paste, student=student))
    with run.clock("pictures"):
        draw_photo_run(cgn, student, out / CHALLENGE, out / "pictures", seed=config.seed)
    results = PhotosResults(
        preset=config.preset,
        seed=config.seed,
        digest=folder.digest,
        names=cgn.spec.names,
        photographs=count_photos(folders, cgn, challenge),
        budget=budget_of(config.ensemble, len(list_photos(folders.train))),
        photo_cgn=cgn.digest,
        classifiers=scores,
        student=student_numbers(run, student) if student else None,
        synthetic=config.images == SYNTHETIC,
        versions=versions(),
        seconds=run.clock.seconds,
    )
    write_json(out / RESULTS_FILE, to_dict(results))
    write_photos_report(out)
    return results


def photos_reads(config: PhotosConfig) -> Reads:
    """Return the contents of all that a configuration names: photographs, masks, weights of segmenter and backbone."""
    reads = {**photo_folder_reads(config), **backbone_reads(config.ensemble)}
    if config.student:
        reads |= distill_reads(config.distill)
    if config.masks is None and config.images != SYNTHETIC:
        source = mask_source(config.saliency, config.mask_size)
        reads |= value_reads("segmenter", source.digest, f"the segmenter {config.saliency}")
    return reads


def segment_photos(folders: PhotoFolders, config: PhotosConfig, space: Workspace) -> None:
    """Segment the photographs whose masks the configuration does not name."""
    for photos, masks in ((folders.train, folders.train_masks), (folders.test, folders.test_masks)):
        if masks.parent == space.folder / MASKS:
            with Clock(space.folder / "seconds.json")("segment"):
                source = mask_source(config.saliency, config.mask_size, device=space.torch_device)
                segment(photos, masks, source, size=config.mask_size, watch=space.watch)


def make_photo_cgn(folders: PhotoFolders, config: PhotosConfig, space: Workspace, name: str = PHOTO_CGN) -> PhotoCGN:
    """Return the photo CGN of the training photographs; one that was written before is read."""
    file = space.folder / name
    if file.exists():
        return load_photo_cgn(file)
    with Clock(space.folder / "seconds.json")("photo CGN"):
        return build_photo_cgn(
            folders.train,
            folders.train_masks,
            file,
            image_size=config.image_size,
            texture=config.texture,
            background=config.background,
            noise_dim=config.noise_dim,
            seed=config.seed,
            watch=space.watch,
        )


def make_challenge(run: Run[PhotosConfig], folders: PhotoFolders) -> ChallengeRecord:
    """Write the background challenge of the test photographs."""
    config, out = ChallengeConfig(run.config.image_size, run.config.seed), run.path / CHALLENGE
    with run.clock("challenge"):
        return write_challenge(folders.test, folders.test_masks, out, config, watch=run.workspace.watch)


def table_rows(
    config: PhotosConfig, cgn: Teacher, *, paste: Teacher | None = None, student: Teacher | None = None
) -> dict[str, Row]:
    """Return the classifiers of the table by name; those of ``paste`` and ``student`` if there are such CGNs."""
    one = replace(config.ensemble, heads=Heads.ONE)
    whole = replace(one, policy=(*one.policy, f"texture.whole:{config.whole:g}"))
    rows = {
        "real": Row(real_alone(one)),
        "counterfactuals": Row(whole, cgn),
        "independent": Row(one, cgn),
        "ensemble": Row(replace(config.ensemble, heads=Heads.THREE), cgn),
    }
    others = {"paste": paste, "student": student}
    return rows | {name: Row(whole, other) for name, other in others.items() if other}


def real_alone(config: EnsembleConfig) -> EnsembleConfig:
    """Return the training on real photographs alone that has as many images per step and, but for rounding, steps."""
    images = config.batch_size + config.counterfactuals
    factor = images / config.batch_size
    epochs, decay_epochs = (max(1, round(factor * value)) for value in (config.epochs, config.decay_epochs))
    return replace(config, weight=0.0, policy=(), batch_size=images, epochs=epochs, decay_epochs=decay_epochs)


def budget_of(config: EnsembleConfig, photographs: int) -> TrainingBudget:
    """Return the steps of the classifiers and their images per step."""
    alone, images = real_alone(config), config.batch_size + config.counterfactuals
    steps, real_steps = (Epochs(photographs, one.batch_size, one.epochs, 0).steps for one in (config, alone))
    return TrainingBudget(steps, real_steps, images, config.counterfactuals)


def train_rows(
    run: Run[PhotosConfig], folders: PhotoFolders, rows: Mapping[str, Row]
) -> dict[str, dict[str, HeadScores]]:
    """Train and measure the classifier of each row; return their scores."""
    names = list_photos(folders.train).names
    challenges = open_challenges(names, images=folders.test, in9_folder=run.path / CHALLENGE)
    check_pictures(challenges.files, run.workspace.watch)
    task = EnsembleTask(folders.train, names, challenges)
    return {name: train_row(run, task, name, row) for name, row in rows.items()}


def train_row(run: Run[PhotosConfig], task: EnsembleTask, name: str, row: Row) -> dict[str, HeadScores]:
    """Train and measure the classifier of one row; return its scores."""
    source = counterfactual_stream(row.cgn, row.config, run.config.seed) if row.cgn else None
    return trained_scores(run, task, name, row.config, source)


def count_photos(folders: PhotoFolders, cgn: PhotoCGN, challenge: ChallengeRecord) -> PhotoCounts:
    """Return how many photographs there are, and how many of them have usable masks."""
    usable = sum(challenge.classes.values())
    return PhotoCounts(len(list_photos(folders.train)), len(cgn), len(list_photos(folders.test)), usable)


def student_numbers(run: Run[PhotosConfig], student: StudentCGN) -> StudentNumbers:
    """Return the size of the student and how near it comes to the photo CGN."""
    l1, _ = fidelity(student, run.path / "pairs", run.teacher, watch=run.workspace.watch)
    return StudentNumbers(student.size, l1)
