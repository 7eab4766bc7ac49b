"""Experiments on the features themselves: clusters before and after, pairs that are right."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.evidence.data import Data
from benchmarks.evidence.labels import Jobs, Row, bound
from benchmarks.evidence.scores import feature_health, pairs_of_test_scans
from benchmarks.evidence.training import PAIRED, SCRATCH, Bench, pretrain, starts
from napari_gemini.correspondence.clusters import silhouette
from napari_gemini.correspondence.embedding import embed_features
from napari_gemini.correspondence.warp import warp
from napari_gemini.networks.gemini import GeminiNetwork
from napari_gemini.networks.unet import DoubleConv

#: Test scans and voxels of each that a t-SNE lays out.
SCANS, VOXELS = 4, 300
#: Voxels of each pair of scans that look for their counterpart, evenly over the labels.
QUERIES = 200


def clusters(bench: Bench, objectives: list[str] | None = None) -> Jobs:
    """Lay features of test voxels out by t-SNE and compare clusters with labels (Fig. 17)."""

    def job(start: str) -> Row:
        data, network = bench.data, _network(bench, start)
        ids = data.test[:SCANS]
        with torch.no_grad():
            features = [network.features(data.batch([case])[0])[0].numpy() for case in ids]
        labels = [data.labels[case].astype(np.int64) for case in ids]
        found = embed_features(features, count=VOXELS, labels=labels, seed=bench.seed)
        label = found.sample.label
        return {
            "kmeans_nmi": found.scores["kmeans_nmi"],
            "kmeans_ari": found.scores["kmeans_ari"],
            "labels_silhouette": found.scores["labels_silhouette"],
            "plane_silhouette": silhouette(found.coordinates, label, bench.seed),
            **feature_health(network, data, ids),
        }

    return {start: bound(job, start) for start in starts(objectives)}


def pairing(bench: Bench, objectives: list[str] | None = None) -> Jobs:
    """Count pairs of voxels with one label, paired by similarity or correspondence (App. B)."""

    def job(start: str) -> Row:
        return true_positives(_network(bench, start), bench.data)

    return {start: bound(job, start) for start in objectives or [SCRATCH, *PAIRED]}


def depth(bench: Bench, objectives: list[str] | None = None) -> Jobs:
    """Say how much features owe to each coarser stage of the U-Net (none of the paper's)."""

    def job(start: str) -> Row:
        return stage_shares(_network(bench, start), bench.data.batch(bench.data.test)[0])

    return {start: bound(job, start) for start in starts(objectives)}


@torch.no_grad()
def stage_shares(network: GeminiNetwork, images: Tensor) -> Row:
    """Return how much features change when what comes from a coarser stage is flattened.

    The features that a stage of the decoder receives from below are replaced by their mean over
    space; the change of the final features is given as a share of their deviation from their mean,
    in percent, coarsest first.
    """
    full = network.features(images)
    axes = tuple(range(2, full.ndim))
    deviation = (full - full.mean(axes, keepdim=True)).norm()
    decoder = network.backbone.decoder
    assert isinstance(decoder, torch.nn.ModuleList)
    shares: Row = {}
    for level, stage in enumerate(decoder):
        # A stage gives as many channels as the skip connection brings.
        assert isinstance(stage, DoubleConv)
        width = next(p for name, p in stage.named_parameters() if name == "0.0.bias").numel()

        def flatten(_: torch.nn.Module, inputs: tuple[Tensor], width: int = width) -> Tensor:
            skip, below = inputs[0][:, :width], inputs[0][:, width:]
            flat = below.mean(axes, keepdim=True).expand_as(below)
            return torch.cat([skip, flat], dim=1)

        hook = stage.register_forward_pre_hook(flatten)
        change = (network.features(images) - full).norm()
        hook.remove()
        shares[f"stage {level + 1}"] = 100 * float(change / deviation)
    return shares


@torch.no_grad()
def true_positives(network: GeminiNetwork, data: Data) -> Row:
    """Return the percentage of pairs whose two voxels have one label.

    Voxels of labelled structures of the fixed scan, evenly drawn over them, look for a partner in
    the moving scan: the voxel of the most similar feature anywhere (``similarity``), where the
    deformer says (``correspondence``), or the same place (``place``).
    """
    features = {case: network.features(data.batch([case])[0]) for case in data.test}
    rows = []
    for number, (moving, fixed) in enumerate(pairs_of_test_scans(data)):
        field = network.displacement(features[moving], features[fixed])
        labels = [data.batch([case])[1].unsqueeze(1) for case in (moving, fixed)]
        chosen = _queries(labels[1].flatten(), number)
        wanted = labels[1].flatten()[chosen]
        units = [F.normalize(features[case][0].flatten(1), dim=0) for case in (moving, fixed)]
        nearest = (units[1][:, chosen].T @ units[0]).argmax(1)
        partners = {
            "similarity": labels[0].flatten()[nearest],
            "correspondence": _carried(labels[0], field).flatten()[chosen],
            "place": labels[0].flatten()[chosen],
        }
        rows.append({k: 100 * float((v == wanted).float().mean()) for k, v in partners.items()})
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def _carried(labels: Tensor, field: Tensor) -> Tensor:
    """Return the label at the voxel nearest to where the field points; 0 outside."""
    return warp(labels.float(), field, mode="nearest").round().long()


def _queries(labels: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    kinds = [int(kind) for kind in labels.unique() if kind > 0]
    share = max(1, QUERIES // len(kinds))
    drawn = []
    for kind in kinds:
        places = torch.nonzero(labels == kind)[:, 0]
        drawn.append(places[torch.randperm(len(places), generator=generator)[:share]])
    return torch.cat(drawn)


def _network(bench: Bench, start: str) -> GeminiNetwork:
    weights = pretrain(bench, start)
    network: GeminiNetwork = bench.fresh()
    network.load_state_dict(weights)
    return network.eval()
