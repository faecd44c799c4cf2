"""``skdcgn run imagenet``: query, distill, an invariant ensemble on each CGN's counterfactuals, evaluate.

RUN/config.json, pairs/, students/, student/, ensembles/, pictures/, results.json, report.html; any kill leaves it
usable. The yardsticks: an ensemble on real images alone (``plain``), one on the teacher's counterfactuals, one on the
student's. Where no real images are given, the teacher draws a stand-in (:mod:`skdcgn.data.stand_in`).
"""

from dataclasses import replace
from pathlib import Path

from skdcgn.base.config import ImageNetConfig
from skdcgn.base.errors import UserError
from skdcgn.base.files import read_json, write_json
from skdcgn.base.progress import Watch, log_progress
from skdcgn.base.records import from_dict, to_dict
from skdcgn.cgn.mechanism import Teacher
from skdcgn.cgn.pictures import draw_cgns
from skdcgn.cgn.subset import of_classes, parse_classes
from skdcgn.classifiers.backbones import load_backbone
from skdcgn.classifiers.ensemble import train_ensemble
from skdcgn.data.counterfactuals import stream_from_cgn
from skdcgn.data.folders import list_photos
from skdcgn.data.images import PhotoFiles
from skdcgn.data.stand_in import Folders, stand_in
from skdcgn.evaluation.imagenet import ChallengeSets, measure_ensemble, open_challenges
from skdcgn.evaluation.scores import HeadScores
from skdcgn.experiments.stages import Clock, compare_with_teacher, query_and_distill
from skdcgn.report.imagenet import write_imagenet_report
from skdcgn.results.records import RESULTS_FILE, ImageNetResults, read_results, write_results
from skdcgn.teachers.load import load_teacher
from skdcgn.training.loop import report_to
from skdcgn.training.run_folder import RunFolder
from skdcgn.training.train import make_accelerator

PLAIN = "plain"
SPEED_IMAGES = 16  # a teacher of ImageNet's size draws one in five seconds of a CPU


def run_imagenet(
    config: ImageNetConfig, out: Path, *, device: str = "auto", watch: Watch = log_progress
) -> ImageNetResults:
    """Run the whole path in ``out``; return the results, which stand in ``out/results.json`` too.

    Raises:
        UserError: the teacher or a folder cannot be had, or does not fit; nothing is asked before that is known.
    """
    place = str(make_accelerator(device).device)
    teacher = load_teacher(config.teacher, device=place)
    teacher = of_classes(teacher, parse_classes(config.query.classes, teacher.spec.classes))
    folder = RunFolder(out, config)
    if (out / RESULTS_FILE).exists():
        write_imagenet_report(out)
        return read_results(out, ImageNetResults)
    clock = Clock(out / "seconds.json")
    load_backbone(config.ensemble.backbone, width=config.ensemble.width, weights=config.ensemble.weights)
    images = folders(config, teacher, out)
    photos = list_photos(images.real)
    challenges = open_challenges(
        photos.names, images=images.val, cue_conflict=images.cue_conflict, in9_folder=images.in9
    )
    if len(photos.names) != teacher.spec.classes:
        raise UserError(
            f"{images.real} has {len(photos.names)} sub-folders, the teacher {teacher.spec.classes} classes: pass real "
            "images of the same classes, or the classes that there are by --query-classes"
        )
    queries, student = query_and_distill(teacher, config, out, clock, device, watch)
    cgns: dict[str, Teacher] = {"teacher": teacher, "student": student}
    told = {}
    for name in (PLAIN, *cgns):
        with clock(f"ensemble, {name}"):
            cgn = cgns.get(name, student)  # of the plain one, whose counterfactuals weigh nothing
            told[name] = ensemble(
                config, name, cgn, images.real, photos, challenges, out / "ensembles" / name, device, watch
            )
    with clock("evaluate"):
        common = compare_with_teacher(config, folder, teacher, student, queries, speed_images=SPEED_IMAGES)
        draw_cgns(teacher, student, out / "pictures", config.seed)
    results = ImageNetResults(**vars(common) | {"seconds": clock.seconds}, ensembles=told, stand_in=config.real is None)
    write_results(out, results)
    write_imagenet_report(out)
    return results


def folders(config: ImageNetConfig, teacher: Teacher, out: Path) -> Folders:
    """Return the image folders of the configuration; all of them a stand-in where it names no real images."""
    given = {"val": config.val, "cue_conflict": config.cue_conflict, "in9": config.in9}
    if config.real is None:
        if any(given.values()):
            raise UserError("--val, --cue-conflict and --in9 measure what is trained on real images: pass --real DIR")
        return stand_in(teacher, out / "stand-in", seed=config.seed)
    return Folders(Path(config.real), **{name: Path(path) if path else None for name, path in given.items()})


def ensemble(
    config: ImageNetConfig,
    name: str,
    cgn: Teacher,
    real: Path,
    photos: PhotoFiles,
    challenges: ChallengeSets,
    out: Path,
    device: str,
    watch: Watch,
) -> dict[str, HeadScores]:
    """Train one ensemble on ``real``, the folder of ``photos``, and measure it, unless that was done before."""
    result = out / "result.json"
    if result.exists():
        return from_dict(dict[str, HeadScores], read_json(result), str(result))
    chosen = replace(config.ensemble, weight=0.0) if name == PLAIN else config.ensemble
    source = stream_from_cgn(cgn, chosen.counterfactuals, seed=config.seed)
    report = report_to(watch, f"ensemble {name}")
    trained = train_ensemble(real, source, chosen, out, seed=config.seed, device=device, callbacks=(report,))
    scores = measure_ensemble(trained, photos.names, chosen.image_size, challenges)
    write_json(result, to_dict(scores))
    return scores
