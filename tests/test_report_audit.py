"""The report of an audit: verdict, figures, pairs, every number as text; names of classes are never markup."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from helpers_audit import FLIPS, near, small_record
from skdcgn.base.errors import UserError
from skdcgn.base.files import write_json
from skdcgn.evaluation.audit_record import FILE, MECHANISMS, AuditRecord, Interval, Pair, pair_files
from skdcgn.report.audit import write_audit_report
from skdcgn.report.audit_maps import confusion_maps
from test_report import Page

HOSTILE = ("<script>alert(1)</script>", "n" * 200, "כלב \u202e")


def record_of(classes: tuple[str, ...]) -> AuditRecord:
    """A record with these classes and twelve pairs of them."""
    count = len(classes)
    square = tuple(tuple(9 if row == column else 1 for column in range(count)) for row in range(count))
    pairs = tuple(
        Pair("background", (row % count, 0, 0), (row + 1) % count, row % count, (row + 1) % count, 98.4, 61.0, row)
        for row in range(12)
    )
    return replace(small_record(), classes=classes, confusion=dict.fromkeys(MECHANISMS, square), pairs=pairs)


def write_audit(folder: Path, record: AuditRecord, *, side: int = 32) -> Path:
    """Write a record and the pictures of its pairs as an audit does; return the path of the report."""
    (folder / "pairs").mkdir(parents=True, exist_ok=True)
    write_json(folder / FILE, record.to_dict())
    for index in range(len(record.pairs)):
        for place, name in enumerate(pair_files(index)):
            Image.new("RGB", (side, side), (index, 100 * place, 0)).save(folder / name)
    return write_audit_report(folder)


def page_of(folder: Path, record: AuditRecord, *, side: int = 32) -> Page:
    return Page(write_audit(folder, record, side=side).read_text(encoding="utf-8"))


def test_the_page_says_every_number_of_the_record(tmp_path: Path) -> None:
    record = replace(
        small_record(), warnings=("the shapes carry nothing",), seed=1234, command="skdcgn audit mine.onnx -n 200"
    )
    page = page_of(tmp_path, record)
    for reaction in (*record.mechanisms.values(), *record.subsets.values()):
        for number in (reaction.flip, reaction.follow, reaction.accuracy, reaction.agree, reaction.excess):
            assert number.text() in page.text
    floor = record.noise_floor["shape"]
    for text in (floor.flip.text(), floor.follow.text(), "80 [75, 85]", "33.3", "1234", "mine.onnx", "98 %", "91 %"):
        assert text in page.text.replace("\u00a0", " ")
    assert "background: cat → fox" in page.text
    verdict, warning = page.text.index(record.verdict), page.text.index(record.warnings[0])
    assert warning < verdict < page.text.index("background: cat → fox") < page.text.index("Noise floor: flip")
    assert record.command in page.text


def test_the_figures_carry_the_intervals(tmp_path: Path) -> None:
    first, *curves = page_of(tmp_path, small_record()).all("svg")
    marks = {
        (name, place): value for _, name, marks in json.loads(first["data-marks"] or "") for *_, value, place in marks
    }
    assert marks["the decision changes (flip)", "background"] == "34 % [33, 35]"
    assert marks["it becomes the new class (follow)", "texture + background"] == "60 % [59, 61]"
    assert len(curves) == len(FLIPS)
    assert "texture: flip 6.0 [5.0, 7.0], follow 2.0 [1.0, 3.0]" in (first["aria-label"] or "")
    assert all(re.search(r"at 100 %: flip \d+", svg["aria-label"] or "") for svg in curves)


def test_followed_mechanisms_are_marked(tmp_path: Path) -> None:
    report = write_audit(tmp_path, small_record()).read_text()
    assert re.findall(r'<tr class="followed"><th scope="row">(.*?)</th>', report) == ["background"]


@pytest.mark.parametrize(("side", "shown"), [(28, "112"), (32, "128"), (64, "128"), (128, "128"), (224, "128")])
def test_twelve_pairs_are_shown_enlarged_by_whole_factors(tmp_path: Path, side: int, shown: str) -> None:
    images = page_of(tmp_path, record_of(("cat", "dog", "fox")), side=side).all("img")
    assert len({image["src"] for image in images}) == len(images) == 24
    assert {(image["width"], image["height"]) for image in images} == {(shown, shown)}
    assert images[1]["alt"] == "The same picture with the background of dog"


def test_names_are_text_and_nothing_is_loaded(tmp_path: Path) -> None:
    record = replace(record_of(HOSTILE), classifier=HOSTILE[0], cgn="'; rm -rf ~", verdict=HOSTILE[0])
    page = page_of(tmp_path, record)
    assert page.all("script") == [{}]
    assert all(name in page.text for name in HOSTILE)
    assert all(source.startswith("data:image/png;base64,") for source in page.values("src"))
    assert all(target.startswith("#") for target in page.values("href"))
    identifiers = page.values("id")
    assert len(identifiers) == len({*identifiers})
    assert {*page.values("aria-labelledby")} <= {*identifiers}
    assert all(picture["alt"] for picture in page.all("img"))
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in page.all("svg"))
    assert all(heading["scope"] in ("row", "col") for heading in page.all("th"))
    assert not re.search(r"#0101\d\w", (tmp_path / "report.html").read_text())


@pytest.mark.parametrize("count", [2, 40])
def test_any_number_of_classes_has_a_page(tmp_path: Path, count: int) -> None:
    text = page_of(tmp_path, record_of(tuple(f"n{place:08}" for place in range(count)))).text
    assert ("The 10 most confused of 40 classes" in text) == (count == 40)
    assert "n00000001" in text


def test_what_was_not_measured_is_left_out(tmp_path: Path) -> None:
    page = page_of(tmp_path, replace(small_record(), pairs=(), carried={}, curves={}, confusion={}))
    assert page.all("img") == []
    assert len(page.all("svg")) == 1
    assert len(page.all("table")) == 1


def test_a_pair_without_its_pictures_is_left_out(tmp_path: Path) -> None:
    write_audit(tmp_path, small_record())
    (tmp_path / pair_files(0)[1]).unlink()
    assert len(Page(write_audit_report(tmp_path).read_text()).all("img")) == 2


def test_maps_show_shares_of_rows_and_name_the_diagonal() -> None:
    (shape, *_), left_out, _ = confusion_maps(("cat", "dog"), dict.fromkeys(MECHANISMS, ((3, 1), (0, 0))))
    assert [[cell.text for cell in cells] for _, cells in shape.rows] == [["75", "25"], ["0", "0"]]
    assert [[cell.diagonal for cell in cells] for _, cells in shape.rows] == [[True, False], [False, True]]
    assert (shape.diagonal, left_out) == ("75", "")


def test_of_many_classes_the_most_confused_are_shown_with_the_rest_as_others() -> None:
    square = [[20 if row == column else 0 for column in range(30)] for row in range(30)]
    for row in range(5, 15):
        square[row] = [1] * 30
    shape = confusion_maps(tuple(map(str, range(30))), dict.fromkeys(MECHANISMS, square)).maps[0]
    assert [name for name, _ in shape.rows] == [str(row) for row in range(5, 15)]
    assert shape.columns[-1] == "others"
    assert shape.rows[0][1][-1].text == "67"


def test_the_same_folder_gives_the_same_bytes(tmp_path: Path) -> None:
    first = write_audit(tmp_path, small_record()).read_bytes()
    assert write_audit_report(tmp_path).read_bytes() == first


def test_numbers_at_the_ends_are_drawn(tmp_path: Path) -> None:
    ends = replace(small_record().mechanisms["shape"], flip=Interval(100, 99.8, 100), excess=Interval(-0.04, -2, 1))
    record = replace(small_record(), mechanisms=dict.fromkeys(MECHANISMS, ends), follows=MECHANISMS)
    text = page_of(tmp_path, record).text
    assert "100 [100, 100]" in text
    assert "0.0 [-2.0, 1.0]" in text
    assert near(0).text() == "0.0 [0.0, 1.0]"


def test_a_folder_without_an_audit_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"audit\.json does not exist"):
        write_audit_report(tmp_path)
