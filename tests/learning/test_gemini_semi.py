"""The objective of GEMINI-Semi: its value, who learns from which term, and that it learns."""

from __future__ import annotations

import pytest
import torch

from napari_gemini.correspondence.local_ncc import gvs_loss
from napari_gemini.correspondence.similarity import cosine_map
from napari_gemini.correspondence.warp import field_of_view_mask, warp
from napari_gemini.learning.objectives.base import LabelledBatches, PairBatch
from napari_gemini.learning.objectives.gemini_semi import (
    GeminiSemi,
    ShapeTransfer,
    gemini_loss,
    swap_halves,
)
from napari_gemini.learning.objectives.supervised import Supervised
from napari_gemini.networks.gemini import GeminiNetwork, build_network
from napari_gemini.settings import AugmentationSettings, LossWeights, NetworkSettings
from tests.learning.helpers import tiny_cohort, tiny_settings


@pytest.fixture
def network() -> GeminiNetwork:
    torch.manual_seed(0)
    return build_network(NetworkSettings(dimension=2, base_width=8, classes=2, flow_init="kaiming"))


@pytest.fixture
def batch() -> PairBatch:
    torch.manual_seed(1)
    images = torch.nn.functional.interpolate(torch.rand(2, 1, 8, 8), size=(32, 32), mode="bicubic")
    return PairBatch(images[:1], images[1:])


def _literal_loss(network: GeminiNetwork, batch: PairBatch, weights: LossWeights) -> torch.Tensor:
    """The loss as the paper writes it: one direction at a time, two feature warps each."""
    features = [network.features(image) for image in (batch.first, batch.second)]
    images = [batch.first, batch.second]
    total = torch.zeros(())
    for moving, fixed in ((0, 1), (1, 0)):
        flow = network.displacement(features[moving], features[fixed])
        mask = field_of_view_mask(flow)

        def gss(a: torch.Tensor, b: torch.Tensor, mask: torch.Tensor = mask) -> torch.Tensor:
            return 1 - (cosine_map(a, b) * mask).sum() / mask.sum()

        red = gss(warp(features[moving], flow.detach()), features[fixed])
        blue = gss(warp(features[moving].detach(), flow), features[fixed].detach())
        smooth = (flow.diff(dim=2).square().mean() + flow.diff(dim=3).square().mean()) / 2
        gvs = gvs_loss(warp(images[moving], flow), images[fixed], mask)
        similarity = weights.gss * (blue + weights.positive * red)
        total = total + similarity + weights.gvs * gvs + weights.smooth * smooth
    return total


def test_the_efficient_loss_equals_the_literal_one(
    network: GeminiNetwork, batch: PairBatch
) -> None:
    weights = LossWeights()
    loss = gemini_loss(network, batch, weights, window=9)["loss"]
    literal = _literal_loss(network, batch, weights)
    assert loss.item() == pytest.approx(literal.item(), rel=1e-4)
    parameters = [p for p in network.parameters() if p.requires_grad]
    ours = torch.autograd.grad(loss, parameters, allow_unused=True)
    theirs = torch.autograd.grad(literal, parameters, allow_unused=True)
    for mine, its in zip(ours, theirs, strict=True):
        assert (mine is None) == (its is None)
        if mine is not None and its is not None:
            scale = float(its.abs().max()) + 1e-6
            assert float((mine - its).abs().max()) / scale < 1e-3


def test_the_red_path_alone_never_reaches_the_deformer(
    network: GeminiNetwork, batch: PairBatch
) -> None:
    """With the flow detached, only the backbone learns; that is what `positive` scales."""
    features = network.features(torch.cat([batch.first, batch.second]))
    flow = network.displacement(features, swap_halves(features)).detach()
    from napari_gemini.correspondence.similarity import gss_loss

    gss_loss(features, swap_halves(features), flow, red_weight=1.0).backward()
    assert all(p.grad is None for p in network.deformer.parameters())
    assert any(float(p.grad.abs().max()) > 0 for p in network.backbone.parameters())


def test_the_blue_path_reaches_the_backbone_only_through_the_deformer(
    network: GeminiNetwork, batch: PairBatch
) -> None:
    weights = LossWeights(gvs=0, smooth=0, gss=1, positive=0)
    gemini_loss(network, batch, weights, window=9)["loss"].backward()
    through = [p.grad.clone() for p in network.backbone.parameters()]
    assert max(float(g.abs().max()) for g in through) > 0
    network.zero_grad()
    # The deformer's inputs cut off: nothing is left for the backbone.
    plain = network.displacement
    network.displacement = lambda a, b: plain(a.detach(), b.detach())  # type: ignore[method-assign]
    gemini_loss(network, batch, weights, window=9)["loss"].backward()
    reached = [p.grad for p in network.backbone.parameters() if p.grad is not None]
    assert all(float(gradient.abs().max()) == 0 for gradient in reached)
    assert max(float(p.grad.abs().max()) for p in network.deformer.parameters()) > 0


def test_segmentation_head_is_untouched_by_the_correspondence_update(
    network: GeminiNetwork, batch: PairBatch
) -> None:
    gemini_loss(network, batch, LossWeights(), window=9)["loss"].backward()
    assert all(p.grad is None for p in network.head.parameters())


def test_an_ignored_region_changes_nothing(network: GeminiNetwork, batch: PairBatch) -> None:
    """Similarity inside the region does not count, on either side."""
    region = torch.zeros_like(batch.first)
    region[..., 8:16, 8:16] = 1
    weights = LossWeights(gss=0, smooth=0)
    network.displacement = lambda a, b: torch.zeros(len(a), 2, *a.shape[2:])  # type: ignore[method-assign]
    with_region = PairBatch(batch.first, batch.second, region, None)
    spoiled = batch.first.clone()
    spoiled[..., 11:13, 11:13] = 0.9
    before = gemini_loss(network, with_region, weights, window=3)["gvs"]
    after = gemini_loss(network, PairBatch(spoiled, batch.second, region, None), weights, window=3)[
        "gvs"
    ]
    free = gemini_loss(network, PairBatch(spoiled, batch.second), weights, window=3)["gvs"]
    assert float(after) == pytest.approx(float(before), abs=1e-3)
    assert abs(float(free) - float(before)) > 3e-3


@pytest.mark.parametrize("objective", [GeminiSemi, Supervised])
def test_updates_come_in_the_stated_order(objective: type) -> None:
    cohort = tiny_cohort()
    settings = tiny_settings(correspondence_every=2)
    made = objective(build_network(settings.network), settings, cohort)
    names = [[u.name for u in made.updates(k, torch.Generator().manual_seed(0))] for k in (0, 1)]
    if objective is Supervised:
        assert names == [["segmentation"], ["segmentation"]]
    else:
        assert names == [["correspondence", "segmentation"], ["segmentation"]]


def test_correspondence_learns_a_known_shift() -> None:
    """After training on pairs of shifted discs, the field points along the shift."""
    torch.manual_seed(0)
    axis = torch.arange(32, dtype=torch.float32)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"))

    def disc(x: float, y: float) -> torch.Tensor:
        radius = ((grid[0] - x) ** 2 + (grid[1] - y) ** 2).sqrt()
        return torch.sigmoid(8 - radius)[None, None] + 0.3 * torch.sigmoid(4 - radius)[None, None]

    network = build_network(NetworkSettings(dimension=2, base_width=8, classes=2))
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    rng = torch.Generator().manual_seed(0)
    for _ in range(200):
        centres = 15.5 + (torch.rand(4, generator=rng) * 2 - 1) * 2.5
        batch = PairBatch(disc(*centres[:2].tolist()), disc(*centres[2:].tolist()))
        loss = gemini_loss(network, batch, LossWeights(), window=9)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        moving, fixed = disc(17.5, 15.5), disc(13.5, 15.5)
        features = network.features(torch.cat([moving, fixed]))
        flow = network.displacement(features[:1], features[1:])[0]
    rim = ((grid[0] - 13.5) ** 2 + (grid[1] - 15.5) ** 2).sqrt().sub(8).abs() < 2
    assert float(flow[0][rim].mean()) > 1.5
    assert abs(float(flow[1][rim].mean())) < 1


def test_shape_transfer_moves_scan_and_labels_alike_and_only_the_stated_share() -> None:
    cohort = tiny_cohort(labelled=4)
    settings = tiny_settings(
        labelled_per_step=4,
        shape_transfer=1.0,
        augmentation=AugmentationSettings(rotation_degrees=0, scale_range=0),
    )
    network = build_network(settings.network)
    made = ShapeTransfer(network, settings, cohort)
    network.displacement = lambda a, b: torch.full((len(a), 2, 32, 32), 4.0)  # type: ignore[method-assign]
    field = made([0, 1, 2, 3], torch.Generator().manual_seed(0))
    assert field is not None
    assert len({round(float(f.max()), 3) for f in field}) == 4
    assert float(field.min()) > 0
    assert float(field.max()) <= 4
    images, target = LabelledBatches(cohort, settings, made).draw(torch.Generator().manual_seed(0))
    assert not torch.equal(target, cohort.target([0, 1, 2, 3]))
    assert float(images[:, 0][target == 1].mean()) > 0.75
    nobody = ShapeTransfer(network, tiny_settings(shape_transfer=1e-9), cohort)
    assert nobody([0, 1], torch.Generator().manual_seed(0)) is None


def test_shape_transfer_stays_within_a_group() -> None:
    cohort = tiny_cohort(labelled=4)
    cohort.groups = ["a" if k % 2 == 0 else "b" for k in range(len(cohort.ids))]
    cohort.images = torch.arange(float(len(cohort.ids))).reshape(-1, 1, 1, 1).expand(-1, 1, 32, 32)
    settings = tiny_settings(shape_transfer=1.0)
    network = build_network(settings.network)
    network.features = lambda images: images  # type: ignore[method-assign]
    met: list[tuple[int, int]] = []

    def meet(moving: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
        met.extend((int(a[0, 0, 0]), int(b[0, 0, 0])) for a, b in zip(moving, fixed, strict=True))
        return torch.zeros(len(moving), 2, 32, 32)

    network.displacement = meet  # type: ignore[method-assign]
    made = ShapeTransfer(network, settings, cohort)
    for seed in range(10):
        made([0, 1, 2, 3], torch.Generator().manual_seed(seed))
    assert len(met) == 40
    assert all(a != b and a % 2 == b % 2 for a, b in met)


def test_shape_transfer_leaves_no_gradient_and_starts_as_nothing() -> None:
    cohort = tiny_cohort()
    settings = tiny_settings(shape_transfer=1.0)
    field = ShapeTransfer(build_network(settings.network), settings, cohort)(
        [0, 1], torch.Generator().manual_seed(0)
    )
    assert field is not None
    assert not field.requires_grad
    assert float(field.abs().max()) < 1e-2
