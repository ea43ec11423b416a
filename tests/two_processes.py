"""One process of data-parallel training; rank 0 writes loss, gradients and what 20 steps make.

python two_processes.py STORE RANK PROCESSES
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gzfound import load_tree
from gzfound.hybrid import HybridLoss, HybridSimCLR
from gzfound.losses import DirichletMultinomialLoss
from gzfound.models import TreeHead, create_encoder, encoder_features
from gzfound.models.tuning import HeadModel
from gzfound.simclr import SimCLR, SimCLRConfig, SimCLRLoss
from gzfound.training.processes import share_layers

STEPS = 20
TREE = load_tree("gz_hubble")
Job = tuple[nn.Module, Callable[[nn.Module, Tensor, Tensor], Tensor]]


def without_batch_norm(hybrid: bool) -> Job:
    """SimCLR, with votes or not, in float32; the encoder has no batch norm."""
    config = SimCLRConfig(hidden=32, output=16, batch_norm=False)
    encoder = create_encoder("test_convnext")
    if hybrid:
        both = HybridLoss(config, TREE, 0.1)
        return HybridSimCLR(encoder, config, TREE), lambda m, x, votes: both(*m(x), votes)
    contrast = SimCLRLoss(config)
    return SimCLR(encoder, config), lambda m, x, votes: contrast(m(x)[1])


def with_batch_norm() -> Job:
    """SimCLR in float64, with batch norm in the encoder and in the projection head."""
    config = SimCLRConfig(hidden=32, output=16)
    nt_xent = SimCLRLoss(config).nt_xent
    model = SimCLR(create_encoder("test_resnet"), config).double()
    return model, lambda m, x, votes: nt_xent(*m(x.double())[1].chunk(2))


def tree() -> Job:
    """Votes, from first views, with dropout; batch norms of the encoder end in an activation."""
    encoder = create_encoder("test_efficientnet")
    head = TreeHead(encoder_features(encoder), TREE, dropout=0.3)
    nn.init.normal_(head.answers.weight, std=0.3)
    loss = DirichletMultinomialLoss(TREE)
    model = HeadModel(encoder, head).double()
    return model, lambda m, x, votes: loss(m(x.chunk(2)[0].double()), votes)


KINDS: dict[str, Callable[[], Job]] = {
    "simclr": lambda: without_batch_norm(False),
    "hybrid": lambda: without_batch_norm(True),
    "batch_norm": with_batch_norm,
    "batch_norm_apart": with_batch_norm,
    "tree": tree,
}


def learn(kind: str, rank: int, processes: int) -> dict[str, Tensor]:
    """The loss and gradient of the first step, and all weights and buffers after the last."""
    torch.manual_seed(0)
    views = torch.randn(STEPS, 2, 8, 3, 32, 32)
    votes = torch.randint(1, 9, (8, len(TREE.columns)))
    votes[3:] = 0  # with two processes, the second has no votes at all
    model, loss_of = KINDS[kind]()
    if processes > 1:
        shared = kind != "batch_norm_apart"
        model = share_layers(model, torch.device("cpu"), batch_norm=shared)
    wrapped = DistributedDataParallel(model, gradient_as_bucket_view=True)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    found: dict[str, Tensor] = {}
    for both in views:
        mine = both.view(2, processes, -1, 3, 32, 32)[:, rank].flatten(0, 1)
        loss = loss_of(wrapped, mine, votes.chunk(processes)[rank])
        loss.backward()
        if not found:
            mean = loss.detach().clone()
            dist.all_reduce(mean)
            gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
            found = {"loss": mean / processes, "gradient": torch.cat(gradients)}
        optimiser.step()
        optimiser.zero_grad()
    return found | model.state_dict()


def main(store: str, rank: int, processes: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=processes)
    found = {kind: learn(kind, rank, processes) for kind in KINDS}
    if rank == 0:
        torch.save(found, f"{store}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
