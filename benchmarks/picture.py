"""Draw the README's picture: what the distilled student's mechanisms draw, and what they compose to.

python benchmarks/picture.py runs/table-double-colored-digits-0/student
"""

import argparse
from pathlib import Path

from skdcgn.cgn.compose import compose
from skdcgn.cgn.drawings import class_columns
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.cgn.pictures import as_rgb, grid, join_horizontally, save_picture
from skdcgn.teachers.load import load_student

ROWS = 4
PICTURE = Path(__file__).parents[1] / "docs" / "picture.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    student = load_student(chosen.student)
    noise, labels = class_columns(student, ROWS, chosen.seed)
    shown = [student.query(mechanism, noise, labels) for mechanism in Mechanism]
    shown.append(compose(student, len(labels), seed=chosen.seed).images)
    save_picture(PICTURE, join_horizontally([grid(as_rgb(images), student.spec.classes) for images in shown]))


if __name__ == "__main__":
    main()
