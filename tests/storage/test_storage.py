"""The store of the installation is chosen by the settings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from runs.storage import object_store
from runsite.store_url import parse_store_url

ROOT = Path(__file__).resolve().parents[2]


def test_the_store_lies_in_the_data_directory_and_follows_the_setting(settings, tmp_path):
    settings.RUNSITE_DATA_DIR = tmp_path / "one"
    first = object_store()
    assert object_store() is first
    first.put_bytes("a/b", b"x")
    assert (tmp_path / "one" / "store").is_dir()
    settings.RUNSITE_DATA_DIR = tmp_path / "two"
    assert not object_store().exists("a/b")


def test_an_address_leads_to_the_bucket_and_the_folder_is_not_made(settings, tmp_path, s3):
    settings.RUNSITE_DATA_DIR = tmp_path / "data"
    bucket = s3.new_bucket()
    variables = s3.variables(bucket, "one")
    settings.RUNSITE_STORE = parse_store_url("X", variables["RUNSITE_STORE_URL"])
    settings.RUNSITE_S3_ACCESS_KEY = variables["RUNSITE_S3_ACCESS_KEY"]
    settings.RUNSITE_S3_SECRET_KEY = variables["RUNSITE_S3_SECRET_KEY"]
    store = object_store()
    assert object_store() is store
    store.put_bytes("a/b", b"x")
    names = [each["Key"] for each in s3.client().list_objects_v2(Bucket=bucket)["Contents"]]
    assert names == ["one/a/b"]
    assert not (tmp_path / "data").exists()


def test_a_folder_as_store_loads_nothing_of_s3(tmp_path):
    code = (
        "import os, sys; os.environ['DJANGO_SETTINGS_MODULE'] = 'runsite.settings'\n"
        "from runs.storage import object_store; object_store().put_bytes('a/b', b'x')\n"
        "print([name for name in sys.modules if 'boto' in name or name.endswith('.s3')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT), "RUNSITE_DATA_DIR": str(tmp_path / "data")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == "[]\n", done.stderr
