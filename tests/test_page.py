"""The reports in a browser: the script works, nothing complains, and the page fits its reader's screen.

Copies of the reports stand in frames as wide as the screen, since no window of Chromium is as narrow as a phone. Each
copy uses itself as a reader would and posts what it observed; the browser prints the page around them and takes its
picture.
"""

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from skdcgn.base.files import write_json
from skdcgn.report.mnist import write_mnist_report
from skdcgn.report.study import write_study_report
from skdcgn.results.study_record import StudyPoint
from test_report import write_run
from test_report_audit import HOSTILE, record_of, write_audit
from test_report_study import record

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PAPER = {"light": (0xFD, 0xFD, 0xFB), "dark": (0x15, 0x17, 0x1A)}
HEIGHT = 800
AROUND = """<!DOCTYPE html><title>reports</title><body style="margin: 0"><pre hidden></pre>
<script>
const observations = {};
onmessage = ({ data: [name, observed] }) => {
  observations[name] = observed;
  document.querySelector("pre").textContent = JSON.stringify(observations);
};
</script>
"""
READER = """<script>
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const until = async (selector) => { while (!document.querySelector(selector)) await sleep(20); };
const tooltip = () => document.querySelector(".tip")?.innerText.split("\\n") ?? null;

function sortBy(table, column) {
  const heading = table.tHead.rows[0].cells[column];
  return [1, 2, 3].map(() => {
    heading.querySelector("button").click();
    return [heading.getAttribute("aria-sort"), ...[...table.tBodies[0].rows].map((row) => row.cells[0].innerText)];
  });
}

function pointAt(svg, across, down) {
  const box = svg.getBoundingClientRect();
  const place = { clientX: box.left + across * box.width, clientY: box.top + down * box.height };
  svg.dispatchEvent(new PointerEvent("pointermove", place));
  return tooltip();
}

function press(svg, ...keys) {
  svg.focus();
  keys.forEach((key) => svg.dispatchEvent(new KeyboardEvent("keydown", { key })));
  return tooltip();
}

const scratch = document.createElement("canvas").getContext("2d", { willReadFrequently: true });

function slideTo(value) {
  const slider = document.querySelector("input[type=range]");
  slider.value = value;
  slider.dispatchEvent(new Event("input"));
  const reds = [...document.querySelectorAll("canvas")].map((canvas) => {
    scratch.drawImage(canvas, 0, 0);
    return scratch.getImageData(5, 5, 1, 1).data[0];
  });
  return [document.querySelector("output").value, ...reds];
}

onload = async () => {
  const tables = [...document.querySelectorAll("table")], figures = [...document.querySelectorAll("svg")];
  const observed = await use(tables, figures);
  observed.headings = tables.map((table) => table.querySelectorAll("th[aria-sort] > button[type=button]").length);
  observed.focusable = figures.every((svg) => svg.tabIndex === 0);
  await sleep(100);
  const boxes = [...document.querySelectorAll(".scroll")];
  observed.scrolling = boxes.map((box) => box.scrollWidth > box.clientWidth);
  observed.hints = boxes.map((box) => !box.previousElementSibling.hidden);
  observed.width = [document.documentElement.scrollWidth, innerWidth];
  observed.dark = matchMedia("(prefers-color-scheme: dark)").matches;
  console.info("the reader was here");
  parent.postMessage([document.title, observed], "*");
};
</script>
"""
USE_RUN = """<script>
const use = async (tables, [bars, curves]) => {
  await until("input[type=range]");
  return {
    sorted: sortBy(tables[0], 3),
    pointed: [pointAt(bars, 0.9, 0.45), pointAt(curves, 0.99, 0.9), pointAt(curves, 0.99, 0.1)],
    pressed: [["Home"], ["ArrowRight"], ["End", "ArrowRight"], ["Escape"]].map((keys) => press(curves, ...keys)),
    slid: [slideTo(0), slideTo(7), slideTo(99)],
  };
};
</script>
"""
USE_STUDY = """<script>
const use = async (tables, [bands, dots]) => ({
  sorted: sortBy(tables[0], 0),
  pointed: [pointAt(bands, 0.99, 0.5), pointAt(dots, 0.5, 0.5)],
});
</script>
"""
USE_AUDIT = """<script>
const use = async (tables, [dots]) => ({
  sorted: sortBy(tables[0], 1),
  pressed: [["Home"], ["End"]].map((keys) => press(dots, ...keys)),
});
</script>
"""

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium, chromium-browser or google-chrome here")


def study_report(folder: Path) -> Path:
    """A study with points on a curve, whose names sort by their numbers, and one point without a curve."""
    planned = [StudyPoint(f"noise {at:g}", {}, ("teacher",), "noise", at) for at in (0.5, 0.25, 10.0)]
    planned.append(StudyPoint("plain, with a name that is long enough to be a burden", {}))
    scores = [(plan.name, source, 80.0 - plan.at) for plan in planned for source in plan.sources]
    write_json(folder / "study.json", record(scores, planned))
    return write_study_report(folder)


def browse(folder: Path, width: int, scheme: str, reports: dict[Path, str]) -> tuple[list[str], list[str]]:
    """Let readers use reports on a screen; return the messages of their frames and the lines of the console."""
    around = AROUND
    for number, (report, use) in enumerate(reports.items()):
        copy = folder / f"{number}.html"
        copy.write_text(report.read_text(encoding="utf-8") + use + READER, encoding="utf-8")
        around += (
            f'<iframe src="{copy.name}" width="{width}" height="{HEIGHT}" style="border: 0; display: block"></iframe>'
        )
    (folder / "around.html").write_text(around, encoding="utf-8")
    flags = [
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
        *("--hide-scrollbars", "--virtual-time-budget=10000", "--enable-logging=stderr", "--v=0", "--dump-dom"),
        f"--user-data-dir={folder / 'profile'}",
        f"--blink-settings=preferredColorScheme={int(scheme == 'light')}",
        f"--window-size={max(width, 500)},{HEIGHT * len(reports)}",
        f"--screenshot={folder / 'picture.png'}",
    ]
    assert BROWSER is not None
    done = subprocess.run(
        [BROWSER, *flags, (folder / "around.html").as_uri()], capture_output=True, text=True, timeout=60, check=True
    )
    messages = re.findall(r"(?s)<pre hidden=\"\">(.*?)</pre>", done.stdout)
    return messages, re.findall(r"CONSOLE[:(]\d+\)?\] \"(.*?)\", source", done.stderr)


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1200, "light")])
def test_readers_find_what_they_look_for(tmp_path: Path, width: int, scheme: str) -> None:
    run, study = write_mnist_report(write_run(tmp_path / "run")), study_report(tmp_path / "study")
    audit = write_audit(tmp_path / "audit", replace(record_of(HOSTILE), classifier=HOSTILE[1]))
    (messages,), console = browse(tmp_path, width, scheme, {run: USE_RUN, study: USE_STUDY, audit: USE_AUDIT})
    assert console == ["the reader was here"] * 3
    observed: dict[str, dict[str, Any]] = json.loads(html.unescape(messages))
    of_run, of_study = observed["double-colored-digits · skdcgn report"], observed["shape, smoke · skdcgn report"]
    of_audit = observed[f"Audit of {HOSTILE[1]} · skdcgn report"]
    for one in (of_run, of_study, of_audit):
        assert one["width"] == [width, width]
        assert one["dark"] == (scheme == "dark")
        assert one["focusable"]
        assert one["hints"] == one["scrolling"]
    assert of_study["scrolling"] == [width < 500]
    check_run(of_run)
    check_study(of_study)
    check_audit(of_audit)
    check_picture(tmp_path / "picture.png", scheme)


def check_run(observed: dict[str, Any]) -> None:
    assert observed["headings"] == [5, 7, 3]
    assert observed["sorted"] == [
        ["ascending", "teacher", "student", "biased", "oracle"],  # 700 before 5,200; nothing last
        ["descending", "student", "teacher", "biased", "oracle"],
        ["none", "biased", "teacher", "student", "oracle"],
    ]
    assert observed["pointed"] == [
        ["80.5\u00a0%", "student, 4.1 points below the oracle"],
        ["0.250", "pixel, step 200"],
        ["0.500", "feature, step 200"],
    ]
    assert observed["pressed"] == [
        ["1.000", "pixel, step 50"],
        ["0.500", "pixel, step 100"],
        ["0.500", "feature, step 200"],
        None,
    ]
    assert observed["slid"] == [
        [f"frame {frame + 1} of 12", *[frame] * 4]  # frame n has the red n
        for frame in (0, 7, 11)
    ]


def check_study(observed: dict[str, Any]) -> None:
    plain = "plain, with a name that is long enough to be a burden"
    assert observed["headings"] == [6]
    assert observed["sorted"] == [
        ["ascending", "noise 0.25", "noise 0.5", "noise 10", plain],
        ["descending", plain, "noise 10", "noise 0.5", "noise 0.25"],
        ["none", "noise 0.5", "noise 0.25", "noise 10", plain],
    ]
    assert observed["pointed"] == [["70.0 ± 0.5", "teacher, amount 10"], ["80.0 ± 0.5", f"student, {plain}"]]


def check_audit(observed: dict[str, Any]) -> None:
    assert observed["headings"] == [8, 0, 0, 0, 0]
    subsets = ["shape + texture", "shape + background", "texture + background", "shape + texture + background"]
    assert observed["sorted"] == [
        ["ascending", "texture", "background", "shape", *subsets],
        ["descending", *subsets, "shape", "background", "texture"],
        ["none", "shape", "texture", "background", *subsets],
    ]
    assert observed["pressed"] == [
        ["5.0 % [4.0, 6.0]", "noise alone is new (noise floor), shape"],
        ["60 % [59, 61]", "it becomes the new class (follow), shape + texture + background"],
    ]


def check_picture(path: Path, scheme: str) -> None:
    """All pages are there, on paper of the right colour, with something on them."""
    with Image.open(path) as picture:
        pixels = picture.convert("RGB")
    for top in (0, HEIGHT, 2 * HEIGHT):
        page = pixels.crop((0, top, 390, top + HEIGHT))
        assert page.getpixel((1, 1)) == PAPER[scheme]
        assert len(page.getcolors(page.width * page.height) or []) > 20
