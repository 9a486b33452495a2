"""Static files under names that hold their hash, once `collectstatic` has run."""

from __future__ import annotations

from whitenoise.storage import CompressedManifestStaticFilesStorage


class CollectedStaticFiles(CompressedManifestStaticFilesStorage):  # type: ignore[misc]
    # (misc: whitenoise has no types)
    """Hashed and compressed when collected; plain names as long as nothing was collected.

    A page must not fail because a fresh clone or a test has no collected files.
    """

    manifest_strict = False

    def stored_name(self, name: str) -> str:
        """The hashed name, or `name` itself when the manifest does not know it."""
        known = self.hashed_files.get(self.hash_key(self.clean_name(name)))
        return str(known) if known else name
