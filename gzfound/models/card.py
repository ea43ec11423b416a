"""The model card that travels with the weights: what a reader of the hub has to know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gzfound.data.card import GALAXY_ZOO_REQUEST
from gzfound.weights import data_of

LOADING = """## Loading

`PATH` is this directory, or `hf-hub:owner/name` where the weights are on the Hugging Face hub.

```python
import gzfound

encoder = gzfound.load_encoder("{path}")  # evaluation mode, encoder.transform attached
embeddings = gzfound.embed("cutouts", encoder)
{predicting}```

Without gzfound:

```python
import timm

encoder = timm.create_model("local-dir:PATH", pretrained=True).eval()  # or "hf-hub:owner/name"
```"""

PREDICTING = 'predictions = gzfound.predict("cutouts", "{path}")  # a table, one row a galaxy\n'

HEADS = {
    "tree": "with a decision-tree head",
    "class": "with a head for the classes of {target}",
    "number": "with a head for the number {target}",
}


def weights_card(config: Mapping[str, Any]) -> str:
    """Markdown that says what the weights are, where they come from and how to load them.

    Args:
        config: the ``config.json`` of the weights. Of its ``gzfound`` part the card tells ``name``,
            ``data`` (``data_title`` where there is one), ``licence`` of the data and, if it is
            another, ``weights_licence``, ``recipe``, ``version``, ``revision``, ``packed``,
            ``results`` (Markdown tables), ``limits``, ``citations`` and ``config``; what is missing
            is said to be so. ``head_notes`` has the same of a head that was fitted later; what is
            to be cited for encoder and head is one list.
    """
    notes = config.get("gzfound", {})
    cited = [*notes.get("citations", ()), *notes.get("head_notes", {}).get("citations", ())]
    citations = "\n".join(f"- {line}" for line in dict.fromkeys(cited)) or "- none recorded"
    options = json.dumps(notes.get("config", {}), indent=2, default=str)
    path = notes.get("name", "PATH")
    predicting = PREDICTING.format(path=path) if notes.get("head") else ""
    parts = (
        _front_matter(notes),
        _about(config, notes),
        LOADING.format(path=path, predicting=predicting),
        "## Results\n\n" + ("\n\n".join(notes.get("results", ())) or "None recorded."),
        f"## Limits\n\n{notes.get('limits', 'None recorded.')}",
        *([_head_card(notes["head_notes"])] if "head_notes" in notes else []),
        f"## Licence and citation\n\n{GALAXY_ZOO_REQUEST}\n\n{citations}",
        f"## Configuration\n\n```json\n{options}\n```",
    )
    return "\n\n".join(part.strip() for part in parts) + "\n"


def licence_tag(licence: str) -> str:
    """One licence as the hub names it, from those of all data."""
    if "unknown" in licence:
        return "unknown"
    return "other" if "," in licence else licence


def _front_matter(notes: Mapping[str, Any]) -> str:
    held = [part for part in (notes, notes.get("head_notes")) if part is not None]
    each = [part.get("weights_licence") or part.get("licence", "unknown") for part in held]
    return f"""---
license: {licence_tag(", ".join(dict.fromkeys(each)))}
library_name: timm
pipeline_tag: image-feature-extraction
tags: [galaxies, astronomy, gzfound]
---"""


def _head(notes: Mapping[str, Any]) -> str:
    head = notes.get("head")
    return HEADS[head["kind"]].format(**head) if head else "encoder only"


def _about(config: Mapping[str, Any], notes: Mapping[str, Any]) -> str:
    details = config["pretrained_cfg"]
    kind = _head(notes)
    name = f"{notes['name']}: " if "name" in notes else ""
    lines = [
        f"# {name}{config['architecture']}, {kind}",
        "",
        *_origin(notes),
        f"- Input: {details['input_size'][1]} x {details['input_size'][2]} px, central",
        f"  {details['crop_pct']:.2f} of the image, mean {details['mean']}, std {details['std']}",
        f"- Embedding: {config['num_features']} numbers",
    ]
    if "fits" in notes:
        lines.append(f"- FITS: {_fits(notes['fits'])}")
    if "weights_licence" in notes:
        lines.append(f"- Licence of the weights: {notes['weights_licence']}")
    if "packed" in notes:
        lines.append(f"- Precision of the file: {_precision(notes['packed'])}")
    return "\n".join(lines)


def _origin(notes: Mapping[str, Any]) -> list[str]:
    """Where weights, or a head, come from."""
    return [
        f"- Trained on: {data_of(notes)}",
        f"- Licence of the data: {notes.get('licence', 'unknown')}",
        f"- Recipe: {notes.get('recipe', 'unknown')}",
        f"- Code: gzfound {notes.get('version', 'unknown')}, "
        f"revision {notes.get('revision', 'unknown')}",
    ]


def _head_card(notes: Mapping[str, Any]) -> str:
    """What was learned after the encoder, by the head alone."""
    lines = [
        "## The head",
        "",
        "Fitted on the frozen encoder above.",
        "",
        *_origin(notes),
    ]
    if "weights_licence" in notes:
        lines.append(f"- Licence of the head: {notes['weights_licence']}")
    if packed := notes.get("packed"):
        lines.append(f"- Precision of the file: {packed['precision']}; {_fractions(packed)}")
    lines += [
        "",
        "\n\n".join(notes.get("results", ())) or "No results recorded.",
        "",
        f"Limits: {notes.get('limits', 'none recorded.')}",
    ]
    return "\n".join(lines)


def _fits(held: Mapping[str, Any]) -> str:
    bands, stretch = ", ".join(held["bands"]) or "all, in order", held["stretch"]
    settings = ", ".join(f"{name} {value}" for name, value in stretch.items() if name != "kind")
    hdu = f"HDU {', '.join(held['hdu'])}; " if held["hdu"] else ""
    unit = f" in {held['unit']}" if held["unit"] else ""
    return f"{hdu}bands {bands}{unit}; {stretch['kind']} stretch ({settings})"


def _precision(packed: Mapping[str, Any]) -> str:
    return (
        f"{packed['precision']}; the embeddings of {packed['galaxies']:,} galaxies have a cosine "
        f"with those of the float32 weights of {packed['cosine_mean']:.6f} on average and "
        f"{packed['cosine_least']:.6f} at least"
        + (f"; {_fractions(packed)}" if "fraction_difference" in packed else "")
    )


def _fractions(packed: Mapping[str, Any]) -> str:
    return (
        f"the expected vote fractions of {packed['galaxies']:,} galaxies differ from those of the "
        f"float32 weights by {packed['fraction_difference']:.4f} at most"
    )
