"""The model card that people read: ``README.md`` from ``model.json``."""

from __future__ import annotations

from collections.abc import Iterator

from napari_gemini.learning.card import About, ModelCard


def model_readme(card: ModelCard, size: int) -> str:
    """Return the model card as Markdown.

    Parameters
    ----------
    card
        What ``model.json`` says.
    size
        Bytes of the weights.
    """
    about = card.about or About()
    parts = [f"# {card.name}\n", about.title.rstrip(".") + ".\n" if about.title else ""]
    parts += _facts(card, about, size)
    parts += _scores(about)
    if about.limits:
        parts += ["## When not to use it\n", *(f"- {limit}" for limit in about.limits), ""]
    parts += _use(card)
    if about.recipe:
        parts += ["## How to make it again\n", f"```sh\n{about.recipe}\n```\n"]
    return "\n".join(part for part in parts if part is not None).rstrip() + "\n"


def _facts(card: ModelCard, about: About, size: int) -> Iterator[str]:
    """Yield the table of facts; what is not known is left out, never guessed."""
    network = card.network
    layout = f"{network.dimension}D {network.backbone}, base width {network.base_width}"
    if network.velocity_steps:
        layout += f", {network.velocity_steps} scaling-and-squaring steps"
    if network.field_stride > 1:
        layout += f", field computed in blocks of {network.field_stride} voxels"
    spacing = "x".join(f"{s:g}" for s in card.spacing_mm)
    unit = "mm" if card.extra.get("spacing_known", True) else "pixel"
    grid = f"{'x'.join(map(str, card.grid_shape))} voxels"
    if not card.extra.get("grid_known", True):  # an imported model: its user said the spacing
        grid = f"not known; voxels taken to be {spacing} {unit}"
    elif not card.general:
        grid += f" of {spacing} {unit}"
    rows = {
        "Trained on": about.trained_on,
        "Licence of that data": about.data_licence,
        "Licence of the weights": about.licence,
        "Credit": about.credit,
        "Objective": f"{card.objective}, {card.step:,} steps" if card.step else card.objective,
        "Training time": f"{about.hours:.1f} hours" if about.hours is not None else "",
        "Machine": about.machine,
        "Network": layout,
        "Training grid": grid,
        "Intensities": "by the scan" if card.general else card.intensity_mode,
        "Labels": ", ".join(f"{value} {name}" for value, name in card.labels.items())
        or "none: it finds correspondence and cannot label by itself",
        "Weights": f"{size / 1e6:.1f} MB, {card.dtype}",
        "sha256": card.weights_sha256,
        "Made with": ", ".join(f"{name} {version}" for name, version in card.versions.items()),
    }
    yield "| | |\n|---|---|"
    yield from (f"| {name} | {_cell(value)} |" for name, value in rows.items() if value)
    yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _scores(about: About) -> Iterator[str]:
    yield "## How it was measured\n"
    if not about.scores:
        yield "It was not measured.\n"
        return
    yield "| what | value |\n|---|---|"
    for score in about.scores:
        value = "–" if score.value is None else f"{score.value:.3f}"
        yield f"| {_cell(score.what)} | {value}{' ' + score.unit if score.unit else ''} |"
    yield ""
    commands = list(dict.fromkeys(score.command for score in about.scores if score.command))
    if commands:
        yield "```sh\n" + "\n".join(commands) + "\n```\n"


def _use(card: ModelCard) -> Iterator[str]:
    yield "## How to use it\n"
    suffix = ".png" if card.network.dimension == 2 else ".nii.gz"
    lines = [
        f"napari-gemini correspond a{suffix} b{suffix} --model {card.name} --out a_to_b/",
        f"napari-gemini train my-study/ --init {card.name}",
    ]
    yield "```sh\n" + "\n".join(lines) + "\n```\n"
