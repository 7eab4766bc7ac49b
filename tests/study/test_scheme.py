from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from napari_gemini.errors import InputError
from napari_gemini.study.scheme import (
    IGNORE_INDEX,
    LabelScheme,
    scheme_from_values,
    slug,
    unique_values,
)


def test_background_is_implied_and_the_rest_filled_in() -> None:
    scheme = LabelScheme(names={"0": "background", "3": " liver ", "1": "spleen"}, keys={3: "q"})
    assert scheme.names == {1: "spleen", 3: "liver"}
    assert scheme.values == (1, 3)
    assert scheme.classes == 3
    assert set(scheme.colors) == {1, 3}
    assert scheme.colors[1] != scheme.colors[3]
    assert scheme.keys == {1: "1", 3: "q"}
    assert LabelScheme.model_validate_json(scheme.model_dump_json()) == scheme


def test_overlapping_needs_no_background_channel() -> None:
    assert LabelScheme(names={1: "a", 2: "b"}, overlapping=True).classes == 2


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"names": {}}, "at least one label"),
        ({"names": {0: "background"}}, "at least one label"),
        ({"names": {-1: "a"}}, "between 1 and"),
        ({"names": {70000: "a"}}, "between 1 and"),
        ({"names": {1: " "}}, "needs a name"),
        ({"names": {1: "Left lung", 2: "left_lung"}}, "same name"),
        ({"names": {1: "a"}, "ignore": 1}, "value of its own"),
        ({"names": {1: "Ignore"}, "ignore": 2}, "beside the ignore label"),
        ({"names": {1: "a"}, "colors": {2: "#000000"}}, "which is none"),
        ({"names": {1: "a"}, "colors": {1: "red"}}, "#rrggbb"),
        ({"names": "many"}, "dictionary"),
    ],
)
def test_senseless_schemes_are_refused(wrong: dict, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        LabelScheme(**wrong)


def test_labels_outside_the_scheme_are_named() -> None:
    scheme = LabelScheme(names={1: "a", 4: "b"}, ignore=255)
    scheme.check(np.array([0, 1, 4, 255]), "x.nii.gz")
    with pytest.raises(InputError, match=r"^x.nii.gz holds the label 2, 3, .*0, 1, 4, 255"):
        scheme.check(np.array([0, 2, 3, 4], dtype=np.uint8), "x.nii.gz")
    with pytest.raises(InputError, match=r"5, 6, 7, 8, 9, \.\.\."):
        scheme.check(np.arange(5, 20), "x")


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    st.sets(st.integers(1, 300), min_size=1, max_size=8),
    st.one_of(st.none(), st.integers(301, 400)),
    st.integers(0, 1000),
)
def test_class_numbers_and_values_convert_both_ways(
    values: set[int], ignore: int | None, seed: int
) -> None:
    scheme = LabelScheme(names={v: f"n{v}" for v in values}, ignore=ignore)
    allowed = [0, *sorted(values)] + ([ignore] if ignore is not None else [])
    labels = np.random.default_rng(seed).choice(allowed, (5, 6)).astype(np.uint16)
    indices = scheme.to_indices(labels)
    assert np.array_equal(scheme.from_indices(indices), labels)
    assert set(np.unique(indices)) <= set(range(len(values) + 1)) | {IGNORE_INDEX}
    if ignore is not None:
        assert np.array_equal(indices == IGNORE_INDEX, labels == ignore)


def test_unknown_value_is_no_class() -> None:
    with pytest.raises(InputError, match="holds the label 9"):
        LabelScheme(names={1: "a"}).to_indices(np.array([9]))


def test_scheme_of_found_values() -> None:
    assert scheme_from_values({0, 2, 5}).names == {2: "label 2", 5: "label 5"}
    for values, says in (({0}, "nothing but background"), ({-3, 1}, "-3"), ({99_999}, "99999")):
        with pytest.raises(InputError, match=says):
            scheme_from_values(values)


def test_slugs_are_file_names() -> None:
    assert slug(" Left Lung/upper ") == "left_lung_upper"
    assert slug("..") == "label"


@pytest.mark.parametrize("kind", [bool, np.uint8, np.uint16, np.int16, np.int64])
def test_unique_values(kind: type) -> None:
    data = np.random.default_rng(0).integers(0, 2, (4, 5)).astype(kind)
    assert list(unique_values(data)) == list(np.unique(data))
