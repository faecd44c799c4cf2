"""Classes have names, which travel with whatever is made from them; classes are matched by name."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from skdcgn.base.errors import UserError
from skdcgn.base.tensors import write_tensors
from skdcgn.cgn.classes import Classes, in_order_of, match_classes
from skdcgn.cgn.compose import compose
from skdcgn.cgn.mechanism import SPEC_KEY, Spec, spec_from_metadata
from skdcgn.data.categories import CATEGORIES
from skdcgn.data.counterfactuals import read_counterfactuals, stream_from_cgn, stream_from_file
from skdcgn.data.imagenet_classes import WORDNET_IDS
from skdcgn.teachers.cgn import CGN
from skdcgn.teachers.load import load_teacher

PETS = Spec(image_size=32, noise_dim=4, classes=2, names=("cat", "dög"))


@pytest.mark.parametrize("spec", [Spec(), PETS])
def test_a_spec_returns_from_metadata_as_it_was(spec: Spec) -> None:
    assert spec_from_metadata(spec.to_metadata(), "x.safetensors") == spec


def test_metadata_without_a_spec_have_none() -> None:
    assert spec_from_metadata({}, "x.safetensors") is None


@pytest.mark.parametrize(
    "words", ["", "[", "[1]", "null", '{"classes": 0}', '{"classes": 2, "names": ["a"]}', "[" * 9999]
)
def test_a_damaged_spec_is_refused_by_the_files_name(words: str) -> None:
    with pytest.raises(UserError, match=r"^x\.safetensors: [^\n]+$"):
        spec_from_metadata({SPEC_KEY: words}, "x.safetensors")


def spelt(*names: str, owner: str = "it") -> Classes:
    return Classes(owner, len(names), names)


MEND = "rename them"


def test_classes_are_matched_by_name_whatever_their_order() -> None:
    own = spelt("apple", "banana", "cherry")
    assert match_classes(own, spelt("cherry", "apple", "banana"), MEND).tolist() == [2, 0, 1]
    assert match_classes(own, spelt("cherry", "banana"), MEND, some=True).tolist() == [2, 1]


def test_numbers_are_the_names_of_classes_that_have_none(caplog: pytest.LogCaptureFixture) -> None:
    folders = sorted(map(str, range(11)))  # 0, 1, 10, 2, ... as a folder lists them
    assert match_classes(Classes("it", 11), spelt(*folders), MEND).tolist() == list(map(int, folders))
    assert match_classes(Classes("it", 10), Classes("b", 10), MEND).tolist() == list(range(10))
    assert match_classes(Classes("it", 10), spelt("3", "7"), MEND, some=True).tolist() == [3, 7]
    assert not caplog.records


@pytest.mark.parametrize("turned", [False, True])
def test_as_many_classes_without_names_are_taken_in_order_and_a_line_says_so(
    turned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    sides = [Classes("published.pth", 2), spelt("cat", "dog", owner="pets")]
    assert match_classes(*(sides[::-1] if turned else sides), MEND).tolist() == [0, 1]
    (line,) = caplog.messages
    assert line == "published.pth has no class names: its classes are taken in the order of pets: 0 = cat, 1 = dog"


@pytest.mark.parametrize(
    ("own", "other", "words"),
    [
        (spelt("Dog", "cat"), spelt("cat", "dog", owner="pets"), r"pets has the class 'dog', .* did you mean 'Dog'\?"),
        (spelt("apple", "banana", "cherry"), spelt("banana", "cherry", "date"), "has the class 'date', which it lacks"),
        (spelt("apple", "banana", "cherry"), spelt("banana", "cherry", owner="b"), "b has no class 'apple', it has 3"),
        (Classes("it", 3), spelt("cat", "dog"), "it has 3 classes without names, .* has 2 classes .cat, dog."),
        (Classes("it", 3), Classes("b", 10), "it has 3 classes without names, b has 10 classes without names"),
    ],
)
def test_a_misfit_is_refused_in_one_line_that_names_the_classes_and_the_mend(
    own: Classes, other: Classes, words: str
) -> None:
    with pytest.raises(UserError, match=rf"^[^\n]*{words}[^\n]*: rename them$"):
        match_classes(own, other, MEND)


def test_a_strange_class_is_refused_even_where_some_are_enough() -> None:
    with pytest.raises(UserError, match="has the class 'date'"):
        match_classes(spelt("apple", "banana", "cherry"), spelt("banana", "date"), MEND, some=True)


def test_a_thousand_classes_make_a_short_line() -> None:
    many = spelt(*(f"n{number:08d}" for number in range(1000)))
    with pytest.raises(UserError, match="and 992 more") as error:
        match_classes(many, spelt("cat", "dog"), MEND)
    assert len(str(error.value)) < 600


class Tones:
    """A CGN whose pictures have the tone of their label."""

    spec, digest, size = Spec(32, 2, 3, names=("b", "c", "a")), "tones", None

    def query(self, mechanism: str, noise: Tensor, labels: Tensor) -> Tensor:
        channels = 1 if mechanism == "shape" else 3
        return (labels / 3)[:, None, None, None].expand(-1, channels, 32, 32)


def test_a_cgn_in_the_order_of_other_classes_draws_their_labels() -> None:
    ordered = in_order_of(spelt("a", "b", "c"), Tones(), "tones", MEND)
    assert ordered.spec.names == ("a", "b", "c")
    drawn = ordered.query("shape", torch.zeros(3, 2), torch.arange(3))
    assert torch.equal(drawn[:, 0, 0, 0], torch.tensor([2, 0, 1]) / 3)
    assert ordered.digest != Tones.digest
    same = Tones()
    assert in_order_of(spelt("b", "c", "a"), same, "tones", MEND) is same


def test_imagenets_thousand_are_numbered_as_their_sorted_wordnet_ids() -> None:
    assert len(WORDNET_IDS) == len(set(WORDNET_IDS)) == 1000
    assert list(WORDNET_IDS) == sorted(WORDNET_IDS)
    assert {ids for category in CATEGORIES.values() for ids in category} <= set(WORDNET_IDS)
    golden_retriever, tabby, pufferfish, abacus = "n02099601", "n02123045", "n02655020", "n02666196"
    assert [WORDNET_IDS[number] for number in (207, 281, 397, 398)] == [golden_retriever, tabby, pufferfish, abacus]


def test_the_stand_in_of_imagenet_has_the_sixteen_categories_as_classes() -> None:
    assert load_teacher("imagenet-smoke").spec.names == tuple(CATEGORIES)


def test_the_zoos_digits_have_their_names() -> None:
    assert load_teacher("double-colored-digits").spec.names == tuple("0123456789")


@pytest.fixture
def cgn_file(tmp_path: Path) -> tuple[Path, CGN]:
    return tmp_path / "cgn.safetensors", CGN(Spec(classes=2))


def test_a_file_keeps_the_names_of_its_classes(cgn_file: tuple[Path, CGN]) -> None:
    path, cgn = cgn_file
    write_tensors(path, cgn.state_dict(), Spec(classes=2, names=("cat", "dog")).to_metadata())
    assert load_teacher(path).spec.names == ("cat", "dog")
    write_tensors(path, cgn.state_dict())
    assert load_teacher(path).spec.names == ()


def test_metadata_of_another_cgn_are_refused(cgn_file: tuple[Path, CGN]) -> None:
    path, cgn = cgn_file
    write_tensors(path, cgn.state_dict(), Spec(classes=3).to_metadata())
    with pytest.raises(UserError, match=r"cgn\.safetensors: the spec in its metadata is not that of its tensors"):
        load_teacher(path)


def test_a_function_may_name_its_classes() -> None:
    spec = Spec(classes=3, names=("a", "b", "c"))
    assert load_teacher(Tones().query, spec=spec).spec.class_names == ("a", "b", "c")


def test_a_stream_of_counterfactuals_has_the_labels_of_other_classes() -> None:
    stream = stream_from_cgn(Tones(), 50)  # classes b, c, a
    ordered = stream.numbered_as(spelt("a", "b", "c"), MEND)
    before, after = stream.at(3), ordered.at(3)
    assert torch.equal(before.images, after.images)
    assert torch.equal(after.shape_labels, (before.shape_labels + 1) % 3)
    assert torch.equal(after.background_labels, (before.background_labels + 1) % 3)
    with pytest.raises(UserError, match="has the class 'c', which it lacks"):
        stream.numbered_as(spelt("a", "b", "d"), MEND)


@pytest.fixture
def counterfactuals(tmp_path: Path) -> Path:
    path = tmp_path / "counterfactuals.safetensors"
    write_tensors(path, compose(Tones(), 6).to_dict(), Tones.spec.to_metadata())
    return path


def test_a_file_of_counterfactuals_names_all_classes_of_its_cgn(counterfactuals: Path) -> None:
    data = read_counterfactuals(counterfactuals)
    assert data.classes("it") == spelt("b", "c", "a")
    assert stream_from_file(counterfactuals, 2).classes.names == ("b", "c", "a")


def test_a_file_without_a_spec_may_show_only_some_of_the_classes(tmp_path: Path) -> None:
    path = tmp_path / "counterfactuals.safetensors"
    write_tensors(path, compose(Tones(), 6).to_dict())
    assert stream_from_file(path, 2).numbered_as(Classes("it", 1000), MEND).classes.count == 1000
    with pytest.raises(UserError, match=r"has 2 classes without names, .* has 3 classes"):
        stream_from_file(path, 2).numbered_as(Classes("it", 2), MEND)


def test_letters_that_a_file_system_decomposes_are_the_same() -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    assert match_classes(spelt("tea", composed), spelt(decomposed, "tea"), MEND).tolist() == [1, 0]
    both = spelt(composed, decomposed)
    assert match_classes(both, both, MEND).tolist() == [0, 1]
