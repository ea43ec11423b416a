"""Convolutions that add and clip while what they write is in the caches: bf16 on a CPU."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

_IMAGES = 16
"""The layout of the weights is the one that is fastest for about this many images a pass."""


class FusedConvolution(nn.Module):
    """``relu(convolution(x) + other)`` of oneDNN in one pass, in bf16, its weights laid out once.

    Args:
        convolution: its weights are copied.
        relu: whether negative values become 0.
        shape: of one input, ``(C, H, W)``.
    """

    def __init__(self, convolution: nn.Conv2d, relu: bool, shape: Sequence[int]) -> None:
        super().__init__()
        # In the order that both operations take them.
        self.geometry = (
            convolution.padding,
            convolution.stride,
            convolution.dilation,
            convolution.groups,
        )
        self.weight: Tensor = torch.ops.mkldnn._reorder_convolution_weight(
            convolution.weight.detach().bfloat16(), *self.geometry, [_IMAGES, *shape]
        )
        bias = convolution.bias
        self.bias: Tensor | None = None if bias is None else bias.detach().bfloat16()
        self.activation = "relu" if relu else "none"

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """bf16 of the shape of the convolution, which ``other`` has too."""
        operation: Any = torch.ops.mkldnn._convolution_pointwise
        layer = (self.weight, self.bias, *self.geometry)
        after: tuple[Any, ...] = (self.activation, [], "")
        if other is None:
            return cast(Tensor, operation(x.bfloat16(), *layer, *after))
        both = (x.bfloat16(), other.bfloat16())
        return cast(Tensor, operation.binary(*both, *layer, "add", 1.0, *after))


def fuse_convolutions(network: nn.Module, example: Tensor) -> nn.Module:
    """Have the convolutions of a traced network add and clip; others come back as they are.

    A ReLU that follows a convolution, or the sum of one and something of its shape, becomes part of
    it: one pass over memory instead of two or three.

    Args:
        network: of :func:`gzfound.models.folding.fold_batch_norm`; it is changed.
        example: one image, ``(1, C, H, W)``, to know the shapes.
    """
    if not isinstance(network, fx.GraphModule) or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]  # of torch
        return network
    modules = dict(network.named_modules())
    for node in network.graph.nodes:
        if node.op == "call_module" and type(modules[node.target]) is nn.Identity:
            node.replace_all_uses_with(node.args[0])
    network.graph.eliminate_dead_code()
    with torch.inference_mode():
        ShapeProp(network).propagate(example)
    for node in list(network.graph.nodes):
        if node.op == "call_module" and _is_plain(modules[node.target]):
            _fuse(network, node, modules)
    network.recompile()
    return network


def _is_plain(module: nn.Module) -> bool:
    return (
        type(module) is nn.Conv2d
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    )


def _fuse(network: fx.GraphModule, node: fx.Node, modules: dict[str, nn.Module]) -> None:
    """Replace a convolution, and what follows it as far as that can be part of it."""
    chain, other = _followers(node, modules)
    convolution = modules[str(node.target)]
    assert isinstance(convolution, nn.Conv2d)
    shape = _shape(cast(fx.Node, node.args[0]))[1:]
    layer = FusedConvolution(convolution, len(chain) > 1, shape)
    network.add_module(f"fused_{node.name}", layer)
    with network.graph.inserting_after(chain[-1]):
        fused = network.graph.call_module(f"fused_{node.name}", (*node.args, *other))
    fused.meta = dict(chain[-1].meta)
    chain[-1].replace_all_uses_with(fused)
    for old in reversed(chain):
        network.graph.erase_node(old)


def _followers(node: fx.Node, modules: dict[str, nn.Module]) -> tuple[list[fx.Node], list[fx.Node]]:
    """The convolution with its ReLU, or its sum and the ReLU of that; and what is added to it."""
    user = _only_user(node)
    if user is None:
        return [node], []
    if _is_relu(user, modules):
        return [node, user], []
    relu, other = _only_user(user), _added(user, node)
    if relu is None or other is None or not _is_relu(relu, modules):
        return [node], []
    return [node, user, relu], [other]


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _added(user: fx.Node, node: fx.Node) -> fx.Node | None:
    """What ``user`` adds to ``node``, if it has the same shape."""
    if user.target not in (operator.add, operator.iadd, torch.add) or len(user.args) != 2:
        return None
    others = [other for other in user.args if other is not node]
    if len(others) != 1 or not isinstance(others[0], fx.Node):
        return None
    return others[0] if _shape(others[0]) == _shape(node) else None


def _shape(node: fx.Node) -> Sequence[int]:
    """The shape that the node's tensor has for the example, or none if it is no tensor."""
    found = node.meta.get("tensor_meta")
    return () if found is None else tuple(found.shape)


def _is_relu(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    return node.op == "call_module" and type(modules.get(str(node.target))) is nn.ReLU
