"""lightly's embedding loop, as its page "Self-supervised learning" has it."""

from __future__ import annotations

import timm
import torch
import torchvision.transforms as transforms
from lightly.data import LightlyDataset
from lightly.transforms.utils import IMAGENET_NORMALIZE
from serve import Line, best_workers, timed
from torch.utils.data import DataLoader, Subset

BATCH = 64
TRIED = 96


def main() -> None:
    """Serve, with the number of workers that is best_workers."""
    line = Line()
    size = line.settings["size"]
    backbone = timm.create_model(line.settings["encoder"], num_classes=0).eval()
    resize = transforms.Compose(
        [
            transforms.Resize((size, size)),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_NORMALIZE["mean"], IMAGENET_NORMALIZE["std"]),
        ]
    )
    dataset = LightlyDataset(line.settings["jpeg"], transform=resize)

    def work(workers: int, images: int) -> None:
        part = Subset(dataset, range(images))
        loader = DataLoader(part, BATCH, shuffle=False, drop_last=False, num_workers=workers)
        embeddings, names = [], []
        with torch.no_grad():
            for pixels, _, files in loader:
                embeddings.append(backbone(pixels).flatten(start_dim=1))
                names.extend(files)
        torch.cat(embeddings, dim=0)

    best, seconds = best_workers(line, work, TRIED)
    about = {"num_workers": best, "tried": seconds, "batch": BATCH}
    about["threads"] = torch.get_num_threads()
    line.serve(lambda images: timed(lambda: work(best, images), images), **about)


if __name__ == "__main__":
    main()
