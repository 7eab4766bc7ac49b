"""Sums over a moving box by doubling, in scratch memory that is reused from sum to sum."""

from __future__ import annotations

import torch
from torch import Tensor


class WindowSum:
    """Sum images over a centred box around every voxel, zeros outside.

    With ``s1 = x`` and ``s2k[i] = sk[i] + sk[i + k]``, a window of 9 = 1 + 8 takes four additions
    per axis instead of eight. The additions run over the whole padded volume as one line, which is
    what processors do fastest; sums that cross the end of a row fall on padding and are not read.

    Parameters
    ----------
    like
        ``(B, C, *S)``, gives shape, type and device.
    windows
        Odd box size per spatial axis, none longer than the axis plus one.

    Examples
    --------
    >>> sums = WindowSum(torch.ones(1, 1, 5), (3,))
    >>> sums(torch.ones(1, 1, 5)).tolist()
    [[[2.0, 3.0, 3.0, 3.0, 2.0]]]
    """

    def __init__(self, like: Tensor, windows: tuple[int, ...]) -> None:
        self.shape = like.shape
        # The last axis goes first: only it reads and writes short rows.
        axes = [axis for axis in reversed(range(len(windows))) if windows[axis] > 1]
        volumes = [_padded(like, axis + 2, windows[axis]) for axis in axes]
        longest = max((volume.numel() for volume in volumes), default=0)
        lines = like.new_empty(longest), like.new_empty(longest)
        #: Where the image goes, (lead, size, inner).
        self.entry: Tensor | None = None
        #: First addend, second addend, sum; None is the result, which is new every time.
        self.additions: list[tuple[Tensor | None, Tensor, Tensor | None]] = []
        target: Tensor | None = None
        for number in reversed(range(len(axes))):
            window, size = windows[axes[number]], like.shape[axes[number] + 2]
            self.additions[:0] = _plan(volumes[number], window, size, lines, target)
            self.entry = volumes[number].narrow(1, window // 2, size)
            if number:
                # The next axis's room for the image, in rows of this one.
                row = (like.shape[axes[number - 1] + 2], volumes[number - 1].shape[2])
                target = self.entry.unflatten(2, (-1, *row)).flatten(1, 2)

    def __call__(self, image: Tensor) -> Tensor:
        """Return the sums of an image, (B, C, *S), as a new tensor."""
        if self.entry is None:
            return image.clone()
        self.entry.copy_(image.reshape(self.entry.shape))
        return self._sum()

    def of_product(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the sums of the product of two images."""
        if self.entry is None:
            return a * b
        shape = self.entry.shape
        torch.mul(a.reshape(shape), b.reshape(shape), out=self.entry)
        return self._sum()

    def _sum(self) -> Tensor:
        part = self.additions[-1][1]
        result = part.new_empty(part.shape)
        for first, second, total in self.additions:
            torch.add(
                result if first is None else first, second, out=result if total is None else total
            )
        return result.view(self.shape)


def _padded(like: Tensor, axis: int, window: int) -> Tensor:
    """Return room for an image as (lead, size, inner), with zeros before and after `size`."""
    lead, inner = like.shape[:axis].numel(), like.shape[axis + 1 :].numel()
    size, half = like.shape[axis], window // 2
    padded = like.new_empty(lead, size + 2 * half, inner)
    padded.narrow(1, 0, half).zero_()
    padded.narrow(1, half + size, half).zero_()
    return padded


def _plan(
    padded: Tensor,
    window: int,
    size: int,
    lines: tuple[Tensor, Tensor],
    target: Tensor | None,
) -> list[tuple[Tensor | None, Tensor, Tensor | None]]:
    """List the additions that write the sums along one axis into a target.

    Parameters
    ----------
    padded
        (lead, size + window - 1, inner).
    window, size
        Of the axis.
    lines
        Scratch memory of at least the volume's length.
    target
        Four axes, (lead', ..., size, inner), or None for a result of (lead, size, inner).
    """
    split = (padded.shape[0], size, padded.shape[2]) if target is None else target.shape

    def part(line: Tensor, start: int) -> Tensor:
        return line[: padded.numel()].view(padded.shape).narrow(1, start, size).view(split)

    additions: list[tuple[Tensor | None, Tensor, Tensor | None]] = []
    line = padded.view(-1)
    total: Tensor | None = part(line, 0)
    length, inner = line.numel(), padded.shape[2]
    width, start, bits = 1, 1, window >> 1
    while bits:
        # `line[i]` becomes the sum of twice as many voxels from i on.
        step = width * inner
        length -= step
        following = lines[width.bit_length() % 2]
        additions.append((line[:length], line[step : step + length], following[:length]))
        line, width = following, 2 * width
        if bits & 1:
            additions.append((total, part(line, start), target))
            total, start = target, start + width
        bits >>= 1
    return additions


def window_sum(image: Tensor, windows: tuple[int, ...]) -> Tensor:
    """Sum an image over a centred box around every voxel, zeros outside.

    Parameters
    ----------
    image
        ``(B, C, *S)``.
    windows
        Odd box size per spatial axis.

    Returns
    -------
    Tensor
        ``(B, C, *S)``.
    """
    return WindowSum(image, windows)(image)
