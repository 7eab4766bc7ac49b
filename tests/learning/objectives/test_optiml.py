"""OPTiML: the transport plan, the cost, the marginals and the VICReg terms."""

from __future__ import annotations

import pytest
import torch

from napari_gemini.correspondence.transport import discrepancy, sinkhorn, transport_loss
from napari_gemini.learning.objectives.optiml import Optiml, covariance_term, variance_term
from napari_gemini.networks.cross_view import CrossViewMarginals
from napari_gemini.networks.gemini import build_network
from napari_gemini.settings import TransportSettings
from tests.learning.objectives.helpers import pretraining_settings, textured_cohort


def _marginals(seed: int, batch: int, positions: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn((2, batch, positions), generator=generator)
    rows, columns = torch.log_softmax(logits, dim=2)
    return rows, columns


@pytest.mark.parametrize("epsilon", [0.05, 0.5])
def test_the_plan_has_its_marginals_within_tolerance(epsilon: float) -> None:
    torch.manual_seed(0)
    cost = torch.rand(3, 9, 9) * 2
    rows, columns = _marginals(0, 3, 9)
    plan = sinkhorn(cost, rows, columns, epsilon, 200)
    assert bool((plan >= 0).all())
    assert torch.allclose(plan.sum(1), columns.exp(), atol=1e-5)
    assert torch.allclose(plan.sum(2), rows.exp(), atol=5e-3)
    assert torch.allclose(plan.sum((1, 2)), torch.ones(3), atol=1e-4)


@pytest.mark.parametrize(("positions", "most"), [(9, 0.02), (36, 0.005)])
def test_the_default_iterations_misplace_little_of_the_mass(positions: int, most: float) -> None:
    torch.manual_seed(0)
    settings = TransportSettings()
    cost = torch.rand(60, positions, positions) * 2
    rows, columns = _marginals(0, 60, positions)
    plan = sinkhorn(cost, rows, columns, settings.epsilon, settings.iterations)
    assert torch.allclose(plan.sum(1), columns.exp(), atol=1e-5)
    misplaced = (plan.sum(2) - rows.exp()).abs().sum(1)
    assert float(misplaced.mean()) < most


def test_a_small_entropy_finds_the_cheapest_assignment_without_overflow() -> None:
    order = torch.tensor([2, 0, 3, 1])
    cost = torch.ones(1, 4, 4)
    cost[0, torch.arange(4), order] = 0
    even = torch.full((1, 4), 0.25).log()
    plan = sinkhorn(cost, even, even, 1e-3, 50)
    assert torch.isfinite(plan).all()
    assert torch.equal(plan[0].argmax(1), order)
    assert float((plan * cost).sum()) < 1e-4
    # Without a preference the plan is the product of the marginals.
    rows, columns = _marginals(1, 1, 4)
    product = rows.exp().unsqueeze(2) * columns.exp().unsqueeze(1)
    assert torch.allclose(sinkhorn(torch.ones(1, 4, 4), rows, columns, 0.05, 5), product, atol=1e-6)


def test_the_gradient_of_the_transport_cost_is_that_of_the_plan() -> None:
    torch.manual_seed(0)
    cost = torch.rand(1, 3, 3, dtype=torch.float64, requires_grad=True)
    rows, columns = (m.double().requires_grad_() for m in _marginals(2, 1, 3))
    assert torch.autograd.gradcheck(
        lambda c, r, k: transport_loss(c, r, k, 0.3, 20), (cost, rows, columns)
    )


def test_the_cost_is_one_minus_the_cosine_of_every_two_positions() -> None:
    first, second = torch.randn(2, 5, 2, 3), torch.randn(2, 5, 2, 3)
    cost = discrepancy(first, second)
    assert cost.shape == (2, 6, 6)
    a, b = first[1, :, 0, 2], second[1, :, 1, 0]
    expected = 1 - torch.nn.functional.cosine_similarity(a, b, dim=0)
    assert torch.allclose(cost[1, 2, 3], expected, atol=1e-5)
    assert torch.allclose(discrepancy(first, first).diagonal(dim1=1, dim2=2), torch.zeros(2, 6),
                          atol=1e-5)  # fmt: skip


def test_marginals_are_distributions_that_depend_on_the_other_view() -> None:
    torch.manual_seed(0)
    module = CrossViewMarginals(64, 9, heads=2, tokens=4)
    first, second = torch.randn(3, 64), torch.randn(3, 64)
    rows, columns = module(first, second)
    assert torch.allclose(rows.exp().sum(1), torch.ones(3), atol=1e-5)
    assert torch.allclose(columns.exp().sum(1), torch.ones(3), atol=1e-5)
    swapped_rows, swapped_columns = module(second, first)
    assert torch.allclose(rows, swapped_columns)
    assert torch.allclose(columns, swapped_rows)
    # The query alone does not decide: another partner, another distribution.
    assert not torch.allclose(rows, module(first, torch.randn(3, 64))[0], atol=1e-3)


def test_variance_and_covariance_terms_by_hand() -> None:
    torch.manual_seed(0)
    vectors = torch.randn(7, 3) * torch.tensor([0.1, 1.0, 5.0])
    deviation = (vectors.var(0) + 1e-4).sqrt()
    assert torch.allclose(variance_term(vectors), (1 - deviation).clamp_min(0).mean())
    matrix = torch.cov(vectors.T)
    off = sum(float(matrix[i, j] ** 2) for i in range(3) for j in range(3) if i != j)
    assert float(covariance_term(vectors)) == pytest.approx(off / 3, rel=1e-4)
    # Collapsed vectors cost the most.
    assert float(variance_term(torch.ones(7, 3))) == pytest.approx(1 - 1e-2, rel=1e-4)


@pytest.mark.parametrize("dimension", [2, 3])
def test_the_encoder_and_all_heads_learn_and_the_decoder_does_not(dimension: int) -> None:
    torch.manual_seed(0)
    settings = pretraining_settings("optiml", dimension)
    objective = Optiml(
        build_network(settings.network), settings, textured_cohort(dimension=dimension)
    )
    assert objective.positions == 2**dimension
    first, second = objective.draw(torch.Generator().manual_seed(0))
    assert not torch.equal(first, second)
    objective.loss(first, second)["loss"].backward()
    backbone = objective.network.backbone
    assert all(p.grad is not None for p in backbone.encoder.parameters())  # type: ignore[union-attr]
    assert all(p.grad is None for p in backbone.decoder.parameters())  # type: ignore[union-attr]
    for name, parameter in objective.heads.named_parameters():
        assert parameter.grad is not None, name
