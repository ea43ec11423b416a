"""Nothing pickled is loaded, no code in an input is run, no path leads out of its directory."""

from __future__ import annotations

import ast
import json
import pickle
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from gzfound import load_dataset, load_encoder
from gzfound.models import create_encoder, encoder_features
from gzfound.models.checkpoint import load_head
from gzfound.models.weights_files import PICKLED

Refused = Callable[..., str | None]
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"


class Hostile:
    """Unpickled, it makes the canary."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, (f"open({str(self.canary)!r}, 'w')",)


@pytest.fixture
def weights(head_weights: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(head_weights, tmp_path / "w"))


def test_the_canary_sings(tmp_path: Path) -> None:
    """The pickle does run code where it is unpickled, so a missing canary says something."""
    pickle.loads(pickle.dumps(Hostile(tmp_path / "canary")))  # noqa: S301
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize("suffix", sorted(PICKLED | {".PT", ".Ckpt"}))
def test_pickled_checkpoints_are_refused_with_the_way_to_convert_them(
    refused: Refused, tmp_path: Path, canary: Path, suffix: str
) -> None:
    path = tmp_path / f"model{suffix}"
    torch.save(Hostile(canary), path)
    for load in (load_encoder, partial(load_head, encoder=nn.Identity())):
        said = refused(suffix, partial(load, path), str(path))
        assert "convert it to safetensors" in str(said)
        assert "docs/reliability.md" in str(said)


@pytest.mark.parametrize("name", ["model.safetensors", "head.safetensors", "config.json"])
def test_a_pickle_under_another_name_is_not_run(
    refused: Refused, weights: Path, canary: Path, name: str
) -> None:
    torch.save(Hostile(canary), weights / name)
    assert refused(name, lambda: load_head(weights, load_encoder(weights)), str(weights))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pth", "open_clip_pytorch_model.bin"])
def test_a_pickle_beside_or_instead_of_the_tensors_is_not_opened(
    refused: Refused, weights: Path, canary: Path, name: str
) -> None:
    torch.save(Hostile(canary), weights / name)
    assert encoder_features(load_encoder(weights)) == 96
    (weights / "model.safetensors").unlink()
    said = refused(name, partial(load_encoder, weights), str(weights))
    assert "no model.safetensors" in str(said)


def test_the_configuration_cannot_name_other_weights(
    refused: Refused, weights: Path, canary: Path
) -> None:
    """What timm would take them from: a file, an address, the hub, numpy, or the JSON itself."""
    evil = weights / "evil.pth"
    torch.save(Hostile(canary), evil)
    np.save(weights / "evil.npy", np.array([Hostile(canary)], dtype=object), allow_pickle=True)
    path = weights / "config.json"
    config = json.loads(path.read_text())
    expected = load_encoder(weights).state_dict()
    for name, value in (
        ("file", str(evil)),
        ("file", "../evil.pth"),
        ("url", f"file://{evil}"),
        ("hf_hub_id", "owner/evil"),
        ("hf_hub_filename", "../../evil.pth"),
        ("state_dict", {"__reduce__": ["os.system", "exit 1"]}),
        ("source", "url"),
        ("custom_load", True),
        ("custom_load", "hf"),
        ("__reduce__", "os.system"),
    ):
        changed = {**config, "pretrained_cfg": {**config["pretrained_cfg"], name: value}}
        path.write_text(json.dumps(changed))
        if not refused(name, partial(load_encoder, weights), str(weights)):
            found = load_encoder(weights).state_dict()
            assert all(torch.equal(expected[key], found[key]) for key in expected), name


def test_an_index_of_shards_is_not_followed(
    refused: Refused, weights: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.safetensors"
    save_file({"x": torch.zeros(3)}, secret)
    index = {
        "metadata": {},
        "weight_map": {"conv1.weight": "../secret.safetensors", "fc": str(secret)},
    }
    (weights / "model.safetensors.index.json").write_text(json.dumps(index))
    expected = load_encoder(weights).state_dict()
    assert expected
    (weights / "model.safetensors").unlink()
    assert refused("index alone", partial(load_encoder, weights), "no model.safetensors")


@pytest.mark.parametrize("name", ["model.safetensors", "head.safetensors", "config.json", "other"])
@pytest.mark.parametrize("relative", [True, False])
def test_a_link_out_of_the_directory_is_refused(
    refused: Refused, weights: Path, tmp_path: Path, name: str, relative: bool
) -> None:
    outside = tmp_path / "outside"
    path = weights / name
    outside.write_bytes(path.read_bytes() if path.exists() else b"x")
    path.unlink(missing_ok=True)
    path.symlink_to("../outside" if relative else outside)
    said = refused(name, partial(load_encoder, weights), str(path))
    assert "leads out of its directory" in str(said)


def test_links_inside_and_those_of_the_cache_of_the_hub_are_followed(
    weights: Path, tmp_path: Path
) -> None:
    (weights / "blob").write_bytes((weights / "model.safetensors").read_bytes())
    (weights / "model.safetensors").unlink()
    (weights / "model.safetensors").symlink_to("blob")
    (tmp_path / "linked").symlink_to(weights)
    snapshot = tmp_path / "models--owner--name" / "snapshots" / "abc"
    blobs = snapshot.parents[1] / "blobs"
    for folder in (snapshot, blobs):
        folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (blobs / name).write_bytes((weights / name).read_bytes())
        (snapshot / name).symlink_to(f"../../blobs/{name}")
    for folder in (weights, tmp_path / "linked", snapshot):
        assert encoder_features(load_encoder(folder)) == 96


def test_only_safe_files_are_fetched_from_the_hub(
    refused: Refused, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str | None, list[str]]] = []

    def fetch(repo: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((repo, revision, allow_patterns))
        return str(weights)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert encoder_features(load_encoder("hf-hub:owner/name@abc")) == 96
    wanted = ["config.json", "model.safetensors", "head.safetensors"]
    assert asked == [("owner/name", "abc", wanted)]
    (weights / "model.safetensors").unlink()
    assert refused(
        "pickled alone", partial(load_encoder, "hf-hub:owner/name"), "no model.safetensors"
    )


@pytest.mark.parametrize("name", ["data.zip", "data.tar.gz", "data.tar", "data.pkl", "data.npy"])
def test_archives_and_pickles_are_no_data(
    refused: Refused, tmp_path: Path, canary: Path, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(pickle.dumps(Hostile(canary)))
    assert refused(name, partial(load_dataset, path), str(path))


def test_the_documented_conversion_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's own lines turn a pickled classifier into weights that give the same embeddings."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    encoder = create_encoder("resnet18").eval()
    state = {**encoder.state_dict(), "fc.weight": torch.zeros(5, 512), "fc.bias": torch.zeros(5)}
    torch.save(state, "model.pt")
    exec(compile(code, str(PAGE), "exec"), {})  # noqa: S102
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(load_encoder(tmp_path / "weights")(images), encoder(images))


MODULES = {"pickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
ENDS = {
    "read_pickle", "to_pickle", "unsafe_load", "full_load", "load_all", "UnsafeLoader",
    "FullLoader", "os.system", "os.popen", "hub.load", "jit.load", "trust_remote_code",
    "torch.package",
}  # fmt: skip


def forbidden(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and reason of everything in a module that could run code from a file."""
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            yield from ((line, name) for name in names if name.split(".")[0] in MODULES)
        elif isinstance(node, ast.Attribute):
            written = ast.unparse(node)
            yield from ((line, written) for end in ENDS if f".{written}".endswith(f".{end}"))
        elif isinstance(node, ast.Constant) and node.value == "trust_remote_code":
            yield line, "trust_remote_code"
        elif isinstance(node, ast.Call):
            yield from ((line, reason) for reason in forbidden_call(node))


def forbidden_call(call: ast.Call) -> Iterator[str]:
    written = ast.unparse(call.func)
    options = {key.arg: ast.unparse(key.value) for key in call.keywords}
    if written in BUILTINS:
        yield written
    if written == "torch.load" and options.get("weights_only") != "True":
        yield "torch.load without weights_only=True"
    if options.get("weights_only", "True") != "True":
        yield "weights_only"
    if options.get("allow_pickle", "False") != "False":
        yield "allow_pickle"
    if options.get("trust_remote_code", "False") != "False":
        yield "trust_remote_code"
    if options.get("shell", "False") != "False":
        yield "shell"
    if written in ("yaml.load", "yaml.compose") and "SafeLoader" not in options.get("Loader", ""):
        yield "yaml.load without SafeLoader"


SAMPLES = [
    "import pickle", "from pickle import loads", "import joblib", "eval('1')", "exec(text)",
    "compile(text, 'x', 'exec')", "__import__('os')", "torch.load(path)",
    "torch.load(path, weights_only=False)", "load(path, weights_only=flag)",
    "np.load(path, allow_pickle=True)", "yaml.load(text)", "yaml.load(text, Loader=yaml.Loader)",
    "yaml.unsafe_load(text)", "load_dataset(name, trust_remote_code=True)",
    "options['trust_remote_code'] = True", "os.system('ls')", "subprocess.run(text, shell=True)",
    "pd.read_pickle(path)", "torch.hub.load('a', 'b')", "torch.jit.load(path)",
]  # fmt: skip
HARMLESS = [
    "model.eval()", "re.compile('x')", "torch.load(path, weights_only=True)",
    "yaml.safe_load(text)", "np.load(path)", "np.load(path, allow_pickle=False)",
    "torch.compile(model)",
    "yaml.compose(text, Loader=yaml.SafeLoader)", "subprocess.run(['ls'])", "json.load(file)",
]  # fmt: skip


@pytest.mark.parametrize("code", SAMPLES)
def test_the_search_finds_what_it_looks_for(code: str) -> None:
    assert list(forbidden(ast.parse(code)))


@pytest.mark.parametrize("code", HARMLESS)
def test_the_search_leaves_the_harmless_alone(code: str) -> None:
    assert not list(forbidden(ast.parse(code)))


@pytest.mark.parametrize("folder", ["gzfound", "recipes", "benchmarks"])
def test_no_file_could_run_code_from_a_file(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert len(files) >= 8
    found = {
        f"{path.relative_to(ROOT)}:{line}": reason
        for path in files
        for line, reason in forbidden(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == {}
