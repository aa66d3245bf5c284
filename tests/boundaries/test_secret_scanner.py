"""Attacks on the secret scanner. Every secret here is false and put together at run time."""

import base64
import random
import string

import pytest

from securecontext.validators import secrets
from securecontext.validators.secrets import redact, redact_value, scan

ALNUM = string.ascii_letters + string.digits


def letters(size: int, seed: int = 7, alphabet: str = ALNUM) -> str:
    return "".join(random.Random(seed).choices(alphabet, k=size)) if size else ""


def pem(kind: str = "OPENSSH ", lines: int = 6) -> str:
    body = "\n".join(letters(64, seed) for seed in range(lines))
    return "-----BEGIN " + kind + "PRIVATE KEY-----\n" + body + "\n-----END " + kind + "PRIVATE KEY-----"


SECRETS = {
    "anthropic_api_key": "sk-" + "ant-api03-" + letters(60),
    "openai_api_key": "sk-" + "proj-" + letters(48),
    "aws_access_key_id": "AK" + "IA" + letters(16, alphabet=string.ascii_uppercase + string.digits),
    "github_pat": "gh" + "p_" + letters(36),
    "github_fine_grained_pat": "github" + "_pat_" + letters(22) + "_" + letters(59),
    "google_api_key": "AI" + "za" + letters(35),
    "slack_token": "xo" + "xb-" + letters(12, alphabet=string.digits) + "-" + letters(24),
    "stripe_live_key": "sk" + "_live_" + letters(24),
    "gitlab_token": "glp" + "at-" + letters(20, 6),
    "jwt": "ey" + "J" + letters(20) + ".ey" + "J" + letters(40, 8) + "." + letters(43, 9),
    "ssh_private_key": pem(),
    "high_entropy": letters(48, 3),
}
LABELLED = {
    "aws_secret_access_key": ("aws_secret_" + "access_key = ", letters(40, 4)),
    "bearer_token": ("Authorization: " + "Bearer ", letters(24, 5)),
    "connection_password": ("postgres://app:", "hunt3r-two" + "@db/main"),
    "labelled_secret": ("pass" + 'word = "', "correct" + "horse9" + '"'),
}


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("around", ["{}", "the key is {} ok", "x={}", '{{"a": "{}"}}', "a\n{}\nb", "a\\n{}"])
def test_rt_s0_12_the_marker_carries_the_type(kind, around):
    found = redact(around.format(SECRETS[kind]))
    assert f"[REDACTED:{kind}]" in found.text
    assert SECRETS[kind] not in found.text
    assert [finding.type for finding in found.findings] == [kind]


@pytest.mark.parametrize("kind", LABELLED)
def test_rt_s0_12_a_label_stays_and_its_value_goes(kind):
    label, value = LABELLED[kind]
    found = redact(f"see {label}{value} there")
    assert found.text.startswith(f"see {label}[REDACTED:{kind}]")
    assert value[:10] not in found.text


@pytest.mark.parametrize("prefix", ["sk" + "_live_", "pk" + "_live_", "rk" + "_live_"])
def test_rt_s0_12_stripe_prefixes(prefix):
    assert scan(prefix + letters(24))[0].type == "stripe_live_key"


@pytest.mark.parametrize("prefix", ["AKIA", "AGPA", "AIDA", "ANPA", "ANVA", "ASIA"])
def test_rt_s0_12_aws_prefixes(prefix):
    assert scan(prefix + "A1B2C3D4E5F6G7H8")[0].type == "aws_access_key_id"


@pytest.mark.parametrize("kind", SECRETS)
def test_rt_s0_13_what_the_scanner_says_never_holds_the_secret(kind):
    secret = SECRETS[kind]
    (finding,) = scan(f"here: {secret}")
    assert secret not in repr(finding)
    assert finding.masked == f"{secret[:4]}***{secret[-4:]}"
    assert len(finding.fingerprint) == 16
    assert (finding.start, finding.end) == (6, 6 + len(secret))


def test_rt_s0_13_a_short_secret_is_not_shown_at_all():
    (finding,) = scan("pass" + "wd: s3cr" + "3tval")
    assert finding.masked == "***"


def test_rt_s0_13_the_same_secret_has_the_same_fingerprint():
    one, two = scan(SECRETS["github_pat"] + " and " + SECRETS["github_pat"])
    assert one.fingerprint == two.fingerprint


@pytest.mark.parametrize("kind", ["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "])
def test_rt_s0_14_a_pem_block_is_found_whole(kind):
    found = redact("before\n" + pem(kind) + "\nafter")
    assert found.text == "before\n[REDACTED:ssh_private_key]\nafter"


def test_rt_s0_14_a_pem_block_is_found_when_cut_off_or_escaped():
    block = pem()
    assert letters(64, 2) not in redact(block[:300]).text
    escaped = '"' + block.replace("\n", "\\n") + '"'
    assert redact(escaped).text == '"[REDACTED:ssh_private_key]"'


def test_the_password_that_curl_is_given_is_found():
    for text in (
        "curl -u me:hunt3r-two https://x",
        "curl --user 'me:hunt3r-two' x",
        "curl -ume:hunt3r-two x",
    ):
        assert [(f.type, "hunt3r" in redact(text).text) for f in scan(text)] == [
            ("connection_password", False)
        ]


def test_rt_s0_14_a_public_key_and_a_bare_header_are_none():
    public = "-----BEGIN PUBLIC KEY-----"
    assert scan(public + " and -----BEGIN " + "PRIVATE KEY----- begin such files") == ()


@pytest.mark.parametrize(
    "text",
    [
        "pass" + "wd: tr0ub4dor&3",
        "sec" + "ret=abcdefgh",
        "api" + "_key: 'abcd1234efgh'",
        "export DB_PASS" + "WORD=qwertyuiop",
        '{"client_sec' + 'ret": "Zx81-spectrum"}',
        "token" + ' = "abc123def456"',
        "pass" + 'phrase = "correct horse battery staple"',
        "X-Access" + "-Key: abcd1234efgh",
        "private" + "key=abcdefgh1",
        "the staging pass" + "word is hunter22.",
        "the pass" + "word was: `Tr0ub4dor`",
        "our API" + "-key is Zx81Spectrum48k",
        'curl -d "{\\"pass' + 'word\\": \\"Tr0ub4dor99xK\\"}"',
        "mysqldump --pass" + "word hunterhunter shop",
        "tool --db-pass" + "word='hunterhunter' --verbose",
        "tool --api" + "-key=abcdefghij",
    ],
)
def test_labelled_values_are_found(text):
    assert [finding.type for finding in scan(text)] == ["labelled_secret"]


@pytest.mark.parametrize(
    "text",
    [
        'password = "<password>"',
        "password = ${DB_PASSWORD}",
        "password: changeme",
        'password = "changeme123"',
        'secret = "xxxxxxxxxxxx"',
        "password: ********",
        'password = os.environ["DB_PASSWORD"]',
        "password = getpass.getpass()",
        "token = make_token(2026, 'abc')",
        "token: Optional[str] = None",
        "secret: str = field(default_factory=list)",
        "api_key=settings.api_key",
        'PASSWORD_FIELD: password = "user_password"',
        "tokens: 12345678 of 200000000",
        "the password: required, at least twelve characters",
        "connect(password=password, secret=secretvalue)",
        "the password is base64-encoded before it is stored",
        "the password is 12 characters or longer, the token is short-lived",
        "the password is PostgreSQL's own, the secret is separation",
        "the token is validated by OAuth2 and the api key is documented",
        "the token is 20261124, the api key is X-Request-Id2",
        "tool --password --verbose and tool --token-file secrets.txt",
        "a-password manager for everybody, no-token policies",
        "run it with --password $DB_PASSWORD",
        "sudo -u postgres:staff id; docker run -u 1000:1000 image",
        "postgres://user:password@localhost/db",
        "https://user:${PASSWORD}@host/",
        "http://localhost:3000/@scope/name",
        "bearer certificates and bearer of this letter",
        "sk-learn-is-not-a-key-but-a-package-name",
        "commit 3f786850e387550fdab836ed7e6dc881de23001b",
        "3f786850e387550fdab836ed7e6dc881de23001b" + "89c6f3a1d2e4b5c60718293a",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "550e8400-e29b-41d4-a716-446655440000",
        "/usr/lib/python3.11/site-packages/securecontext/storage/migrations/versions/0001_first_tables.py",
        "https://github.com/pypa/setuptools/blob/d8b901bc12ab/docs/pkg_resources.txt#L162-L171",
        "def test_every_letter_and_digit_of_unicode_is_one_token_for_fts5(self)",
        "AbstractSingletonProxyFactoryBeanConfigurationPropertiesBindingPostProcessor",
        "getUserAccountByEmailAddressOrPhoneNumberWithFallbackQuery",
        "from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg, AsyncAdapt_psycopg_cursor",
        "numpy-1.26.4-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "The quick brown fox jumps over the lazy dog, 1234567890 TIMES; Pack my box with five dozen JUGS.",
        "integrity sha512-" + base64.b64encode(random.Random(2).randbytes(64)).decode(),
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5" + letters(48) + " me@host",
    ],
)
def test_ordinary_text_is_left_alone(text):
    assert scan(text) == ()


def test_a_labelled_image_is_left_alone_and_bare_base64_is_not():
    blob = base64.b64encode(random.Random(1).randbytes(300)).decode()
    assert scan(f"![logo](data:image/png;base64,{blob})") == ()
    assert redact(blob).text == "[REDACTED:high_entropy]"


def test_a_marker_does_not_hide_what_stands_beside_it():
    found = redact("pass" + 'word = "hunt3r2x[REDACTED:jwt]"')
    assert "hunt3r2x" not in found.text
    assert found.text.endswith('[REDACTED:jwt]"')


def test_touching_secrets_all_go():
    text = SECRETS["aws_access_key_id"] * 30 + SECRETS["github_pat"] * 3
    found = redact(text)
    assert SECRETS["aws_access_key_id"] not in found.text
    assert redact(found.text).text == found.text


def test_values_are_redacted_at_every_depth():
    secret = SECRETS["github_pat"]
    value = {
        "key": "build-tool",
        "list": [secret, 1, None, True, {"deep": f"a {secret}"}],
        secret: "named by a secret",
        "Password": "short",
        "X-API-Key": ["a", "b"],
        "session_token": None,
    }
    assert redact_value(value) == {
        "key": "build-tool",
        "list": ["[REDACTED:github_pat]", 1, None, True, {"deep": "a [REDACTED:github_pat]"}],
        "[REDACTED:github_pat]": "named by a secret",
        "Password": "[REDACTED:sensitive_name]",
        "X-API-Key": "[REDACTED:sensitive_name]",
        "session_token": None,
    }
    assert redact_value(redact_value(value)) == redact_value(value)


def test_names_that_become_one_are_kept_apart():
    value = {"gh" + "p_" + letters(36, seed): seed for seed in (1, 2)}
    assert redact_value(value) == {"[REDACTED:github_pat]": 1, "[REDACTED:github_pat]#2": 2}


@pytest.mark.parametrize(
    "unit",
    [
        "ey" + "J", "sk" + "-", "password=", 'password="', "A", "://a:", "-----BEGIN " + "PRIVATE KEY-----",
        "bearer ", "secret", "token:", "gh" + "p_", "[REDACTED:", "eyJaaaaaaaaaa.", "a1B2,", "-", "a.",
        "passphrase: `",
        "AK" + "IAA1A1A1A1A1A1A1A1",
    ],
)  # fmt: skip
def test_a_megabyte_of_anything_is_read_to_its_end_in_as_many_readings_as_a_page(unit, monkeypatch):
    """How often a text is read does not grow with it. How long one reading takes is for the bench to say."""
    readings = []
    for rule in ("shaped", "random_runs"):
        read = getattr(secrets, rule)
        monkeypatch.setattr(
            secrets, rule, lambda text, rule=rule, read=read: readings.append((rule, len(text))) or read(text)
        )
    counted = {}
    for characters in (20_000, 1_000_000):
        text = unit * (characters // len(unit))
        readings.clear()
        found = redact(text)
        counted[characters] = [rule for rule, _ in readings]
        assert {length for _, length in readings} <= {len(text), len(found.text)}
        assert redact(found.text).text == found.text
    assert counted[1_000_000] == counted[20_000]
    assert len(counted[20_000]) <= 10


def test_what_comes_within_reach_once_a_secret_is_a_short_marker_is_redacted_at_once():
    """A block of a key is looked for so far and no further; a marker is shorter than what it stands for."""
    filler = "a word " * 2_840
    body = f"@ {filler}api_key={'q7Zk29sLmwQ4xV' * 14} "
    text = f"before -----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY----- after"
    assert len(body) > 20_000 > len(redact(body).text) + 40
    once = redact(text)
    assert once.text == "before [REDACTED:ssh_private_key] after"
    (found,) = once.findings
    assert text[found.start : found.end] == text.removeprefix("before ").removesuffix(" after")


def test_blocks_of_keys_within_one_another_do_not_cost_a_round_each():
    depth = 400
    begins = "".join(f"-----BEGIN {n} PRIVATE KEY-----\n@ {'word ' * 10}" for n in range(depth))
    ends = "".join(f"\n-----END {n} PRIVATE KEY-----" for n in reversed(range(depth)))
    text = f"{begins}{'a word ' * 2_860}api_key={'q7Zk29sLmwQ4xV' * 14} {ends}"
    rounds = 0

    class Counting:
        def hits(self, _text):
            nonlocal rounds
            rounds += 1
            return []

    scan(text, secrets.Outfit(bytes(32), engine=Counting()))
    assert rounds <= 8
