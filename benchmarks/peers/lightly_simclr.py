"""lightly's reference example of SimCLR in PyTorch: dataset, transform, loader, loss, SGD."""

from __future__ import annotations

import torch
import torchvision
from lightly.data import LightlyDataset
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from lightly.transforms import SimCLRTransform
from serve import Line, best_workers, timed
from torch import nn
from torch.utils.data import DataLoader, Subset

TRIED = 128


def main() -> None:
    """Serve, with the number of workers that is best_workers."""
    line = Line()
    torch.manual_seed(0)
    batch = line.settings["galaxies_a_batch"]
    resnet = getattr(torchvision.models, line.settings["encoder"])()
    backbone = nn.Sequential(*list(resnet.children())[:-1])
    model = nn.Sequential(backbone, nn.Flatten(), SimCLRProjectionHead(512, 512, 128))
    transform = SimCLRTransform(input_size=line.settings["size"])
    dataset = LightlyDataset(line.settings["jpeg"], transform=transform)
    criterion, optimizer = NTXentLoss(), torch.optim.SGD(model.parameters(), lr=0.06)

    def epoch(workers: int, galaxies: int) -> None:
        part = Subset(dataset, [number % len(dataset) for number in range(galaxies)])
        options = {"shuffle": True, "drop_last": True, "num_workers": workers}
        for (first, second), _, _ in DataLoader(part, batch, **options):
            loss = criterion(model(first), model(second))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    best, seconds = best_workers(line, epoch, TRIED)
    about = {"num_workers": best, "tried": seconds, "threads": torch.get_num_threads()}

    def measure(views: int) -> dict[str, float]:
        whole = views // (2 * batch) * batch
        return timed(lambda: epoch(best, whole), 2 * whole)

    line.serve(measure, **about)


if __name__ == "__main__":
    main()
