"""The connection to an S3-compatible service, and its errors in our words."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from runs.storage.base import ObjectMissing, StorageError

CONNECT_S = 3
READ_S = 8
ATTEMPTS = 2
"""Without an answer a call ends after some 23 s: in one step a worker can make two of them before
its lease runs out. Whoever can wait longer asks again."""
FINISH_S = 20
"""To join the parts of an object may take longer: for what is slower than `JOIN_BYTES_PER_S`."""
JOIN_BYTES_PER_S = 8 * 1024 * 1024
CONNECTIONS = 64
"""Kept open per process; more are opened when needed and closed after use."""


@dataclass(frozen=True)
class S3Address:
    """Where the objects are. Without an `endpoint` it is Amazon's, without keys boto looks for
    them (its variables, its files, the role of the machine).

    `presign` says that clients may be sent there with signed addresses; `public` is the endpoint
    that they reach, where it is another than ours.
    """

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    path_style: bool | None = None
    presign: bool = True
    public: str | None = None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        where = f" at {self.endpoint}" if self.endpoint else ""
        return f"s3://{self.bucket}/{self.prefix}{where}"


def make_client(address: S3Address) -> Any:  # boto3 brings no types
    """A client that many threads may use; boto3 is loaded by the first call, not before."""
    return _client(address, READ_S, ATTEMPTS)


def make_finisher(address: S3Address) -> Any:
    """A client for the one call that may take long: to make an object of its parts."""
    return _client(address, FINISH_S, 1)


def make_signer(address: S3Address) -> Any:
    """A client that signs addresses for others and asks nothing itself."""
    return _client(replace(address, endpoint=address.public or address.endpoint), READ_S, 1)


def _client(address: S3Address, read_s: float, attempts: int) -> Any:
    import boto3
    from botocore.config import Config

    style = {True: "path", False: "virtual", None: "path" if address.endpoint else "auto"}
    config = Config(
        signature_version="s3v4",
        connect_timeout=CONNECT_S,
        read_timeout=read_s,
        retries={"total_max_attempts": attempts, "mode": "standard"},
        max_pool_connections=CONNECTIONS,
        tcp_keepalive=True,
        # Signed with the digest of the bytes: the service refuses what was changed on its way.
        # The newer checksums of Amazon's are unknown to many other services.
        s3={"addressing_style": style[address.path_style], "payload_signing_enabled": True},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    # A session of our own: the default one of boto3 is not safe to share between threads.
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=address.endpoint,
        region_name=address.region or ("us-east-1" if address.endpoint else None),
        aws_access_key_id=address.access_key,
        aws_secret_access_key=address.secret_key,
        config=config,
    )
    client.meta.events.register("before-call.s3.DeleteObjects", _add_md5)
    return client


@contextmanager
def translated(address: S3Address, operation: str, key: str = "") -> Iterator[None]:
    """Raise what boto raises as `ObjectMissing` or `StorageError` with a remedy."""
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ClientError as error:
        ours = _refusal(error.response, address, key)
        ours.operation = operation
        raise ours from error
    except (BotoCoreError, HTTPError) as error:
        ours = _failure(error, address)
        ours.operation = operation
        raise ours from error


def is_late(error: StorageError) -> bool:
    """Whether the service was reached and said nothing in time."""
    return type(error.__cause__).__name__ == "ReadTimeoutError"


def status_of(error: BaseException | None) -> int:
    """The HTTP status that a service answered with, of an error or of its cause; 0 without one."""
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return 0
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


_REMEDIES = {
    "NoSuchBucket": "There is no such bucket. Make it, or correct RUNSITE_STORE_URL.",
    "InvalidAccessKeyId": "It does not know the key. Correct RUNSITE_S3_ACCESS_KEY.",
    "SignatureDoesNotMatch": "The secret key is wrong. Correct RUNSITE_S3_SECRET_KEY.",
    "AccessDenied": "Allow this key to read, write, delete and list objects of the bucket, and to"
    " list and abort multipart uploads.",
    "RequestTimeTooSkewed": "The clocks differ by more than the service allows. Set the clock of"
    " this host.",
    "PreconditionFailed": "The object was replaced while it was read. Read it again.",
    "NoSuchUpload": "The upload was aborted meanwhile. Store the object again.",
    "EntityTooLarge": "The service keeps no object of this size. Store less, or raise its limit.",
    "XMinioStorageFull": "It is full. Make room in the store.",
    "QuotaExceeded": "It is full. Make room in the store, or raise its quota.",
}
_REMEDIES["Forbidden"] = _REMEDIES["403"] = _REMEDIES["AccessDenied"]
_REMEDIES["412"] = _REMEDIES["PreconditionFailed"]
_WRONG_REGION = {
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
    "301",
}


def _refusal(response: dict[str, Any], address: S3Address, key: str) -> StorageError:
    told = response.get("Error", {})
    code, message = str(told.get("Code", "")), str(told.get("Message", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if key and code == "NoSuchKey":
        return ObjectMissing(key)
    if code in _WRONG_REGION:
        remedy = "The region or the endpoint is wrong. Correct RUNSITE_STORE_URL."
    elif status >= 500 or code in {"SlowDown", "ServiceUnavailable", "429"}:
        remedy = "It is overloaded or broken. It is asked again; should this last, look at it."
    else:
        remedy = _REMEDIES.get(code, "Look at the service's own log, and at RUNSITE_STORE_URL.")
    said = ": ".join(part for part in (code, message[:200]) if part)
    return StorageError(f"The store {address} refuses ({said or status}). {remedy}")


def _failure(error: Exception, address: S3Address) -> StorageError:
    name = type(error).__name__
    if "Credential" in name:
        return StorageError(
            f"There are no keys for the store {address}. Set RUNSITE_S3_ACCESS_KEY and"
            " RUNSITE_S3_SECRET_KEY."
        )
    return StorageError(
        f"The store {address} does not answer ({name}). See that it runs and that this host"
        " reaches it, or correct RUNSITE_STORE_URL."
    )


def _add_md5(params: dict[str, Any], **_: object) -> None:
    """Older services want this header where many objects are deleted at once."""
    digest = hashlib.md5(params["body"], usedforsecurity=False).digest()
    params["headers"]["Content-MD5"] = base64.b64encode(digest).decode()
