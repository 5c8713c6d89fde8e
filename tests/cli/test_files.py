"""Files for secrets."""

import errno
import os
import stat

import pytest

from domokit.auth import Secret
from domokit.cli.files import SecretFile
from domokit.errors import DomoError, InvalidInputError


def test_it_is_whole_or_not_there(tmp_path):
    path = tmp_path / "value"
    with SecretFile(path, overwrite=False) as file:
        assert not path.exists()
        (temporary,) = tmp_path.iterdir()
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
        file.write(Secret("välue"))
        assert path.read_text(encoding="utf-8") == "välue"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_left_where_nothing_was_written(tmp_path):
    with pytest.raises(RuntimeError), SecretFile(tmp_path / "value", overwrite=False):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_dangling_link_is_not_followed(tmp_path):
    path = tmp_path / "value"
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidInputError, match="there already"):
        SecretFile(path, overwrite=False).check()
    with SecretFile(path, overwrite=True) as file:
        file.write(Secret("value"))
    assert not path.is_symlink()
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("taken", [False, True])
def test_file_systems_without_hard_links(tmp_path, monkeypatch, taken):
    def no_links(*arguments):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    path = tmp_path / "value"
    with SecretFile(path, overwrite=False) as file:
        if taken:
            path.write_text("mine")
            with pytest.raises(DomoError, match="could not be written"):
                file.write(Secret("value"))
        else:
            file.write(Secret("value"))
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == ("mine" if taken else "value")
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with SecretFile(tmp_path / "value", overwrite=False) as file, pytest.raises(DomoError, match="No space left"):
        file.write(Secret("value"))
    assert list(tmp_path.iterdir()) == []
