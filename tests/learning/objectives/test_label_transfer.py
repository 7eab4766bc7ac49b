"""Label transfer: its value, who learns from it, and that carried labels and head come to agree."""

from __future__ import annotations

import pytest
import torch

from napari_gemini.correspondence.warp import comparison_mask
from napari_gemini.learning.objectives.base import PairBatches
from napari_gemini.learning.objectives.gemini_semi import GeminiSemi, gemini_loss
from napari_gemini.learning.objectives.label_transfer import transfer_loss
from napari_gemini.learning.sampling import PairSampler
from napari_gemini.learning.target_masks import target_masks
from napari_gemini.networks.gemini import GeminiNetwork, build_network
from napari_gemini.settings import AugmentationSettings, LossWeights, NetworkSettings
from napari_gemini.study.scheme import IGNORE_INDEX
from tests.learning.helpers import tiny_cohort, tiny_settings

CLASSES = 2
SIZE = 32


@pytest.fixture
def network() -> GeminiNetwork:
    torch.manual_seed(0)
    return build_network(NetworkSettings(dimension=2, base_width=4, classes=CLASSES))


def square(left: int) -> torch.Tensor:
    """A square of 12 pixels as a class map (1, S, S)."""
    target = torch.zeros(1, SIZE, SIZE, dtype=torch.long)
    target[:, 10:22, left : left + 12] = 1
    return target


def shift(by: float) -> torch.Tensor:
    """Return constant displacements (2, 2, S, S) along the last axis, there and back."""
    field = torch.zeros(2, 2, SIZE, SIZE)
    field[0, 1], field[1, 1] = by, -by
    return field


def say(network: GeminiNetwork, target: torch.Tensor) -> None:
    """Let the head be certain of a class map, whatever the features are."""
    logits = 30 * (target_masks(target, network.config) - 0.5)
    network.segment = lambda features: logits  # type: ignore[method-assign]


def loss_of(network: GeminiNetwork, field: torch.Tensor, moving: torch.Tensor) -> float:
    masks = target_masks(moving, network.config)
    features, counted = torch.zeros(2, 4, SIZE, SIZE), comparison_mask(field)
    return float(transfer_loss(network, features, field, masks, counted, head_weight=1))


def test_it_vanishes_where_the_field_carries_the_labels_onto_those_of_the_head(
    network: GeminiNetwork,
) -> None:
    say(network, square(8))
    # warped(p) = moving(p + u): the square at 12 comes to 8 with u = +4.
    assert loss_of(network, shift(4), square(12)) == pytest.approx(0, abs=1e-3)
    assert loss_of(network, shift(-4), square(12)) > 0.3
    # Without any field, Dice of two squares that share 8 of 12 columns, in both directions.
    foreground, background = 2 / 3, 1 - 2 * 48 / (2 * (SIZE**2 - 144))
    expected = 2 * (1 - (foreground + background) / 2)
    assert loss_of(network, shift(0), square(12)) == pytest.approx(expected, abs=5e-3)


def test_what_is_not_counted_does_not_matter(network: GeminiNetwork) -> None:
    say(network, square(8))
    masks = target_masks(square(12), network.config)
    counted = torch.ones(2, 1, SIZE, SIZE)
    counted[..., 8:24] = 0
    features = torch.zeros(2, 4, SIZE, SIZE)
    assert float(transfer_loss(network, features, shift(0), masks, counted, 1)) < 1e-3


@pytest.mark.parametrize("head_weight", [0.0, 10.0])
def test_fields_and_head_feel_it_as_stated(network: GeminiNetwork, head_weight: float) -> None:
    """The gradient to the head grows with its weight, that to the field does not."""
    torch.manual_seed(1)
    features = torch.rand(2, 4, SIZE, SIZE, requires_grad=True)
    counted, masks = torch.ones(2, 1, SIZE, SIZE), target_masks(square(12), network.config)
    gradients = {}
    for weight in (1.0, head_weight):
        field = (shift(0) + 0.1).requires_grad_()
        network.zero_grad()
        transfer_loss(network, features, field, masks, counted, weight).backward()
        assert field.grad is not None
        head = [p.grad for p in network.head.parameters() if p.grad is not None]
        size = max((float(g.abs().max()) for g in head), default=0.0)
        gradients[weight] = (field.grad.clone(), size)
    (field_one, head_one), (field_other, head_other) = gradients[1.0], gradients[head_weight]
    torch.testing.assert_close(field_one, field_other)
    assert float(field_one.abs().max()) > 0
    assert head_one > 0
    assert head_other == pytest.approx(head_weight * head_one, rel=1e-4)


def test_masks_of_both_kinds_of_schemes() -> None:
    classes = torch.tensor([[0, 1, 2, IGNORE_INDEX]])
    exclusive = target_masks(classes, NetworkSettings(dimension=2, classes=3))
    assert exclusive[0].tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]
    masks = torch.tensor([[[0, 1, IGNORE_INDEX], [1, 1, 0]]])
    overlapping = target_masks(masks, NetworkSettings(dimension=2, classes=2, overlapping=True))
    assert overlapping[0].tolist() == [[0, 1, 0], [1, 1, 0]]


def test_the_stated_share_of_pairs_starts_from_a_labelled_scan() -> None:
    cohort = tiny_cohort(count=6, labelled=2)
    settings = tiny_settings()
    generator = torch.Generator().manual_seed(0)
    batches = PairBatches(cohort, settings, labelled_share=0.5)
    with_labels = [batches.draw(generator).target_first is not None for _ in range(200)]
    assert 70 < sum(with_labels) < 130
    plain = PairBatches(cohort, settings)
    assert all(plain.draw(generator).target_first is None for _ in range(20))
    # The labels lie on the scan they belong to: its disc is bright.
    batch = PairBatches(cohort, settings, labelled_share=1).draw(generator)
    assert batch.target_first is not None
    inside = batch.first[:, 0][batch.target_first == 1]
    outside = batch.first[:, 0][batch.target_first == 0]
    assert float(inside.mean()) > float(outside.mean()) + 0.3


def test_partners_stay_within_the_group_and_are_never_the_scan_itself() -> None:
    sampler = PairSampler(["a", "a", "a", "b", "b"])
    generator = torch.Generator().manual_seed(0)
    pairs = [pair for _ in range(60) for pair in sampler.draw(2, generator, first=[0, 3])]
    assert {a for a, _ in pairs} == {0, 3}
    assert {b for a, b in pairs if a == 0} == {1, 2}
    assert {b for a, b in pairs if a == 3} == {4}


def test_it_is_off_in_the_paper_and_changes_nothing_then() -> None:
    cohort, settings = tiny_cohort(), tiny_settings(label_transfer=0.0)
    network = build_network(settings.network)
    generator = torch.Generator().manual_seed(0)
    update, _ = GeminiSemi(network, settings, cohort).updates(0, generator)
    assert set(update.terms()) == {"loss", "gss", "gvs", "smooth"}


def test_training_with_it_carries_labels_to_where_the_head_sees_them() -> None:
    """The deformer finds through the labels alone what it is not told about intensities."""
    torch.manual_seed(0)
    still = AugmentationSettings(rotation_degrees=0, scale_range=0)
    settings = tiny_settings(augmentation=still)
    network = build_network(settings.network)
    weights = LossWeights(gvs=0, gss=0, smooth=0.01, transfer=1, transfer_to_head=0)
    say(network, square(8))
    # One labelled scan and one other: always the same pair.
    batches = PairBatches(tiny_cohort(count=2, labelled=1), settings, labelled_share=1)
    optimiser = torch.optim.Adam(network.deformer.parameters(), lr=1e-2)
    losses = []
    for step in range(60):
        batch = batches.draw(torch.Generator().manual_seed(step))
        terms = gemini_loss(network, batch, weights, window=9)
        optimiser.zero_grad()
        terms["loss"].backward()
        optimiser.step()
        losses.append(float(terms["transfer"].detach()))
    assert losses[-1] < 0.4 * losses[0]
