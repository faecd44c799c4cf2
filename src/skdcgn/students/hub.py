"""Students on the Hugging Face Hub: a repository is fetched into the local cache, or written.

huggingface_hub does the transfers, once a first request has found the repository and the size of its files. Where
nothing answers, the copy in the cache is taken.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import httpx2
from pydantic import Field

from skdcgn.base.door import MOST_JSON, parse_record
from skdcgn.base.errors import UserError, shown
from skdcgn.students.endpoint import Answer, Endpoint, NoAnswerError, answer, endpoint_at, explained

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
MOST_BYTES = {CONFIG: MOST_JSON, WEIGHTS: 2**30}  # of the files that are fetched
FILE_ENDINGS = (".safetensors", ".pth", ".pt", ".bin", ".onnx", ".npz", ".json", ".csv", ".py")
NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


def is_repository_name(name: str) -> bool:
    """Say whether ``name`` has the form ``user/student`` and is not that of a file."""
    return NAME.fullmatch(name) is not None and not name.endswith(FILE_ENDINGS)


@dataclass(frozen=True)
class RepositoryFile:
    """A file of a repository and its bytes."""

    rfilename: str
    size: Annotated[int, Field(ge=0)] | None = None


@dataclass(frozen=True)
class Repository:
    """What the Hub says of a repository: the commit and its files."""

    sha: str
    siblings: tuple[RepositoryFile, ...]


def fetched(
    name: str,
    *,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | Path | None = None,
    endpoint: str | None = None,
    local_files_only: bool = False,
) -> Path:
    """Return the local copy of a student's repository, of which only the student's own files are fetched.

    Without an answer from the endpoint it is the copy in the cache, and a warning says so.

    Args:
        name: ``user/student``.
        revision: branch, tag or commit; None: ``main``.
        token: see :func:`~skdcgn.students.endpoint.endpoint_at`.
        cache_dir: None: that of huggingface_hub.
        endpoint: see :func:`~skdcgn.students.endpoint.endpoint_at`.
        local_files_only: take the copy in the cache without a request.

    Raises:
        UserError: there is no such repository, it is no student's, or there is no answer and no copy.
    """
    from huggingface_hub import is_offline_mode

    place = endpoint_at(endpoint, token)
    if not is_repository_name(name):
        raise UserError(
            f"{shown(name)} is no folder, and no name on the Hugging Face Hub: pass a student's folder or user/student"
        )
    if local_files_only or is_offline_mode():
        mend = "fetch it once without HF_HUB_OFFLINE, or pass a student's folder"
        return _copy_in_cache(name, revision, cache_dir, f"{name!r} is no folder, and is not in the cache: {mend}")
    try:
        repository = look_up(place, name, revision)
    except NoAnswerError as error:
        folder = _copy_in_cache(name, revision, cache_dir, str(error))
        logging.getLogger(__name__).warning("%s: the copy in the cache is used (%s)", name, error)
        return folder
    _check_sizes(repository, name)
    with explained(f"{name!r} cannot be fetched from {place.url}"):
        return _downloaded(name, revision=revision, token=token, cache_dir=cache_dir, endpoint=place.url)


def look_up(place: Endpoint, name: str, revision: str | None = None) -> Repository:
    """Ask an endpoint once for a repository; raise UserError if it has none, NoAnswerError if it does not answer."""
    path = f"/api/models/{name}/revision/{quote(revision or 'main', safe='')}?blobs=true"
    response = answer(place, path, f"{name!r} is no file or folder here", "or pass a student's folder")
    if response.status != httpx2.codes.OK:
        raise UserError(f"{name!r} is no file or folder here, and {_refusal(place, response, revision)}")
    return parse_record(response.text, Repository, f"{place.url} on {name}", "check HF_ENDPOINT, and the network")


def _refusal(place: Endpoint, response: Answer, revision: str | None) -> str:
    """Say in words why there is no repository, and the mend."""
    status = response.status
    if response.fault == "RevisionNotFound":
        return f"{place.url} has no revision {shown(revision)} of it ({status}): check the revision"
    if status == httpx2.codes.FORBIDDEN:
        return f"{place.url} refuses it ({status}): ask its owner for access, and set HF_TOKEN"
    return (
        f"{place.url} has no public repository of that name ({status}): check the name; for a private one set HF_TOKEN"
    )


def _check_sizes(repository: Repository, name: str) -> None:
    """Raise UserError unless the repository has the files of a student, none of them too large."""
    sizes = {file.rfilename: file.size for file in repository.siblings}
    for file, most in MOST_BYTES.items():
        if file not in sizes:
            raise UserError(f"{name!r} on the Hub holds no student: it has no {file}; pass the name of a student's")
        size = sizes[file]
        if size is None or size > most:
            has = "an unknown size" if size is None else f"{size:,} bytes"
            raise UserError(f"{name!r} on the Hub holds no student: its {file} has {has}, not up to {most:,} bytes")


def _downloaded(name: str, *, revision: str | None, **options: Any) -> Path:
    """Fetch the files of a student, all of one commit; return their folder in the cache."""
    from huggingface_hub import hf_hub_download

    folder = Path(hf_hub_download(name, CONFIG, revision=revision, **options)).parent
    hf_hub_download(name, WEIGHTS, revision=folder.name, **options)
    return folder


def _copy_in_cache(name: str, revision: str | None, cache_dir: str | Path | None, line: str) -> Path:
    """Return the folder of a student in the cache; raise UserError with ``line`` if there is none."""
    from huggingface_hub import try_to_load_from_cache

    files = [try_to_load_from_cache(name, file, cache_dir, revision) for file in MOST_BYTES]
    if not all(isinstance(file, str) for file in files):
        raise UserError(line)
    return Path(str(files[0])).parent


def upload(
    name: str,
    files: Mapping[str, bytes],
    *,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
    message: str = "Write a student CGN",
    endpoint: str | None = None,
) -> str:
    """Write files into a repository, which is made if there is none; return the URL of the commit.

    Args:
        name: ``user/student``.
        files: their bytes by name.
        private: whether a new repository is private; None: the default of its owner.
        token: of an account that may write; see :func:`~skdcgn.students.endpoint.endpoint_at`.
        revision: the branch, which is made if there is none; None: ``main``.
        endpoint: see :func:`~skdcgn.students.endpoint.endpoint_at`.

    Raises:
        UserError: there is no answer, the token is refused, or the transfer fails.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    place = endpoint_at(endpoint, token)
    if not place.token:
        raise UserError(f"pushing {name!r} needs a token that may write: set HF_TOKEN to one of {place.url}")
    status = answer(place, "/api/whoami-v2", f"{name!r} was not pushed", "and push again").status
    if status != httpx2.codes.OK:
        raise UserError(f"{place.url} refuses the token ({status}), and {name!r} was not pushed: renew HF_TOKEN")
    api = HfApi(endpoint=place.url, token=place.token)
    with explained(f"{name!r} was not pushed to {place.url}"):
        api.create_repo(name, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(name, branch=revision, exist_ok=True)
        operations = [CommitOperationAdd(path, data) for path, data in files.items()]
        return str(api.create_commit(name, operations, commit_message=message, revision=revision).commit_url)
