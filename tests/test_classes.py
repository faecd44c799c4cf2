"""Classes have names, which travel with whatever is made from them; classes are matched by name."""

import pytest

from skdcgn.base.errors import UserError
from skdcgn.cgn.mechanism import SPEC_KEY, Spec, spec_from_metadata

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
