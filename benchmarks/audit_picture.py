"""Draw the picture of an audit's report, docs/audit.png: a classifier of digits that follows the background.

python benchmarks/audit_picture.py

Half of the counterfactuals that it is trained on have the background of their shape's class. Chromium draws the page.
"""

import argparse
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from skdcgn.base.config import ClassifyConfig
from skdcgn.base.errors import UserError
from skdcgn.base.files import write_json
from skdcgn.cgn.compose import compose
from skdcgn.cgn.mechanism import Teacher
from skdcgn.cgn.pictures import save_picture
from skdcgn.classifiers.any import AnyClassifier, open_classifier
from skdcgn.classifiers.small_cnn import classify
from skdcgn.data.images import LabelledImages
from skdcgn.evaluation.audit import audit_classifier
from skdcgn.evaluation.audit_record import FILE, pair_files
from skdcgn.report.audit import write_audit_report
from skdcgn.teachers.load import load_teacher

PICTURE = Path(__file__).parents[1] / "docs" / "audit.png"
CGN, IMAGES, POLICY = "double-colored-digits", 12_000, "background.correlate:0.5"
WIDTH, HEIGHT = 1160, 1180  # pixels: from the verdict to the first pairs
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def train_shortcut(cgn: Teacher, folder: Path, seed: int) -> AnyClassifier:
    """Train a classifier whose training images have the background of their class half of the time."""
    batch = compose(cgn, IMAGES, policy=[POLICY], seed=seed)
    classify(LabelledImages(batch.images, batch.shape_labels), ClassifyConfig(), folder, seed=seed)
    return open_classifier(folder)


def write_report(classifier: AnyClassifier, cgn: Teacher, out: Path, n: int) -> Path:
    """Audit a classifier, and write the page."""
    record, pictures = audit_classifier(classifier.probabilities, cgn, n=n, name="digits", cgn_name=CGN)
    write_json(out / FILE, record.to_dict())
    for index, pair in enumerate(pictures):
        for name, picture in zip(pair_files(index), pair, strict=True):
            save_picture(out / name, picture.permute(1, 2, 0))
    return write_audit_report(out)


def photograph(page: Path, profile: Path) -> None:
    """Draw the upper part of a page in a window of ``WIDTH`` x ``HEIGHT``, light."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise UserError(f"none of {', '.join(BROWSERS)} is installed: install one")
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"]
    light = "--blink-settings=preferredColorScheme=1"
    size, picture = f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={PICTURE}"
    subprocess.run([browser, *flags, light, size, picture, page.as_uri()], check=True, capture_output=True, timeout=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=2000, help="base pictures of the audit")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    cgn = load_teacher(CGN)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        classifier = train_shortcut(cgn, folder / "digits", arguments.seed)
        photograph(write_report(classifier, cgn, folder / "audit", arguments.n), folder / "profile")


if __name__ == "__main__":
    main()
