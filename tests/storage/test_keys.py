"""Key layouts: sorted, safe, and together under one prefix."""

from __future__ import annotations

import pytest

from runs.storage import keys
from runs.storage.base import InvalidKey, check_folder, check_key

ALL_KEYS = [
    keys.executable_archive(3, 14),
    keys.environment_log(5),
    keys.upload("u-1"),
    keys.received_upload("u-1", "n-1"),
    keys.input_file(7, 0),
    keys.input_file(7, 1),
    keys.stdout("r1", 1),
    keys.log("r1", 1),
    keys.log_index("r1", 1),
    keys.log_part("r1", 1, 0),
    keys.usage("r1", 1),
    keys.statistics("r1", 1),
    keys.metrics("r1", 1),
    keys.series("r1", 1),
    keys.output_file("r1", 1, 0),
    keys.asset("r1", 1, 0),
    keys.stdout("r1", 2),
]


def test_no_two_things_share_a_key_and_every_store_takes_them():
    assert len(set(ALL_KEYS)) == len(ALL_KEYS)
    for key in ALL_KEYS:
        check_key(key)


def test_everything_of_a_run_lies_below_its_prefix():
    for key in ALL_KEYS[6:]:
        assert key.startswith(keys.run_prefix("r1"))
    assert keys.stdout("r1", 2).startswith(keys.attempt_prefix("r1", 2))
    assert keys.log_part("r1", 1, 9).startswith(keys.log_parts_prefix("r1", 1))
    assert keys.output_file("r1", 1, 9).startswith(keys.output_prefix("r1", 1))
    assert keys.asset("r1", 1, 9).startswith(keys.assets_prefix("r1", 1))
    assert not keys.stdout("r10", 1).startswith(keys.run_prefix("r1"))


def test_other_prefixes_hold_their_keys():
    assert keys.executable_archive(3, 14).startswith(keys.executable_prefix(3, 14))
    assert keys.upload("u").startswith(keys.upload_prefix("u"))
    assert keys.received_upload("u", "n").startswith(keys.upload_prefix("u"))
    assert keys.input_file(7, 3).startswith(keys.input_prefix(7))
    for prefix in (keys.run_prefix("r"), keys.input_prefix(7), keys.upload_prefix("u")):
        check_folder(prefix)


def test_numbers_sort_as_numbers():
    numbers = [0, 2, 10, 99_999, 12_345_678]
    for name in (keys.output_file, keys.asset, keys.log_part):
        made = [name("r", 1, number) for number in numbers]
        assert made == sorted(made)


@pytest.mark.parametrize("identity", ["..", "", "a/../..", "a\0b", "."])
def test_an_id_that_would_leave_its_place_is_refused(identity):
    for make in (
        lambda: keys.stdout(identity, 1),
        lambda: keys.upload(identity),
        lambda: keys.input_file(identity, 0),
        lambda: keys.executable_archive(identity, 1),
    ):
        with pytest.raises(InvalidKey):
            make()
