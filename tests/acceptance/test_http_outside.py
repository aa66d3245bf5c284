"""The HTTP door for other hosts: names, TLS, a proxy before it, and who may come in by which token."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.acceptance.http_service import HttpService, http_service
from tests.acceptance.terminal import operators_terminal
from tests.acceptance.test_http_door import refused

NAME = "memory.example.com"


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for loopback and NAME; return its file and that of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName(
        [x509.DNSName(NAME), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "chain.pem", folder / "key.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return files


def session_token(service: HttpService, folder: Path) -> str:
    """Return a session token that the operator issues."""
    environment = {"HOME": str(folder), "PATH": "/usr/bin:/bin", "ZC_HOME": str(service.home)}
    with operators_terminal(environment, service.project) as operator:
        code, said = operator.zc("token issue alice worker")
        assert code == 0, said
    return said.strip()


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[HttpService, str]]:
    """A service behind a proxy, and a session token for it."""
    folder = tmp_path_factory.mktemp("proxied")
    with http_service(folder, ZC_HTTP_BEHIND_PROXY="1", ZC_HTTP_NAMES=NAME) as running:
        subprocess.run(["git", "init", "-q"], cwd=running.project, check=True)
        yield running, session_token(running, folder)


def test_behind_a_proxy_a_session_token_counts_and_the_doors_own_does_not(
    proxied: tuple[HttpService, str],
) -> None:
    service, token = proxied
    with service.stranger() as client:
        by_name = {"Host": NAME, "Origin": f"https://{NAME}", "Authorization": f"Bearer {token}"}
        assert client.post("/api/v1/status", headers=by_name, json={}).status_code == 200
        for host in (NAME, f"127.0.0.1:{service.port}"):
            own = {"Host": host, "Authorization": f"Bearer {service.token}"}
            refused(client.post("/api/v1/status", headers=own, json={}), 401, "unauthenticated")


def test_w_25_behind_a_proxy_nothing_that_a_request_says_of_its_way_is_believed(
    proxied: tuple[HttpService, str],
) -> None:
    """W-25: forwarded names and addresses let nobody in, and only the configured names are ours."""
    service, token = proxied
    bearer = {"Authorization": f"Bearer {token}"}
    with service.stranger() as client:
        for headers in (
            {"Host": "evil.example.com", "X-Forwarded-Host": NAME},
            {"Host": f"{NAME}.evil.example.com"},
            {"Host": f"{NAME}:1"},
            {"Host": f"x.{NAME}"},
        ):
            refused(
                client.post("/api/v1/status", headers={**bearer, **headers}, json={}), 403, "foreign_host"
            )
        for origin in (f"http://{NAME}", f"https://x.{NAME}", "null"):
            foreign = {**bearer, "Host": NAME, "Origin": origin}
            refused(client.post("/api/v1/status", headers=foreign, json={}), 403, "foreign_origin")
        local = {"Host": NAME, "Authorization": f"Bearer {service.token}", "X-Forwarded-For": "127.0.0.1"}
        answer = client.post("/api/v1/status", headers=local, json={})
        refused(answer, 401, "unauthenticated")
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_with_tls_the_door_speaks_nothing_else(tmp_path: Path) -> None:
    chain, key = certificate(tmp_path)
    tls = {
        "ZC_TLS_CERT": str(chain),
        "ZC_TLS_KEY": str(key),
        "ZC_HTTP_HOST": "0.0.0.0",
        "ZC_HTTP_NAMES": NAME,
    }
    with http_service(tmp_path / "tls", **tls) as service:
        assert service.url.startswith("https://127.0.0.1:")
        trust = ssl.create_default_context(cafile=str(chain))
        with httpx.Client(
            base_url=service.url, verify=trust, headers=service.headers, trust_env=False
        ) as client:
            assert client.post("/api/v1/status", json={}).status_code == 200
            named = {"Host": f"{NAME}:{service.port}"}
            assert client.post("/api/v1/status", headers=named, json={}).status_code == 200
            zero = {"Host": f"0.0.0.0:{service.port}"}
            refused(client.post("/api/v1/status", headers=zero, json={}), 403, "foreign_host")
        with pytest.raises(httpx.HTTPError), httpx.Client(trust_env=False) as plain:
            plain.get(f"http://127.0.0.1:{service.port}/health")


def test_a_certificate_that_cannot_be_used_opens_no_door(tmp_path: Path) -> None:
    (tmp_path / "chain.pem").write_text("no certificate")
    tls = {"ZC_TLS_CERT": str(tmp_path / "chain.pem"), "ZC_TLS_KEY": str(tmp_path / "missing.pem")}
    with http_service(tmp_path / "bad", **tls) as service:
        assert service.url == "" and "tls_unusable" in service.status()["http_trouble"]
