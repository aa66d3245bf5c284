import stat

import pytest

from securecontext.boundaries.keyring import envelope, key_file
from securecontext.boundaries.keyring.data_keys import FILE_BYTES
from securecontext.types.errors import Unavailable
from tests.keys_case import ROOT, Keys


@pytest.fixture
def keys(tmp_path):
    return Keys(tmp_path / "keys")


def test_nothing_is_made_before_the_first_use(keys):
    assert not keys.folder.exists()
    keys.keys.report()
    assert [file.name for file in keys.folder.iterdir()] == ["data.keys"]
    assert stat.S_IMODE(keys.file.stat().st_mode) == 0o600


def test_the_file_has_the_documented_form(keys):
    keys.encrypt()
    first, body, end = keys.file.read_text().split("\n")
    assert first.startswith("securecontext-data-keys v1 ") and end == ""
    assert [len(part) for part in first.split(" ")[2:]] == [16, 64]
    assert body.startswith('{"keys":[{"destroyed":"","id":"dek_')


def test_two_installations_that_start_at_once_share_one_file(keys):
    first, second = keys, Keys(keys.folder)
    encrypted = first.encrypt()
    assert second.decrypt(encrypted) == first.decrypt(encrypted)
    assert second.encrypt().key_id == encrypted.key_id
    assert Keys(keys.folder).reports()[encrypted.key_id].uses == 2 * 1024


def test_drafts_that_a_crash_left_are_erased_at_the_next_start(keys):
    keys.encrypt()
    draft = keys.folder / ".data.keys.0123456789abcdef"
    draft.write_bytes(b"half")
    (keys.folder / ".data.key").write_bytes(b"another's")
    Keys(keys.folder).keys.report()
    assert sorted(file.name for file in keys.folder.iterdir()) == [".data.key", "data.keys"]


def test_a_file_of_a_later_version_is_left_to_it(keys):
    keys.encrypt()
    later = keys.file.read_bytes().replace(b" v1 ", b" v2 ", 1)
    keys.file.write_bytes(later)
    with pytest.raises(Unavailable) as refused:
        Keys(keys.folder).encrypt()
    assert refused.value.code == "key_file_malformed"
    assert keys.file.read_bytes() == later


def test_a_folder_that_is_gone_is_a_plain_refusal(tmp_path):
    with pytest.raises(Unavailable) as refused:
        Keys(tmp_path / "absent" / "keys").encrypt()
    assert refused.value.code == "key_file_unusable"


def test_as_many_keys_as_are_allowed_fit_into_the_file():
    moment = "2026-11-25T01:02:03.000000Z"
    one = envelope.begin(ROOT, moment).counted(envelope.USES_LIMIT)
    size = len(key_file.written(one.without(one.writing.id, moment), ROOT))
    assert size // 2 * envelope.KEYS_LIMIT < FILE_BYTES
