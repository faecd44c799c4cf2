"""Draw the picture of an audit's report, docs/audit.png: a classifier of digits that follows the background.

python benchmarks/audit_picture.py

Half of the counterfactuals that it is trained on have the background of their shape's class. Chromium draws the page.
"""

import argparse
import shutil
import subprocess
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory

from skdcgn.base.errors import UserError
from skdcgn.base.presets import PUBLISHED_TRAINING
from skdcgn.cgn.compose import compose
from skdcgn.classifiers.small_cnn import classify
from skdcgn.data.images import LabelledImages
from skdcgn.experiments.audit import audit
from skdcgn.teachers.load import load_teacher

PICTURE = Path(__file__).parents[1] / "docs" / "audit.png"
CGN, IMAGES, POLICY = "double-colored-digits", 12_000, "background.correlate:0.5"
WIDTH, HEIGHT = 1160, 1270  # pixels: from the verdict to the first pairs
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def train_shortcut(folder: Path, seed: int) -> None:
    """Train a classifier whose training images have the background of their class half of the time."""
    batch = compose(load_teacher(CGN), IMAGES, policy=[POLICY], seed=seed)
    classify(LabelledImages(batch.images, batch.shape_labels), PUBLISHED_TRAINING, folder, seed=seed)


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
    with TemporaryDirectory() as scratch, chdir(scratch):
        train_shortcut(Path("digits"), arguments.seed)
        audit("digits", CGN, n=arguments.n, seed=arguments.seed, out="audit")
        photograph(Path("audit/report.html").resolve(), Path("profile").resolve())


if __name__ == "__main__":
    main()
