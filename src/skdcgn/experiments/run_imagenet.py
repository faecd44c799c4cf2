"""``skdcgn run imagenet``: query, distill, train an invariant ensemble on each CGN's counterfactuals, evaluate, report.

RUN/config.json, pairs/, students/, student/, ensembles/, pictures/, results.json, report.html; a killed run can be
resumed. Three ensembles are compared: on real images alone (``plain``), with the teacher's counterfactuals, with the
student's. If no real images are given, the teacher draws a stand-in (:mod:`skdcgn.data.stand_in`).
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from skdcgn.base.config import ImageNetConfig
from skdcgn.base.contents import Reads, file_reads, folder_reads
from skdcgn.base.errors import UserError
from skdcgn.base.progress import Watch, log_progress
from skdcgn.cgn.classes import Classes, match_classes
from skdcgn.cgn.drawings import draw_cgns
from skdcgn.cgn.mechanism import Teacher
from skdcgn.cgn.subset import of_classes, parse_classes
from skdcgn.classifiers.backbones import load_backbone
from skdcgn.classifiers.ensemble import backbone_reads
from skdcgn.classifiers.photo_batches import counterfactual_stream
from skdcgn.data.folders import check_pictures, list_photos
from skdcgn.data.reads import photo_reads
from skdcgn.data.stand_in import Folders, stand_in
from skdcgn.evaluation.imagenet import open_challenges
from skdcgn.evaluation.in9 import in9_map_file, in9_variants
from skdcgn.evaluation.scores import HeadScores
from skdcgn.evaluation.shape_bias import list_cue_conflicts
from skdcgn.experiments.ensembles import EnsembleTask, trained_scores
from skdcgn.experiments.stages import Run, Workspace, compare_with_teacher, open_run, query_and_distill
from skdcgn.report.imagenet import write_imagenet_report
from skdcgn.results.records import ImageNetResults, read_results, write_results
from skdcgn.teachers.load import load_teacher

PLAIN = "plain"
SAME_CLASSES = "pass real images of the teacher's classes, or restrict the teacher's by --query-classes"


def run_imagenet(
    config: ImageNetConfig, out: Path, *, device: str = "auto", watch: Watch = log_progress
) -> ImageNetResults:
    """Run all stages in ``out``; return the results, which ``out/results.json`` keeps.

    Raises:
        UserError: the teacher, the backbone or a folder is wrong; they are checked before the first query.
    """
    workspace = Workspace(out, device=device, watch=watch)
    teacher = load_teacher(
        config.teacher, spec=config.spec, truncation=config.truncation, device=workspace.torch_device
    )
    teacher = of_classes(teacher, parse_classes(config.query.classes, teacher.spec.classes))
    run = open_run(config, teacher, workspace, image_reads(config))
    if run.finished:
        write_imagenet_report(out)
        return read_results(out, ImageNetResults)
    load_backbone(config.ensemble.backbone, width=config.ensemble.width, weights=config.ensemble.weights)
    data = open_data(run)
    queries, student = query_and_distill(run)
    ensembles = train_ensembles(run, data, {PLAIN: student, "teacher": teacher, "student": student})
    with run.clock("evaluate"):
        speed_images, seconds = config.speed_images, config.speed_seconds
        common = compare_with_teacher(run, student, queries, speed_images=speed_images, speed_seconds=seconds)
        tell = watch("draw pictures", 1)
        classes, count = config.picture_classes, config.pictures
        draw_cgns(teacher, student, out / "pictures", config.seed, classes=classes, counterfactuals=count)
        tell(1)
    results = ImageNetResults(
        **vars(common) | {"seconds": run.clock.seconds}, ensembles=ensembles, stand_in=config.real is None
    )
    write_results(out, results)
    write_imagenet_report(out)
    return results


def image_reads(config: ImageNetConfig) -> Reads:
    """Return the contents of the image folders and of the backbone's weights that a configuration names.

    Raises:
        UserError: a folder has another layout than its data set, or there are test images without training images.
    """
    reads, folders = dict(backbone_reads(config.ensemble)), named_folders(config)
    if folders is None:
        return reads
    reads |= photo_reads("images", folders.real, list_photos(folders.real))
    if val := folders.val:
        reads |= folder_reads("validation images", val, list_photos(val).files)
    if cues := folders.cue_conflict:
        reads |= folder_reads("cue conflicts", cues, list_cue_conflicts(cues).files)
    if in9 := folders.in9:
        files = [file for photos in in9_variants(in9).values() for file in photos.files]
        reads |= folder_reads("pictures of ImageNet-9", in9, files)
        reads |= file_reads("classes of ImageNet-9", in9_map_file(in9))
    return reads


def named_folders(config: ImageNetConfig) -> Folders | None:
    """Return the image folders that a configuration names; None if it names no training images."""
    tests = {"val": config.val, "cue_conflict": config.cue_conflict, "in9": config.in9}
    if config.real is None:
        if any(tests.values()):
            raise UserError("--val, --cue-conflict and --in9 measure what is trained on real images: pass --real DIR")
        return None
    return Folders(Path(config.real), **{name: Path(path) if path else None for name, path in tests.items()})


def open_data(run: Run[ImageNetConfig]) -> EnsembleTask:
    """List the images of all folders, which the teacher draws if the configuration names none, and read their headers.

    Raises:
        UserError: the real images have other classes than the teacher, or an image is damaged.
    """
    folders = named_folders(run.config) or stand_in(run.teacher, run.path / "stand-in", seed=run.config.seed)
    photos = list_photos(folders.real)
    match_classes(Classes.of(run.config.teacher, run.teacher.spec), photos.classes(folders.real), SAME_CLASSES)
    names = photos.names
    challenges = open_challenges(names, images=folders.val, cue_conflict=folders.cue_conflict, in9_folder=folders.in9)
    for files in (photos.files, challenges.files):
        check_pictures(files, run.workspace.watch)
    return EnsembleTask(folders.real, names, challenges)


def train_ensembles(
    run: Run[ImageNetConfig], task: EnsembleTask, cgns: Mapping[str, Teacher]
) -> dict[str, dict[str, HeadScores]]:
    """Train an ensemble with the counterfactuals of each CGN, which weigh nothing in ``plain``; return their scores."""
    ensembles = {}
    for name, cgn in cgns.items():
        config = replace(run.config.ensemble, weight=0.0) if name == PLAIN else run.config.ensemble
        ensembles[name] = trained_scores(run, task, name, config, counterfactual_stream(cgn, config, run.config.seed))
    return ensembles
