"""Draw the README's picture: what the distilled student's mechanisms draw, and what they compose to.

python benchmarks/picture.py runs/table-double-colored-digits-0/student
"""

import argparse
from pathlib import Path

from skdcgn.pictures import layers_grid, save_picture
from skdcgn.teachers.registry import load_student

PICTURE = Path(__file__).parents[1] / "docs" / "picture.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    save_picture(PICTURE, layers_grid(load_student(chosen.student), rows=4, seed=chosen.seed))


if __name__ == "__main__":
    main()
