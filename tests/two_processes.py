"""One process of a data-parallel SimCLR step; rank 0 writes the mean loss and the gradients."""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from gzfound import load_tree
from gzfound.hybrid import HybridLoss, HybridSimCLR
from gzfound.models import create_encoder
from gzfound.simclr import SimCLR, SimCLRConfig, SimCLRLoss


def main(kind: str, store: str, rank: int, processes: int) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=processes)
    config = SimCLRConfig(hidden=32, output=16, batch_norm=False)
    encoder, tree = create_encoder("test_convnext"), load_tree("gz_hubble")
    simclr = kind == "simclr"
    model = SimCLR(encoder, config) if simclr else HybridSimCLR(encoder, config, tree)
    views = torch.randn(2, 8, 3, 32, 32)
    mine = views.view(2, processes, -1, 3, 32, 32)[:, rank].flatten(0, 1)
    votes = torch.randint(1, 9, (8, len(tree.columns)))
    votes[3:] = 0  # with two processes, the second has no votes at all
    wrapped = DistributedDataParallel(model)
    if simclr:
        loss = SimCLRLoss(config)(wrapped(mine)[1])
    else:
        loss = HybridLoss(config, tree, 0.1)(*wrapped(mine), votes.chunk(processes)[rank])
    loss.backward()
    mean = loss.detach().clone()
    dist.all_reduce(mean)
    if rank == 0:
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        torch.save({"loss": mean / processes, "gradient": gradient}, f"{store}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
