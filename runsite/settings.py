"""All settings; beside `env` and `console` the only reader of the environment.

Each variable has an entry in docs/settings.md. Importing this module creates nothing on disk.
"""

from __future__ import annotations

import ipaddress
import os
import platform
import secrets
import socket
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from runs.execution.package_index import index_environment
from runsite import env
from runsite.store_url import parse_store_url

BASE_DIR = Path(__file__).resolve().parent.parent
MIB = 1 << 20
GIB = 1 << 30


def _release() -> str:
    """The version, as the changelog names its newest release."""
    try:
        lines = (BASE_DIR / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        lines = []
    for line in lines:
        word = line.removeprefix("## ").lstrip("[v")
        if line.startswith("## ") and word[:1].isdecimal():
            return word.split()[0].rstrip("]")
    return "0"


RUNSITE_RELEASE = _release()

# --- Where things are -------------------------------------------------------------------------

RUNSITE_DATA_DIR = env.folder("RUNSITE_DATA_DIR", BASE_DIR / "data")
RUNSITE_APP_FOLDERS = env.folders("RUNSITE_APP_FOLDERS")
RUNSITE_TILE_URL = env.url("RUNSITE_TILE_URL", None, schemes=("https", "http")) or ""

# --- The web process --------------------------------------------------------------------------

RUNSITE_HOST = env.text("RUNSITE_HOST", "127.0.0.1")
RUNSITE_PORT = env.integer("RUNSITE_PORT", 8000, minimum=1, maximum=65535)
RUNSITE_WEB_THREADS = env.integer("RUNSITE_WEB_THREADS", 256, minimum=2, maximum=4096)
# Each stream holds a thread; the rest answers pages.
RUNSITE_STREAMS = env.integer("RUNSITE_STREAMS", min(200, RUNSITE_WEB_THREADS - 1), minimum=0)
if RUNSITE_STREAMS >= RUNSITE_WEB_THREADS:
    raise env.SettingError(
        f"RUNSITE_STREAMS is {RUNSITE_STREAMS}; it must be below RUNSITE_WEB_THREADS "
        f"({RUNSITE_WEB_THREADS}), else no thread is left to answer pages."
    )

# A certificate and key that are given, or the console's own in the data directory.
RUNSITE_TLS_CERTIFICATE = env.file("RUNSITE_TLS_CERTIFICATE")
RUNSITE_TLS_KEY = env.file("RUNSITE_TLS_KEY")
RUNSITE_TLS_DIR = RUNSITE_DATA_DIR / "tls"
if (RUNSITE_TLS_CERTIFICATE is None) != (RUNSITE_TLS_KEY is None):
    raise env.SettingError(
        "RUNSITE_TLS_CERTIFICATE and RUNSITE_TLS_KEY belong together; set both or none."
    )


def _tls() -> str:
    """How the web process serves: `off`, `files` (those given) or `auto` (its own)."""
    wanted = env.text("RUNSITE_TLS", choices=("off", "auto"))
    if wanted != "off" and RUNSITE_TLS_CERTIFICATE is not None:
        return "files"
    return wanted or "off"


RUNSITE_TLS = _tls()
_ALL_ADDRESSES = RUNSITE_HOST in {"0.0.0.0", "::"}


def _default_public_url() -> str:
    host = "127.0.0.1" if _ALL_ADDRESSES else RUNSITE_HOST
    scheme = "http" if RUNSITE_TLS == "off" else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{RUNSITE_PORT}"


def _own_names() -> set[str]:
    """Names and addresses of this machine, for a console that listens on all of them."""
    import psutil  # only here: most processes never need it

    found = {socket.gethostname(), f"{socket.gethostname()}.local"}
    for addresses in psutil.net_if_addrs().values():
        for address in addresses:
            if address.family == socket.AF_INET:
                found.add(address.address)
            elif address.family == socket.AF_INET6:
                found.add(f"[{address.address.partition('%')[0]}]")
    return found


def _networks(name: str) -> tuple[str, ...]:
    for word in (found := env.words(name)):
        try:
            ipaddress.ip_network(word, strict=False)
        except ValueError:
            raise env.SettingError(
                f"{name} names {word!r}; give addresses or networks as 10.0.0.0/8."
            ) from None
    return found


_given_public_url = env.url("RUNSITE_PUBLIC_URL", None, schemes=("http", "https"))
RUNSITE_PUBLIC_URL = _given_public_url or _default_public_url()
# Links that we hand out lead to it when it was set, else to the host that was asked.
RUNSITE_PUBLIC_URL_IS_SET = _given_public_url is not None
RUNSITE_TRUSTED_PROXIES = _networks("RUNSITE_TRUSTED_PROXIES")
RUNSITE_ALLOWED_HOSTS = env.words("RUNSITE_ALLOWED_HOSTS")

_public = urlsplit(RUNSITE_PUBLIC_URL)


def _allowed_hosts() -> list[str]:
    """What a browser may call us: the names set, those of the address, those of the machine."""
    hosts = {*RUNSITE_ALLOWED_HOSTS, "127.0.0.1", "localhost", "[::1]"}
    for host in (_public.hostname or "", "" if _ALL_ADDRESSES else RUNSITE_HOST):
        if host:
            hosts.add(f"[{host}]" if ":" in host else host)
    if _ALL_ADDRESSES and not RUNSITE_ALLOWED_HOSTS:
        hosts |= _own_names()
    return sorted(hosts)


ALLOWED_HOSTS = _allowed_hosts()

RUNSITE_API_RATE = env.integer("RUNSITE_API_RATE", 0, minimum=0)

# --- Workers ----------------------------------------------------------------------------------

RUNSITE_SLOTS = env.integer("RUNSITE_SLOTS", len(os.sched_getaffinity(0)), minimum=1, maximum=1000)
RUNSITE_WORKER_NAME = env.text("RUNSITE_WORKER_NAME", platform.node() or "worker")
RUNSITE_QUEUES = env.words("RUNSITE_QUEUES")
RUNSITE_WORKER_SCHEDULES = env.flag("RUNSITE_WORKER_SCHEDULES", False)
RUNSITE_HEARTBEAT_S: float = env.seconds("RUNSITE_HEARTBEAT_S", 5, minimum=0.1) or 5
RUNSITE_LEASE_S: float = env.seconds("RUNSITE_LEASE_S", 20, minimum=0.5) or 20
RUNSITE_REAP_S: float = env.seconds("RUNSITE_REAP_S", 5, minimum=0.1) or 5
if RUNSITE_LEASE_S < 2 * RUNSITE_HEARTBEAT_S:
    raise env.SettingError(
        f"RUNSITE_LEASE_S is {RUNSITE_LEASE_S:g}; it must be at least twice RUNSITE_HEARTBEAT_S "
        f"({RUNSITE_HEARTBEAT_S:g}), else one late heartbeat loses a run."
    )
RUNSITE_DRAIN_LIMIT_S = env.seconds("RUNSITE_DRAIN_LIMIT_S", None)

# --- Limits of runs ---------------------------------------------------------------------------

RUNSITE_TIME_LIMIT_S: float = env.seconds("RUNSITE_TIME_LIMIT_S", 86400, minimum=1) or 86400
RUNSITE_GRACE_S: float = env.seconds("RUNSITE_GRACE_S", 10, maximum=3600) or 0.0
RUNSITE_PIPE_WAIT_S: float = env.seconds("RUNSITE_PIPE_WAIT_S", 2, maximum=600) or 0.0
RUNSITE_MAX_ATTEMPTS = env.integer("RUNSITE_MAX_ATTEMPTS", 2, minimum=1, maximum=100)
RUNSITE_LOG_LIMIT = env.size("RUNSITE_LOG_LIMIT", GIB, minimum=64 * 1024)
RUNSITE_OUTPUT_LIMIT = env.size("RUNSITE_OUTPUT_LIMIT", 4 * GIB, minimum=1024)
RUNSITE_UPLOAD_LIMIT = env.size("RUNSITE_UPLOAD_LIMIT", 4 * GIB, minimum=1024)
RUNSITE_EXECUTABLE_LIMIT = env.size("RUNSITE_EXECUTABLE_LIMIT", 500 * MIB, minimum=1024)
RUNSITE_UNPACKED_LIMIT = env.size("RUNSITE_UNPACKED_LIMIT", 4 * GIB, minimum=1024)
RUNSITE_UNPACKED_FILES = env.integer("RUNSITE_UNPACKED_FILES", 100_000, minimum=1)
RUNSITE_FREE_SPACE = env.size("RUNSITE_FREE_SPACE", GIB)
RUNSITE_BUILD_LIMIT_S: float = env.seconds("RUNSITE_BUILD_LIMIT_S", 900, minimum=1) or 900

# --- Building environments --------------------------------------------------------------------


# What is set for pip counts as well, in the words of the installer; nothing else of ours
# reaches a build.
RUNSITE_INSTALLER_ENV = index_environment(os.environ)

# --- Secrets ----------------------------------------------------------------------------------

RUNSITE_ADMIN_EMAIL = env.text("RUNSITE_ADMIN_EMAIL", "admin@localhost")
RUNSITE_ADMIN_PASSWORD = env.secret("RUNSITE_ADMIN_PASSWORD")
RUNSITE_SECRET_KEY_FILE = RUNSITE_DATA_DIR / "secret_key"


def _kept_key() -> str | None:
    """The key that the console made in the data directory, if it is there."""
    try:
        return RUNSITE_SECRET_KEY_FILE.read_text(encoding="ascii").strip() or None
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        return None  # the console says what is wrong with the data directory
    except (OSError, UnicodeDecodeError) as error:
        raise env.SettingError(
            f"The secret key {RUNSITE_SECRET_KEY_FILE} cannot be read ({error}). "
            "Run as the user that owns the data directory, or set RUNSITE_SECRET_KEY."
        ) from error


_secret_key = env.secret("RUNSITE_SECRET_KEY") or _kept_key()
# A key of this process only is enough to migrate or to look; what signs or reads sessions
# refuses to start with it (see `console.require_kept_key`).
RUNSITE_SECRET_KEY_IS_TEMPORARY = _secret_key is None
SECRET_KEY = _secret_key or secrets.token_urlsafe(48)
if len(SECRET_KEY) < 32:
    raise env.SettingError("RUNSITE_SECRET_KEY is too short; give at least 32 random characters.")

# What secrets of runs are sealed with; without one of its own it is the key above. Workers need it,
# so with a key of its own they need not have the one that signs sessions.
RUNSITE_SECRETS_KEY = env.secret("RUNSITE_SECRETS_KEY")
if RUNSITE_SECRETS_KEY is not None and len(RUNSITE_SECRETS_KEY) < 32:
    raise env.SettingError("RUNSITE_SECRETS_KEY is too short; give at least 32 random characters.")
RUNSITE_FORMER_SECRET_KEYS = tuple((env.secret("RUNSITE_FORMER_SECRET_KEYS") or "").split())

# --- Database ---------------------------------------------------------------------------------

_DATABASE_SCHEMES = ("sqlite", "postgres", "postgresql")


def _sqlite(path: Path) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(path),
        # A connection belongs to a thread; granian ends idle threads after 30 s.
        "CONN_MAX_AGE": 60,
        "OPTIONS": {
            "timeout": 20,
            # Deferred transactions that begin to write late fail with "database is locked".
            "transaction_mode": "IMMEDIATE",
            "init_command": (
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=20000; "
                "PRAGMA journal_size_limit=67108864; PRAGMA temp_store=MEMORY"
            ),
        },
        # A file: tests with threads and processes need more than one connection.
        "TEST": {"NAME": str(path.with_name(f"test_{path.name}"))},
    }


# A network that drops packets closes no connection: without these a worker would wait a quarter
# of an hour for an answer, or for ever, and be lost although the database is back.
_NOTICED: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}


def _postgres(address: str) -> dict[str, Any]:
    parts = urlsplit(address)
    name = unquote(parts.path.lstrip("/"))
    if not name:
        raise env.SettingError(
            "RUNSITE_DATABASE_URL names no database; give postgresql://user:password@host/name"
        )
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(parts.hostname or ""),
        "PORT": str(parts.port or ""),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        # A cursor on the server does not survive a pooler in transaction mode.
        "DISABLE_SERVER_SIDE_CURSORS": True,
        # The rest of the address (sslmode, host=/run/postgresql, …) is libpq's business.
        "OPTIONS": {**_NOTICED, **dict(parse_qsl(parts.query))},
    }


def _database() -> dict[str, Any]:
    address = env.secret_url("RUNSITE_DATABASE_URL", schemes=_DATABASE_SCHEMES)
    if address is None:
        return _sqlite(RUNSITE_DATA_DIR / "runsite.sqlite3")
    if not address.startswith("sqlite:"):
        return _postgres(address)
    path = Path(unquote(urlsplit(address).path))
    if not path.is_absolute() or path == Path("/"):
        raise env.SettingError(
            "RUNSITE_DATABASE_URL names no file; give sqlite:///full/path/of/the.sqlite3"
        )
    return _sqlite(path)


DATABASES = {"default": _database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Store ------------------------------------------------------------------------------------

# None: the folder `store` in the data directory.
RUNSITE_STORE = parse_store_url("RUNSITE_STORE_URL", env.text("RUNSITE_STORE_URL"))
RUNSITE_S3_ACCESS_KEY = env.secret("RUNSITE_S3_ACCESS_KEY")
RUNSITE_S3_SECRET_KEY = env.secret("RUNSITE_S3_SECRET_KEY")
if (RUNSITE_S3_ACCESS_KEY is None) != (RUNSITE_S3_SECRET_KEY is None):
    raise env.SettingError(
        "RUNSITE_S3_ACCESS_KEY and RUNSITE_S3_SECRET_KEY belong together; set both or none."
    )

# --- Broker (Celery) --------------------------------------------------------------------------

RUNSITE_BROKER_URL = (
    env.secret_url("RUNSITE_BROKER_URL", schemes=("folder", "redis", "rediss", "amqp", "amqps"))
    or "folder://"
)
RUNSITE_BROKER_DIR = RUNSITE_DATA_DIR / "broker"


def _broker_options() -> dict[str, Any]:
    if RUNSITE_BROKER_URL.startswith("folder:"):
        return {
            "data_folder_in": str(RUNSITE_BROKER_DIR / "messages"),
            "data_folder_out": str(RUNSITE_BROKER_DIR / "messages"),
            "control_folder": str(RUNSITE_BROKER_DIR / "control"),
            "store_processed": False,
            "polling_interval": 0.05,
        }
    if RUNSITE_BROKER_URL.startswith("redis"):
        return {
            "socket_connect_timeout": 3,
            "socket_timeout": 30,
            "socket_keepalive": True,
            "health_check_interval": 25,
        }
    return {"confirm_publish": True}


# Kombu wants a host in each address, even where none is asked.
CELERY_BROKER_URL = (
    "folder://localhost//" if RUNSITE_BROKER_URL.startswith("folder:") else RUNSITE_BROKER_URL
)
CELERY_BROKER_TRANSPORT_OPTIONS = _broker_options()
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_CONNECTION_TIMEOUT = 4
CELERY_RESULT_BACKEND = None
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = False
CELERY_TASK_DEFAULT_QUEUE = "runsite-all"
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_SEND_SENT_EVENT = False
# A nudge that cannot be sent is repaired by the table; a page must not wait for it.
CELERY_TASK_PUBLISH_RETRY = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_TIMEZONE = "UTC"

# --- Django -----------------------------------------------------------------------------------

DEBUG = env.flag("RUNSITE_DEBUG", False)
ROOT_URLCONF = "runsite.urls"
WSGI_APPLICATION = "runsite.wsgi.application"
AUTH_USER_MODEL = "runs.User"
AUTHENTICATION_BACKENDS = ["runs.web.backend.MemberBackend"]
CSRF_FAILURE_VIEW = "runs.web.errors.csrf_failure"
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "home"
APPEND_SLASH = False

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_htmx",
    "runs.apps.RunsConfig",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "runs.web.middleware.SecurityHeadersMiddleware",
    "runs.api.middleware.ApiMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "runs.web.middleware.AccountMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "runs.web.middleware.ErrorPagesMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "runs.web.access.account_context",
            ],
        },
    }
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 10},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

LANGUAGE_CODE = "en"
USE_I18N = False
TIME_ZONE = "UTC"
USE_TZ = True

# --- Security ---------------------------------------------------------------------------------

_https = _public.scheme == "https"
# Browsers share cookies between the ports of a host: two consoles must not sign each other out.
_cookie = f"runsite_{_public.port}" if _public.port else "runsite"
SESSION_COOKIE_NAME = f"{_cookie}_session"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = _https
CSRF_COOKIE_NAME = f"{_cookie}_csrf"
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SECURE = _https
CSRF_TRUSTED_ORIGINS = [f"{_public.scheme}://{_public.netloc}"]
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "SAMEORIGIN"  # figures stand in frames of ours
if _https and RUNSITE_TLS == "off":
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# --- Uploads ----------------------------------------------------------------------------------

# Forms hold pasted inputs; a file never counts here.
DATA_UPLOAD_MAX_MEMORY_SIZE = 8 * MIB
DATA_UPLOAD_MAX_NUMBER_FIELDS = RUNSITE_UNPACKED_FILES + 1000
DATA_UPLOAD_MAX_NUMBER_FILES = RUNSITE_UNPACKED_FILES
# Pages that take files say so themselves (`runs.web.uploads.arrivals`).
FILE_UPLOAD_HANDLERS = ["runs.web.uploads.NoFiles"]

# --- Static files -----------------------------------------------------------------------------

STATIC_URL = "/static/"
STATIC_ROOT = RUNSITE_DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "runsite.static_files.CollectedStaticFiles"
    },
}
# Without collected files (runserver on a fresh clone, tests) they are served where they lie.
WHITENOISE_USE_FINDERS = DEBUG or not (STATIC_ROOT / "staticfiles.json").exists()
WHITENOISE_AUTOREFRESH = DEBUG

# --- Log of the processes ---------------------------------------------------------------------

# Without one only root of the installation sees the figures for monitoring.
RUNSITE_METRICS_TOKEN = env.secret("RUNSITE_METRICS_TOKEN")
RUNSITE_LOG_LEVEL = env.text(
    "RUNSITE_LOG_LEVEL", "INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR")
)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
    },
    "filters": {"secrets": {"()": "runsite.log_secrets.HideSecrets"}},
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": "line",
            "filters": ["secrets"],
        }
    },
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        "runs": {"level": RUNSITE_LOG_LEVEL},
        "runsite": {"level": RUNSITE_LOG_LEVEL},
        # Whoever sends a wrong host gets 400; two tracebacks each would roll the log over.
        "django.security.DisallowedHost": {"handlers": [], "propagate": False},
        # The default configuration mails errors and prints only in DEBUG.
        "django": {"handlers": [], "level": "INFO", "propagate": True},
        "django.server": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
    },
}
