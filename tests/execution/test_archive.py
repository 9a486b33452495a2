"""Archives in: what is accepted, and that the hostile ones leave nothing behind."""

from __future__ import annotations

import gzip
import io
import itertools
import os
import random
import stat
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from runs.execution.archive import (
    ArchiveRefused,
    common_root,
    list_entries,
    open_archive,
    read_member,
    unpack,
)

FILES = {"app.yaml": b"type: python\n", "main.py": b"print(1)\n", "data/täble.csv": b"a,b\n" * 9000}


def make_zip(files: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, compress_type=method)
    return buffer.getvalue()


def make_tar(
    files: dict[str, bytes], *, mode: str = "w", tar_format: int = tarfile.PAX_FORMAT
) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=tar_format) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def make_tar_of(*infos: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for info in infos:
            archive.addfile(info, io.BytesIO(bytes(info.size)))
    return buffer.getvalue()


def tar_info(name: str, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(info, key, value)
    return info


MAKERS: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "zip": make_zip,
    "zip stored": lambda files: make_zip(files, method=zipfile.ZIP_STORED),
    "tar": make_tar,
    "tar gnu": lambda files: make_tar(files, tar_format=tarfile.GNU_FORMAT),
    "tar.gz": lambda files: make_tar(files, mode="w:gz"),
}


@pytest.fixture(params=list(MAKERS))
def make(request: pytest.FixtureRequest) -> Callable[[dict[str, bytes]], bytes]:
    return MAKERS[request.param]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refuse(data: bytes, place: Path, match: str = "archive|entry|name", **limits: int) -> str:
    """Check that `data` is refused with nothing left beside it; the message."""
    with pytest.raises(ArchiveRefused, match=f"(?i){match}") as refusal:
        unpack(io.BytesIO(data), place / "out", **limits)
    assert list(place.iterdir()) == []
    assert list(place.parent.iterdir()) == [place]
    return str(refusal.value)


def test_every_kind_is_unpacked_whole_and_told_apart_by_content(make, tmp_path):
    path = tmp_path / "misleading.name"
    path.write_bytes(make(FILES))
    entries = unpack(path, tmp_path / "out")
    assert tree(tmp_path / "out") == FILES
    assert {entry.name: entry.size for entry in entries} == {k: len(v) for k, v in FILES.items()}
    assert sorted(item.name for item in tmp_path.iterdir()) == ["misleading.name", "out"]


def test_the_list_says_what_would_be_unpacked(make, place):
    data = make(FILES)
    assert list_entries(io.BytesIO(data)) == list_entries(io.BytesIO(data))
    listed = [(entry.name, entry.size) for entry in list_entries(io.BytesIO(data))]
    unpacked = [(entry.name, entry.size) for entry in unpack(io.BytesIO(data), place / "out")]
    assert listed == unpacked == [(name, len(content)) for name, content in FILES.items()]


def test_one_member_can_be_read(make):
    data = make(FILES)
    assert read_member(io.BytesIO(data), "app.yaml", 1000) == FILES["app.yaml"]
    assert read_member(io.BytesIO(data), "missing", 1000) is None
    assert read_member(io.BytesIO(data), "data", 1000) is None
    with pytest.raises(ArchiveRefused, match=r"`app\.yaml` in the archive"):
        read_member(io.BytesIO(data), "app.yaml", 5)


def test_the_kind_is_known_after_opening():
    for name, maker in MAKERS.items():
        with open_archive(io.BytesIO(maker(FILES))) as archive:
            assert archive.kind == name.split()[0]


def test_a_given_file_stays_open_and_a_path_is_closed(tmp_path):
    file = io.BytesIO(make_zip(FILES))
    with open_archive(file):
        pass
    assert not file.closed


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../up",
        "a/../../up",
        "a/..",
        "..",
        "a\\b",
        "..\\up",
        "C:\\x",
        "C:/x",
        "c:x",
        "new\nline",
        "esc\x1b[31m",
        "x" * 256,
        "ü" * 128,
        "/".join(["x" * 200] * 6),
        "/".join(["d"] * 101),
    ],
)
def test_names_that_lead_elsewhere_or_cannot_be_kept_are_refused(make, place, name):
    message = refuse(make({"good": b"1", name: b"2"}), place)
    assert "Archive entry `" in message
    assert message.isprintable()
    assert len(message) < 400


def test_a_name_with_a_nul_byte_is_refused(place):
    data = make_zip({"good": b"1", "ab_cd": b"2"}).replace(b"ab_cd", b"ab\0cd")
    refuse(data, place, "control character")
    pax = make_tar({"ä" + "x" * 120 + "_y": b"2"})
    at = pax.index(b"x_y\n")
    refuse(pax[:at] + b"x\0y" + pax[at + 3 :], place, "control character")


@pytest.mark.parametrize("name", ["./a//b/./c", "a/b/c", "./a/b/c"])
def test_needless_parts_of_names_are_left_out(make, place, name):
    assert [entry.name for entry in unpack(io.BytesIO(make({name: b"1"})), place / "o")] == [
        "a/b/c"
    ]
    assert tree(place / "o") == {"a/b/c": b"1"}


def test_names_at_the_limits_are_fine(make, place):
    names = ["x" * 255, "/".join(["y" * 204] * 5), "/".join(["d"] * 100)]
    unpack(io.BytesIO(make(dict.fromkeys(names, b"1"))), place / "out")
    assert sorted(tree(place / "out")) == sorted(names)


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (tarfile.SYMTYPE, "symbolic link"),
        (tarfile.LNKTYPE, "hard link"),
        (tarfile.CHRTYPE, "device"),
        (tarfile.BLKTYPE, "device"),
        (tarfile.FIFOTYPE, "pipe"),
        (tarfile.GNUTYPE_SPARSE, "sparse"),
        (b"M", "another archive"),
        (b"Q", "unknown kind"),
    ],
)
def test_anything_but_files_and_folders_is_refused_in_a_tar(place, kind, word):
    header = tar_info("item", type=kind, linkname="good").tobuf(tarfile.GNU_FORMAT)
    message = refuse(make_tar({"good": b"1"})[:1024] + header + bytes(1024), place, word)
    assert "`item`" in message


def test_a_link_and_a_file_written_through_it_do_not_leave_the_place(place, tmp_path):
    outside = tmp_path / "place" / "outside"
    data = make_tar_of(
        tar_info("a", type=tarfile.SYMTYPE, linkname=str(outside)), tar_info("a/evil", size=3)
    )
    refuse(data, place)


@pytest.mark.parametrize(
    ("mode", "word"),
    [
        (stat.S_IFLNK | 0o777, "symbolic link"),
        (stat.S_IFIFO | 0o644, "neither"),
        (stat.S_IFCHR | 0o644, "neither"),
    ],
)
def test_anything_but_files_and_folders_is_refused_in_a_zip(place, mode, word):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("item")
        info.external_attr = mode << 16
        archive.writestr(info, "/etc/passwd")
    refuse(buffer.getvalue(), place, word)


def test_a_pax_sparse_file_is_refused(place):
    info = tar_info("item", pax_headers={"GNU.sparse.major": "1"})
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info)
    refuse(buffer.getvalue(), place, "sparse")


def test_the_same_file_twice_is_refused(place):
    refuse(make_tar_of(tar_info("a"), tar_info("b"), tar_info("./a")), place, "`a` occurs twice")
    data = make_zip({"a": b"1", "b": b"2"}).replace(b"b", b"a")
    refuse(data, place, "`a` occurs twice")


@pytest.mark.parametrize(
    "names",
    [["a", "a/b"], ["a/b", "a"], ["a/b/c", "a/b"], ["a", "a/b/c/d"]],
)
def test_a_file_that_is_also_a_folder_is_refused(make, place, names):
    refuse(make(dict.fromkeys(names, b"1")), place)


def test_folders_may_come_twice_and_empty_ones_are_kept(place):
    folder = {"type": tarfile.DIRTYPE, "mode": 0o700}
    data = make_tar_of(
        tar_info("./", **folder),
        tar_info("a/", **folder),
        tar_info("a/x", size=1),
        tar_info("a", **folder),
        tar_info("empty", **folder),
    )
    assert [entry.name for entry in unpack(io.BytesIO(data), place / "out")] == ["a/x"]
    assert (place / "out" / "empty").is_dir()
    assert stat.S_IMODE((place / "out").stat().st_mode) == 0o755


def test_names_that_differ_by_case_are_two_files(make, place):
    unpack(io.BytesIO(make({"Readme": b"1", "README": b"2"})), place / "out")
    assert tree(place / "out") == {"Readme": b"1", "README": b"2"}


def test_the_size_limit_holds_for_the_sum_and_exactly(make, place):
    data = make({"a": bytes(600), "b": bytes(600)})
    refuse(data, place, "limit of 1199 bytes", limit_bytes=1199)
    unpack(io.BytesIO(data), place / "out", limit_bytes=1200)


def test_the_number_limit_holds_for_files_and_for_folders(make, place):
    data = make({str(number): b"" for number in range(11)})
    refuse(data, place, "more than 10 files", limit_files=10)
    unpack(io.BytesIO(data), place / "out", limit_files=11)
    (place / "out" / "0").unlink()
    deep = make({"/".join("abcdefghijkl") + "/x": b"1"})
    with pytest.raises(ArchiveRefused, match="more than 10 folders"):
        list_entries(io.BytesIO(deep), limit_files=10)


def test_a_bomb_is_refused_without_being_unpacked(place):
    bomb = make_zip({"zeros": bytes(50_000_000)})
    assert len(bomb) < 100_000
    refuse(bomb, place, "limit", limit_bytes=1_000_000)
    tracemalloc.start()
    try:
        refuse(make_tar({"zeros": bytes(1)}, mode="w:gz"), place, "limit", limit_bytes=0)
        tar_bomb = gzip.compress(tar_info("zeros", size=10**12).tobuf() + bytes(10_000_000), 1)
        refuse(tar_bomb, place, "limit", limit_bytes=10**9)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 40_000_000


def test_zeros_without_end_are_not_read_for_ever(place):
    endless = b"".join(gzip.compress(bytes(8_000_000)) for _ in range(4))
    refuse(
        make_tar({"a": b"1"}, mode="w:gz") + endless, place, "limit", limit_bytes=1, limit_files=1
    )


def headers_of(*contents: bytes, kind: bytes) -> bytes:
    """Special headers, one for each content."""
    return b"".join(
        tar_info("x", type=kind, size=len(content)).tobuf(tarfile.USTAR_FORMAT)
        + content
        + bytes(-len(content) % 512)
        for content in contents
    )


def test_special_headers_before_one_entry_do_not_fill_the_memory(place):
    def record(number: int) -> bytes:
        rest = b" k%d=" % number + bytes(900_000) + b"\n"
        return b"%d" % (len(rest) + 6) + rest

    many = gzip.compress(headers_of(*map(record, range(20)), kind=tarfile.XHDTYPE))
    tracemalloc.start()
    try:
        refuse(many + make_tar({"a": b"1"}, mode="w:gz"), place, "too many special headers")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_special_headers_are_not_read_for_ever(place, kind: bytes):
    data = headers_of(*[b"6 a=b\n" * 40_000] * 40, kind=kind)
    refuse(gzip.compress(data) + make_tar({"a": b"1"}, mode="w:gz"), place, "special headers")


def test_many_entries_may_have_long_names(place):
    names = {f"{'d' * 200}/{'f' * 200}-{number}": b"1" for number in range(3000)}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in names.items():
            archive.addfile(tar_info(name, size=1, mtime=1.5), io.BytesIO(content))
    assert len(list_entries(io.BytesIO(buffer.getvalue()))) == 3000


def test_what_is_not_counted_as_a_file_is_limited_too(place):
    one = tar_info("a", size=0).tobuf(tarfile.USTAR_FORMAT)
    folder = tar_info("d/", type=tarfile.DIRTYPE).tobuf(tarfile.USTAR_FORMAT)
    junk = tar_info("__MACOSX/x").tobuf(tarfile.USTAR_FORMAT)
    for again in (folder, junk):
        data = one + again * 400 + bytes(1024)
        refuse(data, place, "more than 310 entries", limit_files=70)


def test_a_zip_that_lies_about_a_size_is_refused(place):
    honest = make_zip({"a": bytes(1000)})
    size = struct.pack("<L", 1000)
    at = honest.rindex(size)
    for lie in (0, 10, 999, 1001, 5000):
        refuse(honest[:at] + struct.pack("<L", lie) + honest[at + 4 :], place, "`a`")


def test_a_zip_with_overlapping_entries_is_refused(place):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("kernel", bytes(100_000))
        archive.filelist.append(archive.filelist[0])
        archive._didModify = True
    refuse(buffer.getvalue(), place, "shares its bytes")


def test_a_zip_entry_inside_another_is_refused(place):
    inner = make_zip({"x" * 5: bytes(10)}, method=zipfile.ZIP_STORED)
    data = bytearray(make_zip({"outer": inner, "xxxxx": bytes(10)}, method=zipfile.ZIP_STORED))
    # The second entry of the directory is pointed at the local header in the first one's content.
    second = data.rindex(b"PK\x01\x02")
    place_in_outer = data.index(b"PK\x03\x04", 10)
    data[second + 42 : second + 46] = struct.pack("<L", place_in_outer)
    refuse(bytes(data), place, "shares its bytes")


@pytest.mark.parametrize("extra", [b"x", b"garbage" * 1000, bytes(70_000)])
def test_a_zip_with_something_behind_or_before_it_is_refused(place, extra):
    data = make_zip(FILES)
    refuse(data + extra, place)
    refuse(extra + data, place)
    refuse(data[:4] + extra + data[4:], place)


def test_a_zip_with_a_comment_is_fine(place):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", b"1")
        archive.comment = b"made by hand PK\x05\x06 twice"
    unpack(io.BytesIO(buffer.getvalue()), place / "out")
    assert tree(place / "out") == {"a": b"1"}


def test_an_encrypted_zip_is_refused_with_the_remedy(place):
    data = bytearray(make_zip({"secret": b"1"}))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert "password" in refuse(bytes(data), place, "`secret` is encrypted")


def test_other_methods_of_compression_are_refused_by_name(place):
    refuse(make_zip({"a": b"1" * 99}, method=zipfile.ZIP_BZIP2), place, "bzip2")
    refuse(make_zip({"a": b"1" * 99}, method=zipfile.ZIP_LZMA), place, "LZMA")


def test_two_names_for_one_zip_entry_are_refused(place):
    data = make_zip({"good.txt": b"1"})
    refuse(data.replace(b"good.txt", b"evil.txt", 1), place, "not where the archive says")


def test_a_zip64_archive_is_read(place):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        with archive.open(zipfile.ZipInfo("a"), "w", force_zip64=True) as entry:
            entry.write(b"large")
        archive.writestr("b", b"small")
        # As if there were too many entries for the old end record.
        archive.start_dir = archive.fp.tell()
    data = buffer.getvalue()
    end = data.rindex(b"PK\x05\x06")
    _, _, _, count, _, length, start, _ = struct.unpack("<4s4H2LH", data[end:])
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, length, start)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    old_end = struct.pack(
        "<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0
    )
    unpack(io.BytesIO(data[:end] + end64 + locator + old_end), place / "out")
    assert tree(place / "out") == {"a": b"large", "b": b"small"}


def test_a_streamed_zip_is_read(place):
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.data = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: bytes) -> int:
            self.data += data
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in FILES.items():
            archive.writestr(name, data)
    unpack(io.BytesIO(bytes(pipe.data)), place / "out")
    assert tree(place / "out") == FILES


def test_a_zip_name_in_an_old_code_page_is_read_and_a_lie_about_utf8_refused(place):
    data = make_zip({"gr__e.csv": b"1"}).replace(b"gr__e", b"gr\x94\xe1e")
    assert [entry.name for entry in list_entries(io.BytesIO(data))] == ["größe.csv"]
    flagged = bytearray(data)
    flagged[data.index(b"PK\x01\x02") + 9] |= 0x08
    refuse(bytes(flagged), place, "not UTF-8")


def test_a_tar_name_that_is_not_utf8_is_refused(place):
    buffer = io.BytesIO()
    with tarfile.open(
        fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT, encoding="latin-1"
    ) as archive:
        archive.addfile(tarfile.TarInfo("größe"))
    refuse(buffer.getvalue(), place, "not UTF-8")


def test_a_huge_extended_header_is_refused_without_reading_it_into_memory(place):
    for kind in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME):
        header = tar_info("x", type=kind, size=900_000_000).tobuf(tarfile.GNU_FORMAT)
        tracemalloc.start()
        try:
            refuse(header + bytes(4096), place, "header of 900000000 bytes")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 4_000_000


@pytest.mark.parametrize(
    "records",
    [
        b"x",
        b"5 a=b",
        b"99 path=x\n",
        b"0 a=b\n",
        b"9 novalue\n",
        b"-1 a=b\n",
        b"999999999999 a=b\n",
    ],
)
def test_a_damaged_extended_header_is_refused(place, records):
    header = tar_info("x", type=tarfile.XHDTYPE, size=len(records)).tobuf(tarfile.GNU_FORMAT)
    data = header + records + bytes(-len(records) % 512) + make_tar({"a": b"1"})
    refuse(data, place, "extended header")


def test_a_pax_size_is_followed(place):
    content = b"x" * 700
    record = b"12 size=700\n"
    data = (
        tar_info("p", type=tarfile.XHDTYPE, size=len(record)).tobuf(tarfile.GNU_FORMAT)
        + record.ljust(512, b"\0")
        + tar_info("a", size=0).tobuf(tarfile.GNU_FORMAT)
        + content.ljust(1024, b"\0")
        + make_tar({"b": b"1"})
    )
    unpack(io.BytesIO(data), place / "out")
    assert tree(place / "out") == {"a": content, "b": b"1"}


def test_a_tar_made_of_several_gzip_members_is_read_whole(place):
    plain = make_tar(FILES)
    cuts = [0, 100, 512, 5000, 5001, 30_000, len(plain)]
    data = b"".join(gzip.compress(plain[a:b]) for a, b in itertools.pairwise(cuts))
    unpack(io.BytesIO(data), place / "out")
    assert tree(place / "out") == FILES


def test_two_joined_archives_are_read_as_one(place):
    data = make_tar({"a": b"1"}, mode="w:gz") + make_tar({"b": b"2"}, mode="w:gz")
    unpack(io.BytesIO(data), place / "out")
    assert tree(place / "out") == {"a": b"1", "b": b"2"}
    refuse_twice = make_tar({"a": b"1"}, mode="w:gz") * 2
    with pytest.raises(ArchiveRefused, match="occurs twice"):
        list_entries(io.BytesIO(refuse_twice))


def test_broken_gzip_is_refused(place):
    good = make_tar(FILES, mode="w:gz")
    refuse(good[:-4], place, "gzip")
    refuse(good[:-8] + bytes(8), place, "gzip")
    refuse(good + b"garbage", place, "gzip")
    refuse(good[:12] + b"\xff\xff\xff" + good[15:], place)
    refuse(gzip.compress(b"just a text" * 200), place, "header")


def test_every_truncation_is_refused(make, place):
    data = make({"a": b"12345", "b/c": os.urandom(600)})
    # The second end mark of a tar and the padding behind it say nothing.
    needed = len(data) if data[:2] in (b"PK", b"\x1f\x8b") else len(data.rstrip(b"\0")) + 1
    for end in range(0, min(needed, len(data) - 1), 7):
        refuse(data[:end], place)


def test_no_mutation_escapes_or_raises_anything_else(make, tmp_path):
    chance = random.Random(20)
    messages: list[str] = []
    good = make({"a.txt": b"hello" * 50, "folder/b": b"x" * 700, "c": b""})
    for number in range(400):
        data = bytearray(good)
        for _ in range(chance.choice([1, 1, 2, 8])):
            data[chance.randrange(len(data))] = chance.randrange(256)
        place = tmp_path / "sub" / "place"
        place.mkdir(parents=True, exist_ok=True)
        try:
            unpack(io.BytesIO(bytes(data)), place / str(number), limit_bytes=10_000)
        except ArchiveRefused as refusal:
            messages.append(str(refusal))
            assert not (place / str(number)).exists()
        assert {path.name for path in place.iterdir()} <= {str(n) for n in range(number + 1)}
        assert [path.name for path in tmp_path.iterdir()] == ["sub"]
    assert len(messages) > 50
    assert all(message.isprintable() for message in messages)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"),
        (b"hello", "not an archive"),
        (b"x" * 5000, "not an archive"),
        (b"BZh91AY", "bzip2"),
        (b"\xfd7zXZ\x00rest", "xz"),
        (b"\x28\xb5\x2f\xfdrest", "Zstandard"),
        (b"7z\xbc\xaf\x27\x1crest", "7-Zip"),
        (b"Rar!\x1a\x07rest", "RAR"),
        (bytes(10240), "no files"),
        (make_zip({}), "no files"),
        (make_tar({}), "no files"),
        (make_tar({}, mode="w:gz"), "no files"),
        (make_zip({"__MACOSX/._a": b"1", ".DS_Store": b"2"}), "no files"),
    ],
    # Not the bytes themselves: a gzip holds the time, and names must be the same for all workers.
    ids=lambda value: value if isinstance(value, str) else "data",
)
def test_what_is_no_archive_or_an_empty_one_is_named(place, data, word):
    refuse(data, place, word)


def test_only_the_executable_bit_is_kept(place):
    data = make_tar_of(
        tar_info("run", mode=0o6711, uid=1234, gid=99, mtime=1_700_000_000),
        tar_info("data", mode=0o000, mtime=2**40),
        tar_info("old", mode=0o1666, mtime=0),
    )
    entries = {entry.name: entry for entry in unpack(io.BytesIO(data), place / "out")}
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (place / "out").iterdir()}
    assert modes == {"run": 0o755, "data": 0o644, "old": 0o644}
    assert entries["run"].executable
    assert not entries["data"].executable
    assert (place / "out" / "run").stat().st_uid == os.getuid()
    assert (place / "out" / "run").stat().st_mtime == 1_700_000_000
    assert (place / "out" / "data").stat().st_mtime < 2**33
    assert (place / "out" / "old").stat().st_mtime > 1_000_000_000


def test_the_executable_bit_of_a_zip_is_kept(place):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, mode in (("run", 0o104755), ("data", 0o100600)):
            info = zipfile.ZipInfo(name, (2025, 6, 1, 12, 0, 0))
            info.external_attr = mode << 16
            archive.writestr(info, b"1")
    unpack(io.BytesIO(buffer.getvalue()), place / "out")
    assert stat.S_IMODE((place / "out" / "run").stat().st_mode) == 0o755
    assert stat.S_IMODE((place / "out" / "data").stat().st_mode) == 0o644
    assert (place / "out" / "run").stat().st_mtime == 1_748_779_200


def test_what_macos_adds_is_left_out(make, place):
    files = {
        "app/app.yaml": b"1",
        "app/.DS_Store": b"2",
        "app/._app.yaml": b"3",
        "__MACOSX/app/._app.yaml": b"4",
        "app/.env.example": b"5",
    }
    entries = unpack(io.BytesIO(make(files)), place / "out", strip_root_of="app.yaml")
    assert [entry.name for entry in entries] == ["app.yaml", ".env.example"]
    assert tree(place / "out") == {"app.yaml": b"1", ".env.example": b"5"}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["top/app.yaml", "top/x/main.py"], ["app.yaml", "x/main.py"]),
        (["app.yaml", "x/main.py"], ["app.yaml", "x/main.py"]),
        (["top/app.yaml", "other/main.py"], ["top/app.yaml", "other/main.py"]),
        (["top/app.yaml", "main.py"], ["top/app.yaml", "main.py"]),
        (["top/inner/app.yaml", "top/main.py"], ["top/inner/app.yaml", "top/main.py"]),
        (["top/main.py"], ["top/main.py"]),
    ],
)
def test_a_single_top_folder_is_left_out_if_it_holds_the_file(make, place, names, expected):
    data = make(dict.fromkeys(names, b"1"))
    entries = unpack(io.BytesIO(data), place / "out", strip_root_of="app.yaml")
    assert [entry.name for entry in entries] == expected
    assert sorted(tree(place / "out")) == sorted(expected)
    assert [path.name for path in place.iterdir()] == ["out"]


def test_the_common_root_of_names():
    assert common_root(["a/b", "a/c/d"]) == "a/"
    assert common_root(["a/b", "b"]) == ""
    assert common_root(["a", "b"]) == ""
    assert common_root([]) == ""


def test_an_existing_target_is_left_alone(place):
    data = io.BytesIO(make_zip(FILES))
    (place / "out").mkdir()
    (place / "out" / "mine").write_bytes(b"1")
    with pytest.raises(FileExistsError):
        unpack(data, place / "out")
    assert tree(place) == {"out/mine": b"1"}
    (place / "out" / "mine").unlink()
    unpack(data, place / "out")
    assert tree(place / "out") == FILES


def test_deflated_data_that_ends_on_the_edge_of_a_chunk_is_read(place):
    sizes = [0, 1, 64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1, 3 * 64 * 1024]
    files = {str(size): bytes(size) for size in sizes}
    files |= {f"r{size}": random.Random(size).randbytes(size) for size in sizes}
    unpack(io.BytesIO(make_zip(files)), place / "out")
    assert tree(place / "out") == files


def test_damaged_content_of_a_zip_is_found(place):
    data = bytearray(make_zip({"a": b"hello world"}, method=zipfile.ZIP_STORED))
    data[data.index(b"hello")] ^= 1
    refuse(bytes(data), place, "damaged")
    deflated = bytearray(make_zip({"a": os.urandom(5000)}))
    assert zlib.crc32(deflated)
    deflated[60] ^= 0xFF
    refuse(bytes(deflated), place, "damaged|`a`")
