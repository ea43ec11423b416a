"""Layers whose result depends on the whole batch, though each process sees a part of it."""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm


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
        self._follow(mean.detach(), variance.detach() * count / (count - 1))
        scale = torch.rsqrt(variance + self.eps)
        if self.weight is not None:
            scale = scale * self.weight
        centre = mean.detach()
        shift = (centre - mean) * scale  # zero, but for its gradient
        if self.bias is not None:
            shift = shift + self.bias
        # torch's kernel computes (input - centre) * scale + shift in one pass, backwards too.
        return functional.batch_norm(
            input, centre, torch.ones_like(centre), scale, shift, training=False, eps=0.0
        )

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
    precise = torch.promote_types(input.dtype, torch.float32)
    across = [axis for axis in range(input.ndim) if axis != 1]
    variance, mean = torch.var_mean(input.to(precise), across, correction=0)
    variance, mean = variance.double(), mean.double()
    shares: Tensor = _Sum.apply(torch.stack((mean, variance + mean.square())))
    mean, square = shares / processes
    count = float(processes * input.numel() // input.shape[1])
    return count, mean.to(precise), (square - mean.square()).to(precise)


class _Sum(torch.autograd.Function):
    """The sum over processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor) -> Tensor:
        del ctx
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        del ctx
        total = gradient.clone()
        distributed.all_reduce(total)
        return total
