"""A journal: what a rank notes while it fills a folder, one line for each query of a shard and one for each shard.

A manifest states all shards of its rank, so that to write it again for each of n shards takes n^2 bytes. A line takes
some 150 bytes, and the manifest is written twice: before the first line and after the last, when the journal is
removed. A killed process leaves its journal; the next one of that rank begins by writing both as one manifest.
"""

import json
from pathlib import Path

from skdcgn.base.files import append_durably, append_text
from skdcgn.base.records import to_dict
from skdcgn.pairs.manifest import Manifest, Note, Plan, Shard, journal_of, manifest_of, shards_of


class Journal:
    """The queries and shards of one rank, as they are noted.

    Args:
        path: of the rank's manifest.
        plan: that the manifest will state.
        manifest: as this rank left it.
        durable: each line is on disk, not only with the operating system, before the next thing is done.
    """

    def __init__(self, path: Path, plan: Plan, manifest: Manifest, *, durable: bool) -> None:
        self.path, self.plan, self.queries, self.shards = path, plan, manifest.queries, shards_of([manifest])
        self._append = append_durably if durable else append_text
        self._begun = False

    def note(self, queries: int, shard: Shard | None = None) -> None:
        """Note the queries spent so far and a shard that is on disk."""
        self.queries = queries
        if shard:
            self.shards[shard.file] = shard
        if self._begun:
            self._append(journal_of(self.path), json.dumps(to_dict(Note(queries, shard))) + "\n")
        else:
            self._write()
        self._begun = True

    def finish(self) -> Manifest:
        """Write the manifest, unless nothing was noted; remove the journal; return the manifest."""
        if self._begun or journal_of(self.path).exists():
            return self._write()
        return manifest_of(self.plan, self.queries, self.shards.values())

    def _write(self) -> Manifest:
        manifest = manifest_of(self.plan, self.queries, self.shards.values())
        manifest.write(self.path)
        journal_of(self.path).unlink(missing_ok=True)
        return manifest
