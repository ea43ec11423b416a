"""One process of a data-parallel SimCLR step; rank 0 writes the mean loss and the gradients."""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from gzfound.models import create_encoder
from gzfound.simclr import SimCLR, SimCLRConfig, SimCLRLoss


def main(store: str, rank: int, processes: int) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=processes)
    config = SimCLRConfig(hidden=32, output=16, batch_norm=False)
    model = SimCLR(create_encoder("test_convnext"), config)
    views = torch.randn(2, 8, 3, 32, 32)
    mine = views.view(2, processes, -1, 3, 32, 32)[:, rank].flatten(0, 1)
    wrapped = DistributedDataParallel(model)
    loss = SimCLRLoss(config)(wrapped(mine)[1])
    loss.backward()
    mean = loss.detach().clone()
    dist.all_reduce(mean)
    if rank == 0:
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        torch.save({"loss": mean / processes, "gradient": gradient}, f"{store}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
