"""Weights to the hub: exactly the files, to a server that speaks what huggingface_hub needs."""

from __future__ import annotations

import base64
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from gzfound import load_encoder
from gzfound.cli import main
from gzfound.errors import WeightsError
from gzfound.models.push import push_weights


class Hub(BaseHTTPRequestHandler):
    """The hub's answers to a new repository and a commit of small files."""

    refuses = False
    repositories: list[dict[str, Any]]
    commits: list[dict[str, bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        root = f"http://{self.headers['Host']}"
        if self.refuses:
            return self.answer({"error": "Invalid username or password."}, 401)
        if self.path == "/api/repos/create":
            self.repositories.append(json.loads(body))
            return self.answer({"url": f"{root}/owner/name"})
        if self.path == "/api/validate-yaml":
            return self.answer({"warnings": [], "errors": []})
        if self.path == "/api/models/owner/name/preupload/main":
            files = [file["path"] for file in json.loads(body)["files"]]
            kind = {"uploadMode": "regular", "shouldIgnore": False}
            return self.answer({"files": [{"path": path, **kind} for path in files]})
        assert self.path == "/api/models/owner/name/commit/main"
        lines = [json.loads(line) for line in body.splitlines()]
        added = [line["value"] for line in lines if line["key"] == "file"]
        self.commits.append({file["path"]: base64.b64decode(file["content"]) for file in added})
        address = f"{root}/owner/name/commit/{'0' * 40}"
        return self.answer({"commitUrl": address, "commitOid": "0" * 40})

    def do_GET(self) -> None:
        self.answer({"error": "Repository not found"}, 404)

    def answer(self, value: Any, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    """A hub on this machine; ``address`` is where."""

    class Mine(Hub):
        repositories: list[dict[str, Any]] = []  # noqa: RUF012
        commits: list[dict[str, bytes]] = []  # noqa: RUF012
        address = ""

    monkeypatch.setenv("HF_TOKEN", "hf_made_up")
    with ThreadingHTTPServer(("127.0.0.1", 0), Mine) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        Mine.address = f"http://127.0.0.1:{server.server_port}"
        yield Mine
        server.shutdown()


@pytest.fixture
def weights(head_weights: Path, tmp_path: Path) -> Path:
    """Weights with a licence, and a file beside them that is nobody's business."""
    folder = tmp_path / "W"
    shutil.copytree(head_weights, folder)
    card = (folder / "README.md").read_text()
    assert "license: unknown\n" in card
    (folder / "README.md").write_text(card.replace("license: unknown", "license: cc-by-4.0"))
    (folder / "notes.txt").write_text("private")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    names = ("README.md", "config.json", "model.safetensors", "head.safetensors")
    return {name: (folder / name).read_bytes() for name in names}


def test_one_commit_holds_exactly_the_files(weights: Path, hub: Any, tmp_path: Path) -> None:
    assert push_weights(weights, "owner/name", endpoint=hub.address) == f"{hub.address}/owner/name"
    (made,) = hub.repositories
    assert (made["organization"], made["name"]) == ("owner", "name")
    (commit,) = hub.commits
    assert commit == contents(weights)
    for name, data in commit.items():
        (tmp_path / "back").mkdir(exist_ok=True)
        (tmp_path / "back" / name).write_bytes(data)
    images = torch.randn(1, 3, 24, 24)
    assert torch.equal(load_encoder(tmp_path / "back")(images), load_encoder(weights)(images))


def test_the_hub_s_refusal_is_one_line(
    weights: Path, hub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "refuses", True)
    with pytest.raises(
        WeightsError, match=r"cannot push to owner/name: .*401.*`hf auth login`"
    ) as e:
        push_weights(weights, "owner/name", endpoint=hub.address)
    assert "\n" not in str(e.value)
    assert hub.commits == []


def test_a_dry_run_writes_the_same_files_and_uploads_nothing(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "dry"
    main(["push", str(weights), "owner/name", "--dry-run", str(target)])
    assert capsys.readouterr().out == f"would be uploaded to owner/name: {target}\n"
    assert {path.name: path.read_bytes() for path in target.iterdir()} == contents(weights)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["W", "owner"], "repo: 'owner'; allowed: owner/name"),
        (["EMPTY", "owner/name"], "has no config.json and no model.safetensors"),
        (["nowhere", "owner/name"], "nowhere has no config.json"),
        (["UNLICENSED", "owner/name"], "README.md names no licence; write what the data allow"),
        (["W", "owner/name", "--dry-run", "W"], "is in use; name a new folder"),
    ],
)
def test_what_may_not_be_pushed_is_refused(
    arguments: list[str],
    message: str,
    weights: Path,
    head_weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    real = {"W": weights, "EMPTY": tmp_path / "empty", "UNLICENSED": head_weights}
    before = contents(weights)
    with pytest.raises(SystemExit) as caught:
        main(["push", *(str(real.get(word, word)) for word in arguments)])
    assert caught.value.code == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1
    assert contents(weights) == before


def test_weights_without_a_card_are_refused(weights: Path) -> None:
    (weights / "README.md").unlink()
    with pytest.raises(WeightsError, match="names no licence"):
        push_weights(weights, "owner/name")
