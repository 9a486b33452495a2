"""What is set for pip reaches the installer, in its own words."""

from __future__ import annotations

from pathlib import Path

from runs.execution.package_index import index_environment, without_default_index


def of(environ: dict[str, str], **files: Path) -> dict[str, str]:
    """What the installer gets, without the PIP settings of this machine."""
    return index_environment(environ, system_files=tuple(files.values()))


def test_nothing_of_the_worker_is_passed_on_but_what_concerns_packages(tmp_path):
    environ = {
        "PATH": "/bin",
        "HOME": str(tmp_path),
        "RUNSITE_SECRET_KEY": "secret",
        "OUTPUT": "x",
        "UV_CACHE_DIR": "/elsewhere",
        "UV_PYTHON": "/elsewhere",
        "https_proxy": "http://proxy.example:3128",
        "UV_INDEX_PRIVATE_PASSWORD": "for the installer",
    }
    assert of(environ) == {
        "PATH": "/bin",
        "XDG_CONFIG_HOME": f"{tmp_path}/.config",
        "https_proxy": "http://proxy.example:3128",
        "UV_INDEX_PRIVATE_PASSWORD": "for the installer",
    }


def test_pip_variables_are_translated(tmp_path):
    found = of(
        {
            "PIP_INDEX_URL": "https://index.example/simple",
            "PIP_EXTRA_INDEX_URL": f"https://more.example/simple file://{tmp_path} file:///none/x",
            "PIP_FIND_LINKS": f"{tmp_path} /none/there https://links.example/",
            "PIP_CERT": "/etc/ca.pem",
            "PIP_TIMEOUT": "60",
            "PIP_TRUSTED_HOST": "more.example",
            "PIP_NO_INDEX": "",
        }
    )
    assert found == {
        "UV_DEFAULT_INDEX": "https://index.example/simple",
        "UV_INDEX": f"https://more.example/simple file://{tmp_path}",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": f"{tmp_path},https://links.example/",
        "SSL_CERT_FILE": "/etc/ca.pem",
        "UV_HTTP_TIMEOUT": "60",
        "UV_INSECURE_HOST": "more.example",
    }


def test_pip_files_are_read_in_their_order_below_the_variables(tmp_path):
    system = tmp_path / "system.conf"
    system.write_text("[global]\nindex-url = https://system.example\ntimeout = 5\n")
    home = tmp_path / "home"
    (home / ".config" / "pip").mkdir(parents=True)
    (home / ".config" / "pip" / "pip.conf").write_text(
        "[global]\nindex_url = https://user.example\nfind-links =\n    https://a.example/\n"
        "    https://b.example/\n[install]\nno-index = true\n[search]\nindex = x\n"
    )
    found = of({"HOME": str(home)}, system=system)
    assert found["UV_DEFAULT_INDEX"] == "https://user.example"
    assert found["UV_FIND_LINKS"] == "https://a.example/,https://b.example/"
    assert found["UV_NO_INDEX"] == "1"
    assert found["UV_HTTP_TIMEOUT"] == "5"
    environ = {"HOME": str(home), "PIP_INDEX_URL": "https://variable.example"}
    assert of(environ, system=system)["UV_DEFAULT_INDEX"] == "https://variable.example"


def test_a_chosen_file_ranks_above_the_others_and_the_null_device_turns_all_off(tmp_path):
    system, chosen = tmp_path / "system.conf", tmp_path / "chosen.conf"
    system.write_text("[global]\nindex-url = https://system.example\n")
    chosen.write_text("[global]\nindex-url = https://chosen.example\n")
    found = of({"PIP_CONFIG_FILE": str(chosen)}, system=system)
    assert found["UV_DEFAULT_INDEX"] == "https://chosen.example"
    assert of({"PIP_CONFIG_FILE": "/dev/null"}, system=system) == {}


def test_settings_for_the_installer_itself_rank_above_those_for_pip(tmp_path):
    found = of({"UV_INDEX": "https://mine.example", "PIP_INDEX_URL": "https://pip.example"})
    assert found == {"UV_INDEX": "https://mine.example"}


def test_a_broken_file_is_passed_over(tmp_path):
    broken, binary = tmp_path / "broken.conf", tmp_path / "binary.conf"
    broken.write_text("index-url = nowhere\n")
    binary.write_bytes(b"[global]\nindex-url = \xff\n")
    assert of({}, broken=broken, binary=binary, missing=tmp_path / "missing") == {}


def test_a_netrc_is_named(tmp_path):
    (tmp_path / ".netrc").write_text("machine example login a password b\n")
    assert of({"HOME": str(tmp_path)})["NETRC"] == f"{tmp_path}/.netrc"


def test_local_places_can_do_without_the_public_index():
    local = {"UV_INDEX": "https://a.example/ file:///b file:///c", "X": "1"}
    assert without_default_index(local) == {
        "UV_DEFAULT_INDEX": "file:///b",
        "UV_INDEX": "file:///c",
        "X": "1",
    }
    links = {"UV_FIND_LINKS": "/wheels"}
    assert without_default_index(links) == {**links, "UV_NO_INDEX": "1"}
    assert without_default_index({}) is None
    assert without_default_index({"UV_INDEX": "https://a.example/"}) is None
    assert without_default_index({**links, "UV_DEFAULT_INDEX": "https://a.example/"}) is None
