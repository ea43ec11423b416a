"""Weights to the Hugging Face hub, card included, as one commit."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from gzfound.data.card import licence_of
from gzfound.errors import ConfigError, WeightsError
from gzfound.files import atomic_directory
from gzfound.models.checkpoint import read_config
from gzfound.weights import HEAD, find_weights

FILES = ("README.md", "config.json", "model.safetensors", HEAD)


def push_weights(
    weights: str | Path,
    repo: str,
    *,
    dry_run: str | Path | None = None,
    endpoint: str | None = None,
) -> str:
    """Upload a weights directory to a model repository, which is made if it is not there.

    Args:
        weights: a weights directory, or a name of :func:`gzfound.list_weights`.
        repo: ``owner/name``.
        dry_run: a new folder; the files are written there and nothing is uploaded.
        endpoint: address of the hub, by default ``$HF_ENDPOINT`` or that of Hugging Face.

    Returns:
        The address of the repository; of a dry run, the folder.

    Raises:
        WeightsError: the directory holds no weights, its card names no licence, or the hub refuses.
        ConfigError: ``repo`` is no name of a repository, or ``dry_run`` is in use.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise ConfigError(f"repo: {repo!r}; allowed: owner/name")
    files = files_to_push(Path(find_weights(weights)))
    if dry_run is None:
        return _upload(files, repo, endpoint)
    target = Path(dry_run)
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise ConfigError(f"dry_run: {target} is in use; name a new folder")
    with atomic_directory(target) as folder:
        for path in files:
            shutil.copyfile(path, folder / path.name)
    return str(target)


def files_to_push(folder: Path) -> list[Path]:
    """The files of a weights directory that are uploaded, if it may be published.

    Raises:
        WeightsError: it holds no weights, or its card names no licence.
    """
    read_config(folder)
    if licence_of(folder) == "unknown":
        raise WeightsError(
            f"weights: {folder / 'README.md'} names no licence; write what the data allow, such as "
            "'license: cc-by-nc-sa-4.0', between its --- lines"
        )
    return [folder / name for name in FILES if (folder / name).is_file()]


def _upload(files: list[Path], repo: str, endpoint: str | None) -> str:
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(endpoint=endpoint)
    try:
        address = api.create_repo(repo, exist_ok=True)
        api.create_commit(
            repo,
            [CommitOperationAdd(path.name, str(path)) for path in files],
            commit_message="Weights and card, by gzfound",
        )
    except Exception as error:  # the hub and its network stack each raise their own kinds
        lines = str(error).splitlines() or [type(error).__name__]
        status = getattr(getattr(error, "response", None), "status_code", None)
        hint = "; log in with `hf auth login` and a token that may write" if status == 401 else ""
        raise WeightsError(f"repo: cannot push to {repo}: {lines[0]}{hint}") from error
    return str(address)
