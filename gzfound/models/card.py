"""The model card that travels with the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gzfound.data.card import GALAXY_ZOO_REQUEST

HEADS = {
    "tree": "with a decision-tree head",
    "class": "with a head for the classes of {target}",
    "number": "with a head for the number {target}",
}


def weights_card(config: Mapping[str, Any]) -> str:
    """Markdown that says what the weights are, where they come from and how to load them."""
    notes = config.get("gzfound", {})
    details = config["pretrained_cfg"]
    licence = notes.get("licence", "unknown")
    tag = "other" if licence == "unknown" or "," in licence else licence
    kind = notes.get("head", {}).get("kind")
    head = HEADS[kind].format(**notes["head"]) if kind else "encoder only"
    citations = "\n".join(f"- {line}" for line in notes.get("citations", ())) or "- none recorded"
    return f"""---
license: {tag}
library_name: timm
tags: [galaxies, astronomy, gzfound]
---
# {config["architecture"]}, {head}

- Trained on: {notes.get("data", "unknown")}
- Licence of the data: {licence}
- Recipe: {notes.get("recipe", "unknown")}
- Code: gzfound {notes.get("version", "unknown")}, revision {notes.get("revision", "unknown")}
- Input: {details["input_size"][1]} x {details["input_size"][2]} px, central
  {details["crop_pct"]:.2f} of the image, mean {details["mean"]}, std {details["std"]}
- Embedding: {config["num_features"]} numbers

```python
import timm, gzfound

encoder = gzfound.load_encoder("PATH")  # evaluation mode, encoder.transform attached
encoder = timm.create_model("local-dir:PATH", pretrained=True).eval()  # without gzfound
```

## Licence and citation

{GALAXY_ZOO_REQUEST}

{citations}

## Configuration

```json
{json.dumps(notes.get("config", {}), indent=2, default=str)}
```
"""
