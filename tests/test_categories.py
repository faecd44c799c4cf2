"""The sixteen categories: the published classes, and means rather than sums."""

import pytest
import torch

from skdcgn.base.errors import UserError
from skdcgn.data.categories import CATEGORIES, averages, covered

PUBLISHED = {  # indices among the thousand classes, from Geirhos et al.'s toolbox; of the two long ones, their number
    "airplane": [404],
    "bear": [294, 295, 296, 297],
    "bicycle": [444, 671],
    "boat": [472, 554, 625, 814, 914],
    "bottle": [440, 720, 737, 898, 899, 901, 907],
    "car": [436, 511, 817],
    "cat": [281, 282, 283, 284, 285, 286],
    "chair": [423, 559, 765, 857],
    "clock": [409, 530, 892],
    "elephant": [385, 386],
    "keyboard": [508, 878],
    "knife": [499],
    "oven": [766],
    "truck": [555, 569, 656, 675, 717, 734, 864, 867],
}

IMAGENETTE = (
    "n01440764", "n02102040", "n02979186", "n03000684", "n03028079", "n03394916", "n03417042", "n03425413",
    "n03445777", "n03888257",
)  # fmt: skip


def one_class_each():
    return [min(ids) for ids in CATEGORIES.values()]


def test_no_class_is_in_two_categories():
    assert list(CATEGORIES) == sorted(CATEGORIES)
    assert sum(map(len, CATEGORIES.values())) == len(frozenset().union(*CATEGORIES.values())) == 207
    assert (len(CATEGORIES["dog"]), len(CATEGORIES["bird"])) == (109, 49)


def test_wordnet_ids_stand_where_the_published_indices_point():
    utils = pytest.importorskip("pytorch_pretrained_biggan.utils", reason="its table of ImageNet is the oracle")
    source = next(v for v in utils.__dict__.values() if isinstance(v, dict) and v.get(1440764) == 0)
    names = [f"n{offset:08d}" for offset in sorted(source, key=source.get)]
    assert names == sorted(names)
    rows = dict(zip(CATEGORIES, averages(names), strict=True))
    for category, indices in PUBLISHED.items():
        assert rows[category].nonzero().flatten().tolist() == indices
    dogs, birds = (set(rows[name].nonzero().flatten().tolist()) for name in ("dog", "bird"))
    assert dogs < set(range(151, 269))
    assert birds < {*range(7, 25), *range(80, 101), *range(127, 147)}


def test_a_category_has_the_mean_of_its_classes():
    names = [*one_class_each(), "n02504458", "other"]
    elephants = list(CATEGORIES).index("elephant")
    probabilities = torch.zeros(len(names))
    probabilities[[elephants, 16, 17]] = torch.tensor([0.3, 0.1, 0.6])
    probability_of_category = averages(names) @ probabilities
    assert float(probability_of_category[elephants]) == pytest.approx(0.2)
    assert float(probability_of_category.sum()) == pytest.approx(0.2)


def test_folders_may_have_the_categories_own_names():
    assert torch.equal(averages(list(CATEGORIES)), torch.eye(16))


def test_a_category_without_a_class_has_no_row():
    names = one_class_each()[:-1]
    assert covered(names) == tuple(CATEGORIES)[:-1]
    assert float(averages(names)[-1].sum()) == 0
    assert covered(IMAGENETTE) == ("dog", "truck")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("n01440764", "fish"), "of the classifier's 2 classes none is of the sixteen categories, .*WordNet ids"),
        (("n02102040", "n02085782", "n01440764"), r"3 classes only one is of the sixteen categories \(dog\), shape"),
    ],
)
def test_classes_of_fewer_than_two_categories_have_no_shape_bias(names, words):
    with pytest.raises(UserError, match=words) as caught:
        covered(names)
    assert "\n" not in str(caught.value)
