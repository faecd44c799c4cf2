"""The audit reports what is planted: classifiers that read one mechanism, mixtures, chance, CGNs that show nothing."""

import pytest
import torch
from torch import Tensor

from audited import answering, chance_of, mixture, obvious_cgn, of_background, of_shape, of_texture
from skdcgn import UserError
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.evaluation.audit import audit_classifier
from skdcgn.evaluation.audit_answers import ask
from skdcgn.evaluation.audit_pictures import BASE, SUBSETS, DrawnLayers, Variant, recipe, sample_trial
from skdcgn.evaluation.audit_record import AuditRecord
from skdcgn.evaluation.reactions import MARGIN

N = 500


def audited(read: object, classes: int = 10, *, n: int = N, seed: int = 0, blank: str = "") -> AuditRecord:
    return audit_classifier(answering(read, classes), obvious_cgn(classes, blank=blank), n=n, seed=seed).record


@pytest.mark.parametrize("classes", [2, 10])
def test_it_names_the_mechanism_that_a_classifier_reads(classes: int) -> None:
    for read, name in ((of_texture, "texture"), (of_background, "background")):
        record = audited(lambda x, read=read: read(x, classes), classes)
        assert record.follows == (name, "texture+background")
        assert record.mechanisms[name].follow.value == 100
        assert record.verdict.startswith(f"follows the {name}: in 100 %")
        assert record.noise_floor[name].flip.value == 0
    record = audited(lambda x: of_shape(x, classes), classes)
    assert record.follows == ()
    assert record.verdict.startswith("follows the shape alone: ")
    assert record.mechanisms["shape"].excess.low > 95


def test_a_mixture_follows_the_background_as_often_as_planted() -> None:
    """With probability 0.3 the background decides: follow is 30 %, whatever the noise floor of the hash."""
    covered = 0
    for seed in range(5):
        one = audited(mixture(0.3), n=300, seed=seed).mechanisms["background"]
        covered += one.follow.low <= 30 <= one.follow.high
        assert one.excess.low > 15
        assert one.flip.value > one.follow.value + 10  # the hash of another picture decides otherwise
    assert covered >= 4


def test_both_together_are_followed_where_neither_alone_is() -> None:
    def read(images: Tensor) -> Tensor:
        return torch.where(of_texture(images) == of_background(images), of_texture(images), of_shape(images))

    record = audited(read)
    assert record.follows == ("texture+background",)
    assert record.verdict.startswith("follows texture and background where both agree: in 100 %")


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("constant", [True, False])
def test_a_classifier_at_chance_is_not_judged(constant: bool, classes: int) -> None:
    def read(images: Tensor) -> Tensor:
        return (chance_of(images) * (0 if constant else classes)).long()

    record = audited(read, classes)
    assert record.follows == ()
    assert record.verdict.startswith("cannot tell what it follows: it is right in")
    assert len(record.warnings) == 1
    assert "--preprocess" in record.warnings[0]


def test_an_intervention_keeps_all_else() -> None:
    """Pixels outside the mask stay when the texture's label changes; no label of a base picture is the new class."""
    cgn = obvious_cgn()
    trial = sample_trial(cgn.spec, 64, 0, 0)
    layers = DrawnLayers(cgn, trial)
    before, after = layers.picture(BASE), layers.picture(recipe(Variant.LABEL, SUBSETS["texture"]))
    assert torch.equal(before[:, :, 15], after[:, :, 15])
    assert bool((before[:, :, 8, 8] != after[:, :, 8, 8]).any(1).all())
    assert bool((trial.labels != trial.new_labels[:, None]).all())
    agree = layers.picture(recipe(Variant.AGREE, SUBSETS["background"]))
    assert of_background(agree).tolist() == trial.inputs.shape_labels.tolist()


def test_whole_objects_have_one_label_and_one_noise() -> None:
    """As photographs do: a CGN whose pictures do not tile is audited so, unless told otherwise."""
    cgn = obvious_cgn()
    trial = sample_trial(cgn.spec, 64, 0, 0, whole=True)
    shape, texture = (trial.inputs.query(m) for m in (Mechanism.SHAPE, Mechanism.TEXTURE))
    assert torch.equal(shape.noise, texture.noise)
    assert torch.equal(shape.labels, texture.labels)
    assert bool((trial.inputs.background_labels != shape.labels).any())
    assert (
        audit_classifier(answering(of_texture), cgn, n=64, whole=True).record.mechanisms["texture"].follow.value == 100
    )
    assert not cgn.spec.tiles
    assert audit_classifier(answering(of_shape), cgn, n=64).record.whole
    assert not audit_classifier(answering(of_shape), cgn, n=64, whole=False).record.whole


def test_curves_and_confusion_agree_with_the_reactions() -> None:
    record = audited(of_background)
    curve = record.curves["background"]
    assert [point.amount for point in curve] == [0.25, 0.5, 0.75, 1.0]
    assert [point.flip.value for point in curve] == sorted(point.flip.value for point in curve)
    assert curve[-1].follow.value == 100
    counts = torch.tensor(record.confusion["background"])
    assert int(counts.sum()) == int(counts.diagonal().sum()) == N
    assert int(torch.tensor(record.confusion["texture"]).diagonal().sum()) < N / 2


def test_pairs_show_one_picture_and_two_answers() -> None:
    audit = audit_classifier(answering(of_background), obvious_cgn(), n=N)
    assert len(audit.record.pairs) == 12
    assert {pair.mechanism for pair in audit.record.pairs} == {"background"}
    assert len({pair.new_label for pair in audit.record.pairs}) == 10
    for pair, pictures in zip(audit.record.pairs, audit.pictures.float() / 127.5 - 1, strict=True):
        assert of_background(pictures).tolist() == [pair.labels[2], pair.new_label]
        assert (pair.decision_before, pair.decision_after) == (pair.labels[2], pair.new_label)
        assert torch.equal(pictures[0, :, 8, 8], pictures[1, :, 8, 8])


def test_the_same_seed_gives_the_same_record_and_another_seed_another() -> None:
    first, again, other = (audited(mixture(0.3), n=100, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert first.mechanisms != other.mechanisms


def test_chance_follows_nothing_beyond_the_margin() -> None:
    """Where a new picture merely confuses, y' is the answer no more often than any other class."""

    def read(images: Tensor) -> Tensor:
        return torch.where(chance_of(images) < 0.5, (chance_of(-images) * 10).long(), of_shape(images))

    record = audited(read, n=2000)
    for name in ("texture", "background"):
        assert record.mechanisms[name].flip.value > 30
        assert record.mechanisms[name].excess.low < MARGIN
    assert record.follows == ()


def test_wrong_answers_end_in_one_line() -> None:
    for classifier, words in (
        (lambda x: torch.zeros(len(x), 3), "should answer with probabilities of shape"),
        (lambda x: torch.full((len(x), 10), torch.nan), "no probabilities"),
        (lambda x: 50 * torch.eye(10)[of_shape(x)], "no probabilities"),
        (lambda x: None, "NoneType"),
    ):
        with pytest.raises(UserError, match=words):
            ask(classifier, obvious_cgn(), 64)
    with pytest.raises(UserError, match="one class"):
        ask(answering(of_shape), obvious_cgn(1), 64)


def test_pairs_show_both_mechanisms_in_turns_if_both_are_followed() -> None:
    def read(images: Tensor) -> Tensor:
        return torch.where(of_texture(images) < 5, of_texture(images), of_background(images))

    record = audited(read)
    assert record.follows[:2] == ("texture", "background")
    assert [pair.mechanism for pair in record.pairs] == 6 * ["texture", "background"]
    assert len({pair.new_label for pair in record.pairs if pair.mechanism == "background"}) >= 5
