"""Configurations: typed, named by digest, strict about keys, with a help text per field."""

import json
from dataclasses import replace
from enum import StrEnum
from typing import get_args

import pytest
from pydantic.dataclasses import dataclass

from skdcgn.base.config import DistillConfig, ImageNetConfig, RunConfig, TeachConfig, TeachImageNetConfig
from skdcgn.base.errors import UserError
from skdcgn.base.presets import IMAGENET_RUNS, RUNS, TEACHERS, run_preset, teach_preset
from skdcgn.base.records import digest, from_dict, leaves, merge, override, to_dict

CONFIGS = (RunConfig, ImageNetConfig, TeachConfig, TeachImageNetConfig)


@pytest.mark.parametrize("config", [*RUNS.values(), *IMAGENET_RUNS.values(), *TEACHERS.values(), DistillConfig()])
def test_json_round_trip_is_exact(config):
    assert from_dict(type(config), json.loads(json.dumps(to_dict(config)))) == config


def test_digest_depends_on_every_field_and_on_nothing_else():
    config = RunConfig()
    assert digest(config) == digest(RunConfig())
    changed = {leaf.path: digest(override(config, {leaf.path: _other(leaf)})) for leaf in leaves(config)}
    assert len({digest(config), *changed.values()}) == 1 + len(changed)


def _other(leaf):
    value = leaf.value
    if value is None:
        return "other" if str in get_args(leaf.type) else 1
    if isinstance(value, bool):
        return not value
    if isinstance(value, StrEnum):
        return next(other for other in type(value) if other != value)
    if isinstance(value, tuple):
        return [*value, 4] if value else ["other"]
    if isinstance(value, float):
        return value / 2 or 1.0
    return "other" if isinstance(value, str) else value + 1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"sed": 1}, "unknown key 'sed': did you mean 'seed'"),
        ({"seed": "x"}, "seed: input should be a valid integer.*'x'"),
        ({"distill": {"stps": 1}}, "unknown key 'distill.stps': did you mean 'distill.steps'"),
        ({"distill": {"steps": 0}}, r"distill\.steps: input should be greater than 0, got 0"),
        ({"distill": {"pixel": -1.0}}, r"distill\.pixel: input should be greater than or equal to 0, got -1.0"),
        ({"distill": {"shape": {"channels": 3}}}, r"distill\.shape\.channels"),
    ],
)
def test_wrong_configurations_name_key_and_mend(values, words):
    for read in (lambda: merge(RunConfig(), values, "my.json"), lambda: from_dict(RunConfig, values, "my.json")):
        with pytest.raises(UserError, match=f"my.json: .*{words}") as error:
            read()
        assert "\n" not in str(error.value)


def test_a_file_changes_single_values_of_a_preset():
    merged = merge(
        run_preset("smoke"), {"digest": "ignored", "reads": {"images": "too"}, "distill": {"steps": 7}, "seed": 3}, "f"
    )
    base = run_preset("smoke")
    assert merged == replace(base, seed=3, distill=replace(base.distill, steps=7))


def test_full_takes_the_published_classifier_budget_and_keeps_the_presets_composition():
    for name, images in (("double-colored-digits", 20_000), ("double-colored-mnist", 100_000)):
        base, full = (run_preset(name, full=whole).classify for whole in (False, True))
        assert (full.images, full.epochs, full.batch_size) == (100_000, 10, 64)
        assert replace(full, images=images, epochs=base.epochs, batch_size=base.batch_size) == base


@pytest.mark.parametrize("find", [run_preset, teach_preset])
def test_an_unknown_preset_suggests_the_nearest(find):
    with pytest.raises(UserError, match="did you mean 'colored-mnist'"):
        find("coloured-mnist")


@pytest.mark.parametrize("config", CONFIGS)
def test_every_field_has_a_help_text_that_fits_80_columns(config):
    texts = [leaf.help for leaf in leaves(config())]
    assert all(0 < len(text) <= 72 and text[-1] not in ".;," for text in texts)
    assert len({leaf.path: leaf.help for leaf in leaves(config())}) == len(texts)


def test_each_leaf_has_its_own_default():
    """Texture and shape students share a type but not their sizes."""
    values = {leaf.path: leaf.value for leaf in leaves(DistillConfig())}
    assert values["texture.channels"] == DistillConfig().texture.channels != values["shape.channels"]


@dataclass(frozen=True, config={"extra": "forbid"})
class Tone:
    level: int


@dataclass(frozen=True, config={"extra": "forbid"})
class Chord:
    tones: Tone
    names: dict[str, Tone]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tones": {"level": 1}, "names": {}, "name": 1}, "it: unknown key 'name': remove it"),
        ({"tones": {"level": 1}, "names": {}, "x": 1}, "it: unknown key 'x': remove it"),
        ({"names": {}}, "it: tones is missing"),
    ],
)
def test_a_record_without_defaults_names_its_keys(values, message):
    with pytest.raises(UserError, match=message):
        from_dict(Chord, values, "it")
