"""What is compared with what, and the goal of every row: data, no code."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["rate", "seconds", "longer", "growth"]


@dataclass(frozen=True)
class Entry:
    """A contender: its script beside this file, and what it is told.

    Attributes:
        script: file name.
        options: settings of its own.
        peer: whether it runs in the peers' environment.
    """

    script: str
    options: dict[str, Any] = field(default_factory=dict)
    peer: bool = False


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: what is compared.
        ours: contender.
        theirs: the contender it is compared with, if any.
        goal: at least this ratio of rates; for the other kinds, at most this many.
        fp32_goal: the goal where the precision is float32, if it differs.
        kind: ``rate`` is ours over theirs, ``seconds`` are those of ours, ``longer`` are ours over
            theirs, ``growth`` is in MB.
    """

    name: str
    ours: str
    theirs: str | None
    goal: float
    fp32_goal: float | None = None
    kind: Kind = "rate"


@dataclass(frozen=True)
class Group:
    """Contenders that take turns.

    Attributes:
        entries: by name.
        rows: what is made of their measurements.
        images: of a measurement.
        quick_images: the same with ``--quick``.
        warm_up: images of the first, uncounted measurement; 0 for none.
        data: what has to be on disk: ``galaxies``, ``votes``, or ``small`` for peak memory.
    """

    entries: dict[str, Entry]
    rows: tuple[Row, ...]
    images: int
    quick_images: int
    warm_up: int = 0
    data: str | None = None


def _extraction(
    encoder: str, goals: tuple[float, float, float], fp32: tuple[float, float, float]
) -> Group:
    of = {"encoder": encoder, "size": 224}
    entries = {
        "raw": Entry("raw_forward.py", of),
        "ours, JPEG": Entry("our_embedding.py", {**of, "source": "jpeg"}),
        "ours, Parquet": Entry("our_embedding.py", {**of, "source": "parquet"}),
        "zoobot": Entry("zoobot_predict.py", of, peer=True),
        "timm": Entry("timm_loader.py", of, peer=True),
        "lightly": Entry("lightly_embedding.py", of, peer=True),
    }
    peers = ("zoobot", "timm", "lightly")
    names = ("Zoobot predict_on_catalog", "timm + DataLoader", "lightly's embedding loop")
    rows = [
        Row(f"{encoder}, {source} over the best raw forward", f"ours, {source}", "raw", 0.95)
        for source in ("JPEG", "Parquet")
    ]
    rows += [
        Row(f"{encoder}, JPEG over {name}", "ours, JPEG", peer, goal, held)
        for peer, name, goal, held in zip(peers, names, goals, fp32, strict=True)
    ]
    return Group(entries, tuple(rows), images=1000, quick_images=16, warm_up=96, data="galaxies")


def _views() -> Group:
    entries, rows = {}, []
    for size in (224, 128):
        for name, script, peer in (
            ("ours", "our_views.py", False),
            ("lightly", "lightly_views.py", True),
            ("albumentations", "albumentations_views.py", True),
        ):
            entries[f"{name}, {size}"] = Entry(script, {"size": size}, peer)
        for name, title, goal in (
            ("lightly", "lightly's SimCLRTransform", 3.5),
            ("albumentations", "albumentations, the same operations", 2.0),
        ):
            row = Row(
                f"views a core at {size} over {title}", f"ours, {size}", f"{name}, {size}", goal
            )
            rows.append(row)
    return Group(entries, tuple(rows), images=1024, quick_images=32, warm_up=64, data="galaxies")


SIMCLR = {"encoder": "resnet18", "size": 128, "galaxies_a_batch": 64}
SMALL = {"encoder": "resnet10t", "size": 32}

CALL_THE_CLI = "from gzfound.cli import main; main()"

GROUPS: dict[str, Group] = {
    "start": Group(
        {
            "import": Entry("our_start.py", {"command": ["-c", "import gzfound"]}),
            "help": Entry(
                "our_start.py",
                {"command": ["-c", CALL_THE_CLI, "--help"]},
            ),
        },
        (
            Row("import gzfound, with Python's own start", "import", None, 0.2, kind="seconds"),
            Row("gzfound --help", "help", None, 0.4, kind="seconds"),
        ),
        images=1,
        quick_images=1,
        warm_up=1,
    ),
    "first-batch": Group(
        {
            name: Entry("first_batch.py", {"encoder": "resnet18", "size": 224, "embed": embed})
            for name, embed in (("embed", True), ("plain", False))
        },
        (
            Row(
                "gzfound embed of 16 JPEG, start to end, over torch, timm and one forward",
                "embed",
                "plain",
                1.5,
                kind="longer",
            ),
        ),
        images=1,
        quick_images=16,
        warm_up=1,
        data="galaxies",
    ),
    "likelihood": Group(
        {
            f"{who}, {votes}": Entry(script, {"votes": votes}, peer)
            for votes in ("asked", "everyone")
            for who, script, peer in (
                ("ours", "our_likelihood.py", False),
                ("zoobot", "zoobot_loss.py", True),
            )
        },
        tuple(
            Row(f"likelihood, 52 answers x 1,024, {title}, over Zoobot's loss", *names, 2.8)
            for title, *names in (
                ("simulated volunteers", "ours, asked", "zoobot, asked"),
                ("every question asked of 40", "ours, everyone", "zoobot, everyone"),
            )
        ),
        images=200 * 1024,
        quick_images=2 * 1024,
        warm_up=20 * 1024,
        data="votes",
    ),
    "probes": Group(
        {
            "ours": Entry("probes.py", {"side": 0}),
            "scikit-learn": Entry("probes.py", {"side": 1}),
        },
        (Row("probes of 13 questions over a scikit-learn loop", "ours", "scikit-learn", 3.0),),
        images=20_000,
        quick_images=400,
    ),
    "views": _views(),
    "memory": Group(
        {
            "many": Entry("our_memory.py", {**SMALL, "galaxies": "many"}),
            "few": Entry("our_memory.py", {**SMALL, "galaxies": "few"}),
        },
        (Row("MB more at the peak for 20,000 than for 2,000", "many", "few", 50, kind="growth"),),
        images=20_000,
        quick_images=20_000,
        data="small",
    ),
    "simclr": Group(
        {
            "raw": Entry("raw_step.py", SIMCLR),
            "ours, JPEG": Entry("our_simclr.py", {**SIMCLR, "decoding": True}),
            "ours, cache": Entry("our_simclr.py", {**SIMCLR, "decoding": False}),
            "lightly": Entry("lightly_simclr.py", SIMCLR, peer=True),
        },
        (
            Row("SimCLR step, JPEG over raw forward + backward", "ours, JPEG", "raw", 0.92),
            Row("SimCLR step, cache over raw forward + backward", "ours, cache", "raw", 0.97),
            Row("SimCLR step, JPEG over lightly's example", "ours, JPEG", "lightly", 2.4, 1.3),
        ),
        images=1024,
        quick_images=256,
        warm_up=256,
        data="galaxies",
    ),
    "processes": Group(
        {
            name: Entry(
                "our_processes.py", {**SIMCLR, "work": work, "processes": count, "more": more}
            )
            for name, work, count, more in (
                ("extraction, 1", "extraction", 1, []),
                ("extraction, 2", "extraction", 2, []),
                ("pretraining, 1", "pretraining", 1, []),
                ("pretraining, 2", "pretraining", 2, []),
                ("pretraining, 2 apart", "pretraining", 2, ["--no-sync-batch-norm"]),
            )
        },
        (
            Row("extraction, two processes over one", "extraction, 2", "extraction, 1", 0.95),
            Row("pretraining, two processes over one", "pretraining, 2", "pretraining, 1", 0.95),
            Row(
                "the same, each with batch norm of its own",
                "pretraining, 2 apart",
                "pretraining, 1",
                0.95,
            ),
        ),
        images=1024,
        quick_images=256,
        data="galaxies",
    ),
    "extraction-resnet18": _extraction("resnet18", (4.0, 4.0, 3.5), (2.0, 2.0, 1.7)),
    "extraction-convnext_nano": _extraction("convnext_nano", (2.5, 2.0, 1.5), (1.8, 1.5, 1.1)),
}
