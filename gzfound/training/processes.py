"""Layers whose result depends on the whole batch, though each process sees a part of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from gzfound.training import exchange


def share_layers(model: nn.Module, device: torch.device, *, batch_norm: bool) -> nn.Module:
    """Make the layers of a model compute what one process would compute on the whole batch.

    Dropout then takes the part of this process from the draws for the whole batch, and batch norm,
    if asked to, its statistics over all processes. Names and parameters stay what they are.

    Args:
        model: of which every process has a copy; the layers are replaced in place.
        device: where it is trained.
        batch_norm: whether batch norm is shared too.
    """
    for module in model.modules():
        if type(module) is nn.Dropout:
            module.__class__ = SharedDropout
        elif batch_norm and isinstance(module, _BatchNorm) and device.type == "cpu":
            module.__class__ = SharedBatchNorm
    if batch_norm and device.type != "cpu":
        from timm.layers.norm_act import convert_sync_batchnorm

        shared: nn.Module = convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]  # timm
        return shared
    return model


class SharedDropout(nn.Dropout):
    """Dropout of the rows of this process, as one process draws it for all rows.

    Processes have as many rows each, in the order of their ranks, and the same random state.
    """

    def forward(self, rows: Tensor) -> Tensor:
        """Rows ``(B / processes, ...)`` with the elements dropped that one process drops there."""
        if not self.training or not self.p:
            return rows
        whole = rows.new_ones((distributed.get_world_size() * len(rows), *rows.shape[1:]))
        kept = functional.dropout(whole, self.p)
        return rows * kept[distributed.get_rank() * len(rows) :][: len(rows)]


class SharedBatchNorm(_BatchNorm):
    """Batch norm over all processes on CPUs, where torch's ``SyncBatchNorm`` does not run.

    It takes the place of the batch norms of torch and of those of timm, which end in an activation.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        del input

    def forward(self, input: Tensor) -> Tensor:
        """``(B / processes, C, ...)``, normalised with the statistics of all processes."""
        normed = self._normed(input) if self.training else super().forward(input)
        for name in ("drop", "act"):  # of timm's BatchNormAct2d
            normed = getattr(self, name, nn.Identity())(normed)
        return normed

    def _normed(self, input: Tensor) -> Tensor:
        count, mean, variance = _moments(input)
        self._follow(mean, variance * count / (count - 1))
        weight = torch.ones_like(mean) if self.weight is None else self.weight
        bias = torch.zeros_like(mean) if self.bias is None else self.bias
        normed: Tensor = _Normalise.apply(input, weight, bias, mean, variance, self.eps, count)
        return normed

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = self.momentum
        if momentum is None:
            momentum = 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance, momentum)


def _moments(input: Tensor) -> tuple[float, Tensor, Tensor]:
    """Number of values of a channel in all processes, their mean and variance, ``(C,)`` each."""
    processes = distributed.get_world_size()
    channels = input.shape[1]
    precise = torch.promote_types(input.dtype, torch.float32)
    unused = torch.zeros(2, channels, dtype=precise, device=input.device)
    mean, variance = torch.batch_norm_update_stats(input.detach(), unused[0], unused[1], 0.0)
    mean, variance = mean.double(), variance.double()
    shares = torch.stack((mean, variance + mean.square()))
    mean, square = exchange.send(shares)().sum(0) / processes
    count = float(processes * input.numel() // channels)
    return count, mean.to(precise), (square - mean.square()).to(precise)


class _Normalise(torch.autograd.Function):
    """Normalise with moments of all processes, of which every input is a part.

    Each pass over the values is a kernel of torch's own batch norm.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        input: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        eps: float,
        count: float,
    ) -> Tensor:
        ctx.save_for_backward(input, weight, mean, variance)
        ctx.eps, ctx.count = eps, count  # type: ignore[attr-defined]  # what the backward needs
        return functional.batch_norm(input, mean, variance, weight, bias, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """With ``x^`` the normalised input: ``scale (g - mean(g) - x^ mean(g x^))``."""
        input, weight, mean, variance = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=_layout(input))
        given = gradient, input, weight, mean, variance, None, None, False, ctx.eps
        backward = torch.ops.aten.native_batch_norm_backward
        _, of_weight, of_bias = backward(*given, [False, True, True])
        if not ctx.needs_input_grad[0]:
            return None, of_weight, of_bias, None, None, None, None
        arrived = exchange.send(torch.stack((of_weight, of_bias)).double())
        inverse = torch.rsqrt(variance + ctx.eps)
        scale, none, one = weight * inverse, torch.zeros_like(mean), torch.ones_like(mean)
        # Not by the kernel of the backward, which would sum over the values once more.
        through = functional.batch_norm(gradient, none, one, scale, none, eps=0.0)
        of_scaled, of_all = (arrived().sum(0) / ctx.count).to(mean.dtype)
        slope = -scale * inverse * of_scaled
        common = functional.batch_norm(input, mean, one, slope, -scale * of_all, eps=0.0)
        return through.add_(common), of_weight, of_bias, None, None, None, None


def _layout(values: Tensor) -> torch.memory_format:
    channels_last = values.ndim == 4 and values.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if channels_last else torch.contiguous_format
