"""Objects in a bucket of an S3-compatible service: the store that several hosts can share."""

from __future__ import annotations

import builtins
import contextlib
import hashlib
import io
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, cast

from runs.storage.base import (
    CHUNK_BYTES,
    InvalidKey,
    ObjectMissing,
    ObjectTooLarge,
    StorageError,
    Stored,
    check_folder,
    check_key,
    check_prefix,
    open_regular,
)
from runs.storage.s3_client import (
    JOIN_BYTES_PER_S,
    S3Address,
    is_late,
    make_client,
    make_finisher,
    make_signer,
    status_of,
    translated,
)
from runs.storage.s3_reader import READ_BYTES, Reader

log = logging.getLogger(__name__)

PART_BYTES = 8 * 1024 * 1024
"""Objects from this size on are sent in parts, one of which is in memory at a time."""
MOST_PARTS = 10_000
COPY_PART_BYTES = 64 * 1024 * 1024
"""The service copies so much by one request: it must answer before we stop waiting for it."""
BATCH = 1000
"""So many objects are listed or removed by one request."""
_READ_TRIES = 3
_OPERATIONS = {"get_object": "get", "head_object": "get", "delete_object": "delete"}


class S3Store:
    """An `ObjectStore` in a bucket, below a prefix; made without a look at the service.

    A large object is a multipart upload, which appears when its last part is confirmed. Readers
    hold the entity tag of what they began with: an object that is replaced meanwhile is an error,
    never a mixture.
    """

    def __init__(self, address: S3Address) -> None:
        self.address = address
        self._root = f"{address.prefix}/" if address.prefix else ""
        self._lock = threading.Lock()
        self._made: Any = None
        self._made_finisher: Any = None
        self._made_signer: Any = None

    def put(self, key: str, stream: BinaryIO, *, limit_bytes: int | None = None) -> Stored:
        """Store what is left in `stream`; `ObjectTooLarge` beyond `limit_bytes`."""
        check_key(key)
        return self._put(key, stream, limit_bytes, _part_bytes(limit_bytes))

    def put_bytes(self, key: str, data: bytes) -> Stored:
        """Store `data`."""
        check_key(key)
        if len(data) >= PART_BYTES:
            return self._put(key, io.BytesIO(data), None, _part_bytes(len(data)))
        self._ask("put_object", key, Body=data)
        return Stored(len(data), hashlib.sha256(data).hexdigest())

    def put_file(
        self, key: str, path: Path, *, limit_bytes: int | None = None, consume: bool = False
    ) -> Stored:
        """Store the regular file at `path`; with `consume` it is removed afterwards."""
        check_key(key)
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if limit_bytes is not None and size > limit_bytes:
                raise ObjectTooLarge(key, limit_bytes)
            stored = self._put(key, file, limit_bytes, _part_bytes(size))
        if consume:
            path.unlink()
        return stored

    def open(self, key: str) -> BinaryIO:
        """A seekable reader, which the caller closes; it holds no connection between reads."""
        check_key(key)
        return cast(BinaryIO, io.BufferedReader(Reader(self, key), READ_BYTES))

    def size(self, key: str) -> int:
        """The size in bytes."""
        check_key(key)
        return self._head(key)[0]

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """At most `length` bytes from byte `start`; fewer, or none, at the end."""
        check_key(key)
        if length <= 0:
            self._head(key)  # a missing object is an error all the same
            return b""
        return self.read_part(key, start, length)[0]

    def stream(
        self, key: str, start: int = 0, length: int | None = None, chunk: int = CHUNK_BYTES
    ) -> Iterator[bytes]:
        """The bytes from `start` (at most `length`), in pieces of at most `chunk`."""
        check_key(key)
        size, tag = self._head(key)  # a missing object is an error of this call
        end = size if length is None else min(size, start + length)
        return self._pieces(key, start, end, chunk, tag)

    def exists(self, key: str) -> bool:
        """Whether there is an object with this key."""
        check_key(key)
        try:
            self._head(key)
        except ObjectMissing:
            return False
        return True

    def delete(self, key: str) -> None:
        """Remove the object; one that is missing is fine."""
        check_key(key)
        with contextlib.suppress(ObjectMissing):
            self._ask("delete_object", key)

    def delete_prefix(self, prefix: str) -> int:
        """Remove all objects below `prefix`; how many there were."""
        check_folder(prefix)
        removed = 0
        batch: builtins.list[str] = []
        for name in self._names(prefix):
            batch.append(name)
            if len(batch) == BATCH:
                removed += self._delete_all(batch)
                batch = []
        return removed + (self._delete_all(batch) if batch else 0)

    def list(self, prefix: str) -> Iterator[str]:
        """The keys that start with `prefix`, sorted, read from the service page by page."""
        check_prefix(prefix)
        return self._keys(prefix)

    def sweep(self, older_than_s: float) -> int:
        """Abort multipart uploads that were begun so long ago and never ended; how many."""
        before = datetime.now(UTC) - timedelta(seconds=older_than_s)
        removed = 0
        for name, upload_id, begun in builtins.list(self._uploads()):
            if begun <= before:
                removed += 1
                with contextlib.suppress(ObjectMissing):
                    self._abort(name, upload_id)
        return removed

    def fetch(self, key: str, path: Path) -> int:
        """Copy the object into the file `path`, which appears whole; its size in bytes."""
        temporary = path.with_name(f".fetch-{uuid.uuid4().hex}")
        pieces = self.stream(key, chunk=READ_BYTES)
        try:
            with temporary.open("wb") as file:
                for piece in pieces:
                    file.write(piece)
                size = file.tell()
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return size

    def copy(self, source: str, target: str) -> int:
        """Make `target` an object with the bytes of `source`; the service copies them itself."""
        check_key(source)
        check_key(target)
        for left in reversed(range(_READ_TRIES)):
            size, tag = self._head(source)
            words = {
                "CopySource": {"Bucket": self.address.bucket, "Key": self._root + source},
                "CopySourceIfMatch": tag,  # never a mixture of two
            }
            try:
                if size <= COPY_PART_BYTES:
                    self._ask("copy_object", target, **words)
                else:
                    self._copy_parts(target, words, size)
                return size
            except StorageError as error:
                if not left or status_of(error.__cause__) != 412:  # replaced since we looked
                    raise
        raise AssertionError("unreachable")

    def presigned_put(self, key: str, *, lives_s: int) -> str | None:
        """An address of the service itself; any or no Content-Type may be sent with the bytes."""
        check_key(key)
        return self._presigned("put_object", key, lives_s)

    def presigned_get(
        self, key: str, *, lives_s: int, disposition: str, content_type: str
    ) -> str | None:
        """An address of the service itself, which answers with these headers."""
        check_key(key)
        return self._presigned(
            "get_object",
            key,
            lives_s,
            ResponseContentDisposition=disposition,
            ResponseContentType=content_type,
        )

    def read_part(
        self, key: str, start: int, length: int, tag: str | None = None
    ) -> tuple[bytes, int, str]:
        """At most `length` bytes from byte `start`, the size of the whole object, and its tag."""
        for left in reversed(range(_READ_TRIES)):
            try:
                response = self._get(key, start, start + length, tag)
                if response is None:  # nothing there
                    return b"", 0, ""
                with (
                    contextlib.closing(response["Body"]) as body,
                    translated(self.address, "get", key),
                ):
                    return body.read(), _size_of(response), str(response["ETag"])
            except StorageError as error:
                # The call itself was repeated by boto; a connection lost while reading was not.
                if not left or status_of(error.__cause__) or isinstance(error, ObjectMissing):
                    raise
        raise AssertionError("unreachable")

    # --- Writing ------------------------------------------------------------------------------

    def _put(self, key: str, stream: BinaryIO, limit_bytes: int | None, part_bytes: int) -> Stored:
        digest, size = hashlib.sha256(), 0

        def next_part() -> bytearray:
            nonlocal size
            part = _filled(stream, part_bytes)
            size += len(part)
            if limit_bytes is not None and size > limit_bytes:
                raise ObjectTooLarge(key, limit_bytes)
            digest.update(part)
            return part

        part = next_part()
        if len(part) < part_bytes:
            self._ask("put_object", key, Body=part)
            return Stored(size, digest.hexdigest())
        upload_id = self._ask("create_multipart_upload", key)["UploadId"]
        try:
            parts: builtins.list[dict[str, object]] = []
            while part:
                if len(parts) == MOST_PARTS:
                    raise ObjectTooLarge(key, MOST_PARTS * part_bytes)
                number = len(parts) + 1
                done = self._ask(
                    "upload_part", key, UploadId=upload_id, PartNumber=number, Body=part
                )
                parts.append({"ETag": done["ETag"], "PartNumber": number})
                part = next_part() if len(part) == part_bytes else bytearray()
            self._complete(key, upload_id, parts, size)
        except BaseException:
            try:
                self._abort(self._root + key, upload_id)
            except StorageError as error:
                log.warning("a part of %s stays until the store is swept: %s", key, error)
            raise
        return Stored(size, digest.hexdigest())

    def _copy_parts(self, target: str, words: dict[str, Any], size: int) -> None:
        part_bytes = max(COPY_PART_BYTES, -(-size // MOST_PARTS))
        upload_id = self._ask("create_multipart_upload", target)["UploadId"]
        try:
            parts: builtins.list[dict[str, object]] = []
            for start in range(0, size, part_bytes):
                number = len(parts) + 1
                end = min(start + part_bytes, size)
                done = self._ask(
                    "upload_part_copy",
                    target,
                    UploadId=upload_id,
                    PartNumber=number,
                    CopySourceRange=f"bytes={start}-{end - 1}",
                    **words,
                )
                tag = done["CopyPartResult"]["ETag"]
                parts.append({"ETag": tag, "PartNumber": number})
            self._complete(target, upload_id, parts, size)
        except BaseException:
            try:
                self._abort(self._root + target, upload_id)
            except StorageError as error:
                log.warning("a part of %s stays until the store is swept: %s", target, error)
            raise

    def _complete(
        self, key: str, upload_id: str, parts: builtins.list[dict[str, object]], size: int
    ) -> None:
        """Make the object of its parts; a large one may keep the service busy for a while."""
        until = time.monotonic() + size / JOIN_BYTES_PER_S
        tag = _tag_of_parts([str(part["ETag"]) for part in parts])
        while True:
            try:
                with translated(self.address, "put", key):
                    self._finisher.complete_multipart_upload(
                        Bucket=self.address.bucket,
                        Key=self._root + key,
                        UploadId=upload_id,
                        MultipartUpload={"Parts": parts},
                    )
                return
            except StorageError as error:
                # The service may have done it and answered too late: then the object has our tag.
                with contextlib.suppress(StorageError):
                    if self._head(key)[1].strip('"') == tag:
                        return
                if not is_late(error) or time.monotonic() > until:
                    raise

    def _abort(self, name: str, upload_id: str) -> None:
        with translated(self.address, "delete", name):
            try:
                self._client.abort_multipart_upload(
                    Bucket=self.address.bucket, Key=name, UploadId=upload_id
                )
            except self._client.exceptions.NoSuchUpload:
                return  # somebody was first, or it was completed after all

    def _delete_all(self, names: builtins.list[str]) -> int:
        wanted = {"Objects": [{"Key": name} for name in names], "Quiet": True}
        with translated(self.address, "delete"):
            answer = self._client.delete_objects(Bucket=self.address.bucket, Delete=wanted)
        refused = [each for each in answer.get("Errors", []) if each.get("Code") != "NoSuchKey"]
        if refused:
            raise StorageError(
                f"The store {self.address} did not remove {len(refused)} of {len(names)} objects"
                f" ({refused[0].get('Code')}). Allow this key to delete objects of the bucket."
            )
        return len(names)

    # --- Reading ------------------------------------------------------------------------------

    def _head(self, key: str) -> tuple[int, str]:
        """Size and tag of an object."""
        try:
            answer = self._ask("head_object", key)
        except StorageError as error:
            if status_of(error.__cause__) != 404:
                raise
            # This answer has no words: ask again whether the object or the bucket is missing.
            self.read_part(key, 0, 1)
            raise ObjectMissing(key) from error
        return int(answer["ContentLength"]), str(answer["ETag"])

    def _get(self, key: str, start: int, end: int, tag: str | None) -> dict[str, Any] | None:
        """The answer with the bytes from `start` to before `end`; None where there are none."""
        words = {"IfMatch": tag} if tag else {}
        try:
            return self._ask("get_object", key, Range=f"bytes={start}-{end - 1}", **words)
        except StorageError as error:
            if status_of(error.__cause__) == 416:
                return None
            raise

    def _pieces(self, key: str, start: int, end: int, chunk: int, tag: str) -> Iterator[bytes]:
        """The bytes from `start` to before `end`; goes on where a connection was lost."""
        position, tries = start, _READ_TRIES
        while position < end:
            began = position
            response = self._get(key, position, end, tag)
            if response is None:
                return
            problem: StorageError | None = None
            with contextlib.closing(response["Body"]) as body:
                while position < end:
                    try:
                        with translated(self.address, "get", key):
                            piece = body.read(min(chunk, end - position))
                    except StorageError as error:
                        problem = error
                        break
                    if not piece:
                        problem = StorageError(f"The store {self.address} cut `{key}` short.")
                        break
                    position += len(piece)
                    yield piece
            tries = _READ_TRIES if position - began >= READ_BYTES else tries - 1
            if problem is not None and not tries:
                raise problem

    def _keys(self, prefix: str) -> Iterator[str]:
        for name in self._names(prefix):
            key = name.removeprefix(self._root)
            try:
                check_key(key)
            except InvalidKey:
                continue  # not ours: somebody else's object in the bucket
            yield key

    def _names(self, prefix: str) -> Iterator[str]:
        """The full names of objects whose keys start with `prefix`, page by page."""
        words: dict[str, Any] = {"Prefix": self._root + prefix, "MaxKeys": BATCH}
        while True:
            with translated(self.address, "list"):
                page = self._client.list_objects_v2(Bucket=self.address.bucket, **words)
            for each in page.get("Contents", ()):
                yield each["Key"]
            if not page.get("IsTruncated"):
                return
            words["ContinuationToken"] = page["NextContinuationToken"]

    def _uploads(self) -> Iterator[tuple[str, str, datetime]]:
        """Full name, id and begin of each multipart upload that has not ended."""
        words: dict[str, Any] = {"Prefix": self._root, "MaxUploads": BATCH}
        while True:
            with translated(self.address, "list"):
                page = self._client.list_multipart_uploads(Bucket=self.address.bucket, **words)
            for each in page.get("Uploads", ()):
                yield each["Key"], each["UploadId"], each["Initiated"]
            if not page.get("IsTruncated"):
                return
            words["KeyMarker"] = page["NextKeyMarker"]
            words["UploadIdMarker"] = page["NextUploadIdMarker"]

    def _presigned(self, operation: str, key: str, lives_s: int, **words: Any) -> str | None:
        """No request is made. Only the host is signed beside the address: no other header."""
        if not self.address.presign:
            return None
        with translated(self.address, "presign", key):
            return str(
                self._signer.generate_presigned_url(
                    operation,
                    Params={"Bucket": self.address.bucket, "Key": self._root + key, **words},
                    ExpiresIn=lives_s,
                )
            )

    def _ask(self, operation: str, key: str, **words: Any) -> dict[str, Any]:
        with translated(self.address, _OPERATIONS.get(operation, "put"), key):
            call = getattr(self._client, operation)
            answer: dict[str, Any] = call(Bucket=self.address.bucket, Key=self._root + key, **words)
        return answer

    @property
    def _client(self) -> Any:
        with self._lock:
            if self._made is None:
                self._made = make_client(self.address)
            return self._made

    @property
    def _finisher(self) -> Any:
        with self._lock:
            if self._made_finisher is None:
                self._made_finisher = make_finisher(self.address)
            return self._made_finisher

    @property
    def _signer(self) -> Any:
        with self._lock:
            if self._made_signer is None:
                self._made_signer = make_signer(self.address)
            return self._made_signer


def _part_bytes(size: int | None) -> int:
    """How large parts are, so that an object of `size` bytes has not too many."""
    return max(PART_BYTES, -(-(size or 0) // MOST_PARTS))


def _filled(stream: BinaryIO, size: int) -> bytearray:
    """The next `size` bytes of `stream`; fewer at its end only."""
    data = bytearray()
    while len(data) < size and (piece := stream.read(min(CHUNK_BYTES, size - len(data)))):
        data += piece
    return data


def _tag_of_parts(tags: list[str]) -> str | None:
    """The entity tag of an object made of parts with these tags, where those are MD5 digests."""
    try:
        digests = b"".join(bytes.fromhex(tag.strip('"')) for tag in tags)
    except ValueError:
        return None
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(tags)}"


def _size_of(response: dict[str, Any]) -> int:
    """The size of the whole object, of an answer that may hold a part of it."""
    _, _, size = str(response.get("ContentRange", "")).rpartition("/")
    return int(size) if size.isdecimal() else int(response["ContentLength"])
