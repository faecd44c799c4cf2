"""Distill the bundled teacher and look at counterfactuals: python examples/distill_in_ten_lines.py [STEPS]"""

import sys
from pathlib import Path

import skdcgn
from skdcgn.cgn.pictures import as_rgb, grid, save_picture

steps, out = int(sys.argv[1]) if len(sys.argv) > 1 else 3000, Path("runs/ten-lines")
teacher = skdcgn.load_teacher("double-colored-digits")
query = skdcgn.QueryConfig(shape=2 * steps, texture=steps, background=steps)
student = skdcgn.distill(teacher, out, skdcgn.DistillConfig(steps=steps), query)
data = skdcgn.compose(student, n=100, seed=0)
save_picture(out / "counterfactuals.png", grid(as_rgb(data.images), columns=10), scale=2)
print(f"{teacher.size:,} parameters became {student.size:,}; look at {out}/counterfactuals.png")
