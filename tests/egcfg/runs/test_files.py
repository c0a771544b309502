import errno
import os
import threading

import pytest

from egcfg.errors import RunError
from egcfg.runs.files import create_exclusively, remove_leftovers, write_atomically


def test_a_file_is_replaced_as_a_whole_and_nothing_is_left(tmp_path):
    path = tmp_path / "deep" / "file.json"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(path.parent) == ["file.json"]


def test_new_files_get_the_rights_of_the_users_umask(tmp_path):
    old = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a", b"")
        create_exclusively(tmp_path / "b", b"")
    finally:
        os.umask(old)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in "ab"] == [0o640, 0o640]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_content_and_no_leftovers(tmp_path, monkeypatch, failing):
    path = tmp_path / "file.json"
    write_atomically(path, b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(RunError, match=r"file\.json: No space left on device; make room"):
        write_atomically(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file.json"]


def test_a_path_through_a_file_is_a_run_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for write in (write_atomically, create_exclusively):
        with pytest.raises(RunError, match="cannot write"):
            write(tmp_path / "file" / "below", b"")


@pytest.mark.parametrize("hard_links", [True, False])
def test_one_of_many_creates_a_file(tmp_path, monkeypatch, hard_links):
    if not hard_links:

        def no_links(*_):
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", no_links)
    path = tmp_path / "claim"
    created = []
    start = threading.Barrier(8)

    def create(number):
        start.wait()
        if create_exclusively(path, b"%d" % number):
            created.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(created) == 1
    assert path.read_bytes() == b"%d" % created[0]
    assert os.listdir(tmp_path) == ["claim"]


def test_what_killed_writers_left_goes_once_it_is_old(tmp_path):
    old, young, result = (tmp_path / "c" / name for name in (".tmp-1", ".tmp-2", "task_id=1.json"))
    old.parent.mkdir()
    for path in (old, young, result):
        path.touch()
    for path in (old, result):
        os.utime(path, (0, 0))
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in old.parent.iterdir()) == [".tmp-2", "task_id=1.json"]
    remove_leftovers(tmp_path / "absent")
