"""Dataset cards: the README.md that makes a folder of Parquet files a Hugging Face dataset.

The YAML front matter follows the card of ``mwalmsley/gz_hubble``: configs ``default`` and
``tiny``, their file patterns, their features and the size of each split.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import yaml

from gzfound.errors import DataError
from gzfound.trees.loading import campaigns_of

MOST_PATHS = 10_000
"""Names that the list of data files in a card may hold, counted as often as aliases repeat them."""

GALAXY_ZOO_LICENCE = "cc-by-nc-sa-4.0"
GALAXY_ZOO_REQUEST = (
    "Galaxy Zoo requires that **all models trained on its datasets be released as source code "
    "by publication**."
)

_DECALS = """@article{2022MNRAS.509.3966W,
  author = {Walmsley, Mike and Lintott, Chris and Géron, Tobias and others},
  title = {Galaxy Zoo DECaLS: Detailed visual morphology measurements from volunteers and deep
           learning for 314 000 galaxies},
  journal = {Monthly Notices of the Royal Astronomical Society},
  year = {2022}, volume = {509}, number = {3}, pages = {3966-3988}, doi = {10.1093/mnras/stab2093}
}"""

CITATIONS: Mapping[str, str] = {
    "gz_evo": """@misc{walmsley2024scaling,
  author = {Walmsley, Mike and Bowles, Micah and Scaife, Anna M. M. and others},
  title = {Scaling Laws for Galaxy Images},
  year = {2024}, eprint = {2404.02973}, archivePrefix = {arXiv}
}""",
    "gz_hubble": """@article{2017MNRAS.464.4176W,
  author = {Willett, Kyle W. and Galloway, Melanie A. and Bamford, Steven P. and others},
  title = {Galaxy Zoo: morphological classifications for 120 000 galaxies in HST legacy imaging},
  journal = {Monthly Notices of the Royal Astronomical Society},
  year = {2017}, volume = {464}, number = {4}, pages = {4176-4203}, doi = {10.1093/mnras/stw2568}
}""",
    "gz2": """@article{10.1093/mnras/stt1458,
  author = {Willett, Kyle W. and Lintott, Chris J. and Bamford, Steven P. and others},
  title = {Galaxy Zoo 2: detailed morphological classifications for 304 122 galaxies from the
           Sloan Digital Sky Survey},
  journal = {Monthly Notices of the Royal Astronomical Society},
  year = {2013}, volume = {435}, number = {4}, pages = {2835-2860}, doi = {10.1093/mnras/stt1458}
}""",
    "gz_candels": """@article{2017MNRAS.464.4420S,
  author = {Simmons, B. D. and Lintott, Chris and Willett, Kyle W. and others},
  title = {Galaxy Zoo: quantitative visual morphological classifications for 48 000 galaxies from
           CANDELS},
  journal = {Monthly Notices of the Royal Astronomical Society},
  year = {2017}, volume = {464}, number = {4}, pages = {4420-4447}, doi = {10.1093/mnras/stw2587}
}""",
    "gz_desi_dr12": _DECALS,
    "gz_desi_dr5": _DECALS,
    "gz_desi_dr8": """@article{2023MNRAS.526.4768W,
  author = {Walmsley, Mike and Géron, Tobias and Kruk, Sandor and others},
  title = {Galaxy Zoo DESI: Detailed morphology measurements for 8.7M galaxies in the DESI Legacy
           Imaging Surveys},
  journal = {Monthly Notices of the Royal Astronomical Society},
  year = {2023}, volume = {526}, number = {3}, pages = {4768-4786}, doi = {10.1093/mnras/stad2919}
}""",
}


@dataclass(frozen=True)
class SplitSize:
    """The size of one split: rows, uncompressed bytes and bytes on disk."""

    rows: int
    num_bytes: int
    download_bytes: int


@dataclass(frozen=True)
class DatasetCard:
    """What a dataset's card says about it, apart from its columns and sizes.

    ``name`` is the short name (``gz_hubble``), ``licence`` an identifier of the Hugging Face hub,
    ``body`` Markdown below the title, and ``citations`` BibTeX entries. ``from_galaxy_zoo`` adds
    Galaxy Zoo's request to users of its votes.
    """

    name: str
    title: str
    licence: str
    body: str
    citations: tuple[str, ...] = ()
    tags: tuple[str, ...] = ("galaxy zoo", "physics", "astronomy", "galaxies", "citizen science")
    from_galaxy_zoo: bool = False
    arxiv: str | None = None


def _size_category(rows: int) -> str:
    for limit, label in (
        (1_000, "n<1K"),
        (10_000, "1K<n<10K"),
        (100_000, "10K<n<100K"),
        (1_000_000, "100K<n<1M"),
        (10_000_000, "1M<n<10M"),
    ):
        if rows < limit:
            return label
    return "n>10M"


def _dataset_info(
    config: str, features: Mapping[str, str], sizes: Mapping[str, SplitSize]
) -> dict[str, Any]:
    return {
        "config_name": config,
        "features": [{"name": name, "dtype": dtype} for name, dtype in features.items()],
        "splits": [
            {"name": split, "num_bytes": size.num_bytes, "num_examples": size.rows}
            for split, size in sizes.items()
        ],
        "download_size": sum(size.download_bytes for size in sizes.values()),
        "dataset_size": sum(size.num_bytes for size in sizes.values()),
    }


def front_matter(
    card: DatasetCard,
    folders: Mapping[str, str],
    features: Mapping[str, Mapping[str, str]],
    sizes: Mapping[str, Mapping[str, SplitSize]],
) -> dict[str, Any]:
    """The YAML of the card. Every mapping is keyed by config name (``default``, ``tiny``).

    ``folders`` holds the folder of each config's files, ``features`` its columns with their
    types as the hub names them, ``sizes`` its splits.
    """
    first = next(iter(sizes))
    matter: dict[str, Any] = {
        "annotations_creators": ["crowdsourced" if card.from_galaxy_zoo else "machine-generated"],
        "license": card.licence,
        "size_categories": [_size_category(sum(size.rows for size in sizes[first].values()))],
        "task_categories": ["image-classification", "image-feature-extraction"],
        "pretty_name": card.title,
    }
    if card.arxiv:
        matter["arxiv"] = card.arxiv
    matter["tags"] = list(card.tags)
    matter["configs"] = [
        {
            "config_name": config,
            "data_files": [{"split": s, "path": f"{folders[config]}/{s}-*"} for s in sizes[config]],
        }
        for config in sizes
    ]
    matter["dataset_info"] = [
        _dataset_info(config, features[config], sizes[config]) for config in sizes
    ]
    return matter


def render_card(card: DatasetCard, matter: Mapping[str, Any]) -> str:
    """The text of README.md: the front matter between ``---`` lines, then Markdown."""
    parts = [
        f"---\n{yaml.safe_dump(dict(matter), sort_keys=False, allow_unicode=True, width=1000)}---",
        f"# {card.title}",
        card.body.strip(),
        f"## Licence\n\n`{card.licence}`.",
    ]
    if card.from_galaxy_zoo:
        parts[-1] += f" {GALAXY_ZOO_REQUEST}"
    if card.citations:
        entries = "\n\n".join(card.citations)
        parts.append(f"## Citations\n\n```bibtex\n{entries}\n```")
    return "\n\n".join(parts) + "\n"


def citations_of(campaign: str) -> tuple[str, ...]:
    """The papers to cite for the votes of a campaign, or of each campaign of a union."""
    keys = ["gz_evo", campaign, *campaigns_of(campaign)]
    return tuple(dict.fromkeys(CITATIONS[key] for key in keys if key in CITATIONS))


def licence_of(source: str | Path) -> str:
    """The licence that a dataset's card names; ``unknown`` for one without a card at hand."""
    return str(_matter_of(Path(source)).get("license", "unknown"))


def check_data_files(folder: Path) -> None:
    """Raise ``DataError`` if the card of a folder names data that are not in it."""
    configs = _matter_of(folder).get("configs")
    waiting: list[Any] = [
        config.get(name)
        for config in (configs if isinstance(configs, list) else ())
        if isinstance(config, dict)
        for name in ("data_files", "data_dir")
    ]
    for _ in range(MOST_PATHS):
        if not waiting:
            return
        found = waiting.pop()
        if isinstance(found, dict):
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found
        elif isinstance(found, str):
            path = PurePath(found)
            if path.is_absolute() or ".." in path.parts or "://" in found:
                raise DataError(f"{folder / 'README.md'}: {found!r} is not in this folder")
    raise DataError(f"{folder / 'README.md'}: more than {MOST_PATHS} data files")


def _matter_of(folder: Path) -> dict[str, Any]:
    """The YAML of a card; empty without one, or where it cannot be read."""
    card = folder / "README.md"
    return matter_in(card.read_text(encoding="utf-8", errors="replace")) if card.is_file() else {}


def matter_in(text: str) -> dict[str, Any]:
    """The YAML in the text of a card; empty without one, or where it cannot be read."""
    parts = text.split("---\n", 2)
    try:
        matter = yaml.safe_load(parts[1]) if len(parts) == 3 else None
    except (yaml.YAMLError, ValueError, RecursionError):  # a date that is none is a ValueError
        return {}
    return matter if isinstance(matter, dict) else {}
