"""The classifier: published layout, exact epochs, and it learns what the labels say."""

import pytest
import torch

from skdcgn.base.config import ClassifyConfig, Optimizer
from skdcgn.base.errors import UserError
from skdcgn.base.presets import PUBLISHED_TRAINING
from skdcgn.classifiers.small_cnn import (
    Classifier,
    Classify,
    accuracy,
    classify,
    computes_bf16,
    load_classifier,
    predict,
)
from skdcgn.data.images import LabelledImages
from skdcgn.training.loop import Step


def coloured(count, seed=0):
    labels = torch.arange(count) % 3
    images = torch.full((count, 3, 32, 32), -1.0)
    images[torch.arange(count), labels] = 1.0
    return LabelledImages(
        images + 0.1 * torch.randn(images.shape, generator=torch.Generator().manual_seed(seed)), labels
    )


def test_layout_has_the_published_layers():
    parameters = sum(p.numel() for p in Classifier().parameters())
    convolutions = (3 * 25 + 1) * 32 + (32 * 9 + 1) * 32 + (32 * 9 + 1) * 64 + (64 * 9 + 1) * 64
    assert parameters == 6 + convolutions + 65 * 10


def test_hes_weights_keep_the_size_of_activations_and_pytorchs_do_not():
    images, kept = torch.randn(64, 3, 32, 32), {}
    for he in (False, True):
        torch.manual_seed(0)
        classifier = Classify(ClassifyConfig(he_init=he)).modules["classifier"]
        with torch.no_grad():
            last = classifier.body[:-3](images)  # before the pools; the images have a deviation of 1
        kept[he] = float(last.square().mean().sqrt())
    assert kept[True] > 0.5
    assert kept[False] < 0.1


@pytest.mark.parametrize(
    ("recipe", "optimizer", "rate"),
    [
        (ClassifyConfig(), torch.optim.AdamW, 4e-3),
        (PUBLISHED_TRAINING, torch.optim.Adadelta, 1.0),
        (ClassifyConfig(optimizer=Optimizer.ADADELTA), torch.optim.Adadelta, 1.0),
        (ClassifyConfig(learning_rate=1e-4), torch.optim.AdamW, 1e-4),
    ],
)
def test_each_optimiser_has_a_rate_of_its_own(recipe, optimizer, rate):
    built = Classify(recipe).optimizers["classifier"]
    assert type(built) is optimizer
    assert built.param_groups[0]["lr"] == rate


def test_bfloat16_changes_a_step_only_where_the_cpu_has_it():
    batch = {"images": torch.randn(8, 3, 32, 32), "labels": torch.arange(8)}
    losses = []
    for bf16 in (True, False):
        torch.manual_seed(0)
        losses.append(Classify(ClassifyConfig(bf16=bf16)).step(batch, Step())["loss"])
    assert (losses[0] != losses[1]) is computes_bf16()
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_it_learns_and_is_loaded_back(tmp_path):
    config = ClassifyConfig(epochs=2, batch_size=16)
    trained = classify(coloured(160), config, tmp_path, device="cpu")
    unseen = coloured(90, seed=1)
    assert accuracy(trained, unseen) == 100.0
    loaded = load_classifier(tmp_path)
    assert torch.equal(predict(loaded, unseen.images), predict(trained, unseen.images))


def test_larger_pictures_end_in_the_same_sixty_four_numbers():
    with torch.no_grad():
        classifier, images = Classifier(3).eval(), torch.randn(2, 3, 64, 64)
        assert classifier(images).shape == (2, 3)
        fourfold = classifier.body[:-2](images)  # (2, 64, 2, 2), as the published pool leaves them
        assert torch.allclose(classifier.head(fourfold.mean((2, 3))), classifier(images), atol=1e-6)


def test_images_of_too_few_pixels_to_pool_are_refused(tmp_path):
    data = LabelledImages(torch.zeros(4, 3, 24, 24), torch.arange(4))
    with pytest.raises(UserError, match="24 pixels a side: the classifier takes 25 or more"):
        classify(data, ClassifyConfig(epochs=1), tmp_path)
    enough = LabelledImages(torch.zeros(4, 3, 25, 25), torch.arange(4))
    assert classify(enough, ClassifyConfig(epochs=1), tmp_path, device="cpu")(enough.images).shape == (4, 4)


def test_a_folder_without_a_classifier_is_named(tmp_path):
    with pytest.raises(UserError, match=r"checkpoint\.safetensors does not exist"):
        load_classifier(tmp_path)


def test_pooling_before_the_relu_gives_the_published_numbers():
    torch.manual_seed(0)
    classifier, images = Classifier().eval(), torch.randn(4, 3, 32, 32)
    norm, convolution, pool, relu = classifier.body[:4]
    published = classifier.body[4:](pool(relu(convolution(norm(images)))))
    assert torch.allclose(classifier(images), classifier.head(published), atol=1e-6)
