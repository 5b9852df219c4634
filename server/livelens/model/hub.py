"""The model hub: asked only for a name that is no folder, and only for what loading needs."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from livelens.model.shipped import Progress
from livelens.model.source_errors import ModelSourceError

_PATTERNS = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
_ASK_TIMEOUT_SECS = 10.0


def fetch_from_hub(name: str, *, progress: Progress, with_code: bool) -> Path:
    """The local folder of the hub's model `name`, downloaded where it is not yet there.

    Raises ModelSourceError when the hub cannot be reached (after seconds, not minutes), does not know
    the name, or has no safetensors for it.
    """
    patterns = [*_PATTERNS, "*.py"] if with_code else _PATTERNS
    revision = _ask(name)
    if revision is None:
        progress(f"the model hub cannot be reached; looking for {name} on this machine")
        try:
            return Path(snapshot_download(name, allow_patterns=patterns, local_files_only=True))
        except LocalEntryNotFoundError as error:
            raise ModelSourceError(
                f"{name!r} is no folder here, and the model hub cannot be reached to fetch it by that name:"
                " check the network, or give a folder with the model in it"
            ) from error
    progress(f"fetching {name} from the model hub")
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, OSError) as error:
        raise ModelSourceError(f"fetching {name} from the model hub failed: {error}") from error


def _ask(name: str) -> str | None:
    """The revision the hub would give, none when it cannot be reached: asked once, without retries."""
    if constants.HF_HUB_OFFLINE:
        return None
    try:
        found = HfApi().model_info(name, timeout=_ASK_TIMEOUT_SECS)
    except GatedRepoError as error:
        raise ModelSourceError(
            f"{name} is gated: accept its terms on the hub and log in with `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelSourceError(f"{name!r} is no folder here, and the model hub does not know it either") from error
    except OfflineModeIsEnabled:
        return None
    except HfHubHTTPError as error:
        raise ModelSourceError(f"the model hub refused {name}: {error}") from error
    except Exception:  # whatever the HTTP library raises where there is no way out
        return None
    files = [sibling.rfilename for sibling in found.siblings or []]
    if not any(file.endswith(".safetensors") for file in files):
        raise ModelSourceError(f"{name} has no safetensors on the hub, and livelens opens no pickles")
    return found.sha
