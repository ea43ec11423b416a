"""timm's encoder, transform and dataset under a DataLoader."""

from __future__ import annotations

import timm
import torch
from serve import Line, best_workers, timed
from timm.data import ImageDataset, create_transform, resolve_model_data_config
from torch.utils.data import DataLoader, Subset

BATCH = 64
TRIED = 96


def main() -> None:
    """Serve, with the number of workers that is best_workers."""
    line = Line()
    size = line.settings["size"]
    model = timm.create_model(line.settings["encoder"], num_classes=0).eval()
    expected = resolve_model_data_config(model)
    expected |= {"input_size": (3, size, size), "crop_pct": 1.0}
    transform = create_transform(**expected, is_training=False)
    dataset = ImageDataset(line.settings["folder"], transform=transform)

    def work(workers: int, images: int) -> None:
        loader = DataLoader(Subset(dataset, range(images)), BATCH, num_workers=workers)
        embeddings = []
        with torch.inference_mode():
            for pixels, _ in loader:
                embeddings.append(model(pixels).numpy())

    best, seconds = best_workers(line, work, TRIED)
    about = {"num_workers": best, "tried": seconds, "batch": BATCH}
    about["threads"] = torch.get_num_threads()
    line.serve(lambda images: timed(lambda: work(best, images), images), **about)


if __name__ == "__main__":
    main()
