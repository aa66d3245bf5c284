"""What a system service is made of: units, a user and a group of its own, the map of users. Texts alone.

The service runs as ``securecontext``, who alone can read ``/var/lib/securecontext`` with data and keys. Clients are
members of ``securecontext-users`` and come to a socket that systemd opens (root's, 0660); who they are the kernel says.
The unit gives the service no network, no capability and no sight of home folders: it needs none of them.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final

USER: Final = "securecontext"
GROUP: Final = "securecontext-users"
DATA: Final = "/var/lib/securecontext"
SOCKET: Final = "/run/securecontext/system.sock"
PRINCIPALS: Final = "/etc/securecontext/principals"
SYSUSERS: Final = "/etc/sysusers.d/securecontext.conf"
SOCKET_UNIT: Final = "/etc/systemd/system/securecontext.socket"
SERVICE_UNIT: Final = "/etc/systemd/system/securecontext.service"
MARK: Final = "# Written by `zc install --system`; `zc uninstall --system` removes it.\n"


@dataclass(frozen=True, slots=True)
class Member:
    """A user who may use the service."""

    uid: int
    name: str


def files(python: Path, members: tuple[Member, ...]) -> dict[str, str]:
    """Return the text of every file by its path."""
    return {
        SYSUSERS: f'{MARK}u {USER} - "SecureContext\'s service" {DATA} /usr/sbin/nologin\ng {GROUP} -\n',
        PRINCIPALS: principals(members),
        SOCKET_UNIT: _socket(),
        SERVICE_UNIT: _service(python),
    }


def principals(members: tuple[Member, ...]) -> str:
    """Return the map of users."""
    how = "# A line each: <uid> <name>. Who is not named is refused; a change counts from the next connection on.\n"
    return MARK + how + "".join(f"{each.uid} {each.name}\n" for each in members)


def _socket() -> str:
    return f"""{MARK}[Unit]
Description=SecureContext for the users of this machine (socket)

[Socket]
ListenStream={SOCKET}
SocketUser=root
SocketGroup={GROUP}
SocketMode=0660
DirectoryMode=0755

[Install]
WantedBy=sockets.target
"""


def _service(python: Path) -> str:
    return f"""{MARK}[Unit]
Description=SecureContext for the users of this machine
Requires=securecontext.socket
After=securecontext.socket

[Service]
ExecStart={shlex.quote(str(python))} -I -m securecontext serve
User={USER}
Group={USER}
UMask=0077
StateDirectory=securecontext
StateDirectoryMode=0700
RuntimeDirectory=securecontext-service
RuntimeDirectoryMode=0700
Environment=HOME={DATA}
Environment=ZC_HOME={DATA}
Environment=ZC_HTTP_PORT=off
Environment=ZC_PRINCIPALS={PRINCIPALS}
Environment=XDG_RUNTIME_DIR=/run/securecontext-service
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
PrivateNetwork=yes
RestrictAddressFamilies=AF_UNIX
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
"""
