"""What to do when ``datasets`` cannot load something: one line instead of its traceback."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gzfound.errors import DataError

_PAGE = "https://huggingface.co/datasets/"


def explain(error: BaseException, source: str, *, local: bool) -> DataError:
    """The one line that says why ``source`` did not load and what to do about it.

    Args:
        error: what ``datasets.load_dataset`` raised.
        source: the dataset as the user named it.
        local: whether it is a directory on this machine.
    """
    if isinstance(error, DataError):
        return error
    chain = list(_chain(error))
    text = " ".join(" ".join(str(link).split()) for link in chain)
    if reason := _wrong_choice(text):
        return DataError(f"{source}: {reason}")
    if not local and (reason := _hub_reason(chain, text, source)):
        return DataError(f"{source}: {reason}")
    last = chain[-1]
    detail = " ".join(str(last).split())[:300] or "no reason given"
    return DataError(f"{source}: cannot be loaded ({type(last).__name__}: {detail})")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from, outermost first."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _wrong_choice(text: str) -> str | None:
    if match := re.search(r"BuilderConfig '(.*?)' not found\. Available: \[(.*?)\]", text):
        return f"config '{match[1]}' not found; it has {match[2].replace(chr(39), '')}"
    if match := re.search(r'Unknown split "(.*?)"\. Should be one of \[(.*?)\]', text):
        return f"split '{match[1]}' not found; it has {match[2].replace(chr(39), '')}"
    return None


def _hub_reason(chain: list[BaseException], text: str, source: str) -> str | None:
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    def any_is(*kinds: type[BaseException]) -> bool:
        return any(isinstance(link, kinds) for link in chain)

    if any_is(GatedRepoError) or "is a gated dataset" in text:
        return f"gated; request access at {_PAGE}{source} and log in with `hf auth login`"
    if any_is(DatasetNotFoundError, RepositoryNotFoundError):
        return (
            "no such folder here, and not on the hub or private; check the name, "
            "or log in with `hf auth login`"
        )
    if any_is(ConnectionError, TimeoutError, LocalEntryNotFoundError) or any(
        kind.__name__ == "TransportError" for link in chain for kind in type(link).__mro__
    ):
        return (
            "no such folder here, and the hub cannot be reached; connect (unset HF_HUB_OFFLINE), "
            "or pass a local directory"
        )
    return None
