"""Everything that has one owner, put together: stores, keys, ledgers, the corridor."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection

import securecontext.operations  # noqa: F401 - declares the catalogue
from securecontext import __version__
from securecontext.app import replacing
from securecontext.app.backups import Backups
from securecontext.app.elsewhere import BackupsElsewhere
from securecontext.app.folders import Folders
from securecontext.app.gateway import Bearers, open_gateway
from securecontext.app.installed import InstalledCode, remember_anew
from securecontext.app.keeping import Keeping
from securecontext.app.ledgers import Ledgers
from securecontext.app.placing import open_stores
from securecontext.app.presence import Presence
from securecontext.app.queue_turns import QueueTurns
from securecontext.app.restore import Restores
from securecontext.app.retention import Retention
from securecontext.app.rotation import Rotation
from securecontext.app.secret_rules import SecretRules
from securecontext.app.state import StoredState
from securecontext.boundaries import secret_allowances
from securecontext.boundaries.code.installation import Installation
from securecontext.boundaries.crypto import StateEncryption
from securecontext.boundaries.egress.door import Door
from securecontext.boundaries.egress.network import Network
from securecontext.boundaries.identity.credentials import Credentials
from securecontext.boundaries.identity.door_token import FILE as TOKEN_FILE
from securecontext.boundaries.identity.door_token import DoorToken, open_token
from securecontext.boundaries.identity.operator import Operator
from securecontext.boundaries.keyring.bodies import Bodies
from securecontext.boundaries.keyring.data_keys import DataKeys
from securecontext.boundaries.keyring.roots import RootName
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.ledger.anchors import AnchorFile, Anchors
from securecontext.boundaries.ledger.git_notes import GitNotes
from securecontext.boundaries.limits import Gate, Limits
from securecontext.boundaries.policy import Policy, Principal
from securecontext.boundaries.shared_rate import SharedBuckets
from securecontext.boundaries.tokens import TokenKey
from securecontext.pipeline.bell import Bell
from securecontext.pipeline.corridor import Corridor
from securecontext.pipeline.upstreams import Upstreams
from securecontext.pipeline.world import Project, ServiceFacts
from securecontext.sandbox import profiles
from securecontext.sandbox.execution import Executor
from securecontext.sandbox.ladder import Ladder
from securecontext.settings import Settings
from securecontext.storage import copies
from securecontext.storage.port import Store
from securecontext.types.ids import now
from securecontext.types.places import Place
from securecontext.validators import secrets
from securecontext.web.fetch import Fetcher

log = logging.getLogger("securecontext.app")
ANCHORS = "anchors.log"
"""Not `audit.log`, which is the predecessor's."""


class App:
    """Everything that has one owner. Satisfies `pipeline.world.World`.

    Args:
        settings: where the data lies.
        clock: the present moment.

    Attributes:
        bell: wakes calls that wait for something to be stored.
        bodies: seals and opens confidential and restricted texts.
        backups: makes and restores backups.
        data_keys: the keys of stored texts.
        ledgers: what can be done with ledgers.
        operator: the person who may do what agents may not.
        presence: who is connected.
        queue: what is done for the work queues without being asked.
        sandbox: runs code.
        secret_rules: the second set of rules against secrets.
        stores: the databases.
        bell: wakes who waits for others.
        web: fetches pages, where the operator allows it.

    Raises:
        ZcError: the data folder, its keys or the machine's file cannot be used; the error says what to do.
    """

    def __init__(self, settings: Settings, clock: Callable[[], datetime] = now) -> None:
        self.settings = settings
        self.clock = clock
        home = settings.home
        (home / "projects").mkdir(mode=0o700, parents=True, exist_ok=True)
        if replacing.finish(home, clock()):
            log.warning("a backup was restored; what was here before is in %s", home / replacing.BEFORE)
        self._keyring = keyring = Keyring.open(home / "keys", settings.machine_secret)
        rotation = Rotation(home, keyring, clock)
        rotation.of_keys()
        root = keyring.root("encryption")
        self.data_keys = DataKeys(home / "keys", root, clock)
        self.bodies = Bodies(StateEncryption(self.data_keys), root)
        self.operator = Operator(home / "keys")
        self.stores = open_stores(settings, keyring, clock, lambda store: self.ledgers.checkpoint(store))
        self._folders = Folders(self.stores, settings.user_home, clock)
        others: list[Anchors] = [AnchorFile(settings.witness_file)] if settings.witness_file else []
        if settings.witness_git:
            others.append(GitNotes(settings.witness_git))
        self.ledgers = Ledgers(keyring, self.stores, AnchorFile(home / "logs" / ANCHORS), others, clock)
        self.backups: Keeping | BackupsElsewhere = BackupsElsewhere()
        if settings.postgres_url is None:
            self.backups = Keeping(
                Backups(home, keyring, self.data_keys, self.ledgers.checkpoints, clock),
                Restores(home, keyring, self.data_keys, settings.machine_secret, lambda: self.machine, clock),
                self.stores,
            )
        self.secret_rules = SecretRules(home, self.stores, self.bodies, settings.all_secret_rules)
        secrets.wear(key=secret_allowances.fingerprint_key(keyring), allowed=frozenset())
        rotation.of_skills(lambda: self.machine, remember_anew)
        self.code = InstalledCode(Installation.of_this_process(home), keyring, lambda: self.machine)
        for_many = settings.principals is not None
        self.facts = ServiceFacts(
            __version__,
            home,
            os.getpid(),
            clock(),
            "",
            0,
            for_many,
            bool(settings.upstreams),
            engine="postgres" if self.stores.shared else "sqlite",
            open_to_others=settings.open_to_others,
        )
        self.limits = Limits(
            calls_per_second=settings.calls_per_second,
            memory_mb=settings.memory_limit_mb,
            quota_mb=settings.quota_mb,
        )
        shared = SharedBuckets(lambda: self.machine) if self.stores.shared else None
        self.gate = Gate(self.limits, shared=shared)
        self.bell = Bell()
        self.presence = Presence()
        self._retention = Retention(settings.ledger_days)
        self.credentials = Credentials(TokenKey(keyring), lambda: self.machine, clock)
        self.queue = QueueTurns(self.stores, self.presence, self.bell, self.credentials)
        self.state = StoredState(self.stores, keyring, self.credentials.key_id, clock)
        self.web = Fetcher(Door(Network(), lambda draft: self.machine.write(lambda each: each.record(draft))))
        self.sandbox = Executor(Ladder(opted_out=self._unconfined), settings.user_home, home)
        self._gateway = open_gateway(settings, self.bell)
        self.corridor = Corridor(self, Policy(self.operator), self.gate, self.upstreams)

    # World

    @property
    def machine(self) -> Store:
        """The machine's store."""
        return self.stores.machine

    def store(self, project: str) -> Store:
        """Return the store of a project, opening it if need be.

        Raises:
            Expired: the project was merged or deleted while its caller held on to it.
            Unavailable: its file cannot be used, or is gone although the project was used before.
        """
        return self.stores.project(project)

    def kept_in(self, project: str) -> str:
        """Return the name of what keeps a project's store; empty when nothing of it is there."""
        return self.stores.kept_in(project)

    def locate(self, path: str, scope: str = "") -> Place:
        """Return what a folder is as a project, without registering it."""
        return self._folders.locate(path, scope)

    def find_project(self, path: str, scope: str, owner: str = "") -> Project:
        """Return the project of a folder, of another user where an owner is named; a folder that is new gets one."""
        return self._folders.of_another(path, owner) if owner else self._folders.find(path, scope)

    def known_project(self, path: str, scope: str = "") -> str | None:
        """Return the id of a folder's project, registering nothing; None where it has none."""
        return self._folders.known(path, scope)

    def project(self, project: str) -> Project:
        """Return a project by its id."""
        return self._folders.project(project)

    def folders_changed(self, project: str) -> None:
        """Look every folder up again, and let the project's file say which ones lead to it now."""
        self._folders.changed(project)

    def recent_projects(self, limit: int) -> Sequence[Project]:
        """Return the projects used last, newest first."""
        return self._folders.recent(limit)

    def end_project(self, project: str) -> Store:
        """Refuse every later write to a project, and return its store, which can still be read.

        What was acknowledged is in it. Until `settle_project` nobody can use the project.

        Raises:
            Expired: it ends already, or has ended.
        """
        return self.stores.end(project)

    def settle_project(self, project: str) -> None:
        """Bring a project in line with what the register says: used again, emptied as merged, removed as deleted.

        Raises:
            Unavailable: its file cannot be changed or removed now.
        """
        self.stores.settle(project)

    def plan_root(self, name: RootName) -> tuple[str, str]:
        """Have a root rotated at the next start of the service; return its id, and that of the next one."""
        return self._keyring.root_id(name), self._keyring.plan(name)

    def open_copy(self, path: Path) -> AbstractContextManager[Connection]:
        """Open a database file that is not ours to change, read-only."""
        return copies.open_copy(path)

    def set_aside(self) -> Sequence[tuple[Path, Path | None]]:
        """Return the files that were set aside as broken (name they had, where they are kept), or are missing."""
        return self.stores.set_aside()

    def recover(self, path: Path) -> None:
        """Let a fresh file be made in place of one that was set aside, or is missing."""
        self.stores.recover(path)

    def connected(self, who: Principal) -> bool:
        """Say whether a session has a connection of its own just now; callers over HTTP never have one."""
        return (who.name, who.session) in self.presence.sessions()

    # Life

    @property
    def upstreams(self) -> Upstreams | None:
        """The services that hold the data, where this one is a gateway."""
        return None if self._gateway is None else self._gateway.upstreams

    def door_token(self) -> DoorToken:
        """Return the token of the HTTP door, making it at the first use."""
        return open_token(self.door_token_file.parent)

    @property
    def bearers(self) -> Bearers | None:
        """The tokens of sessions, where this service is a gateway."""
        return None if self._gateway is None else self._gateway.bearers

    @property
    def door_token_file(self) -> Path:
        """Where the token of the HTTP door lies."""
        return self.settings.home / "keys" / TOKEN_FILE

    def _unconfined(self) -> bool:
        with self.machine.read() as connection:
            return profiles.unconfined(connection)

    def allow_secrets(self) -> None:
        """Let all who scan know what a person said is no secret; until then it is redacted."""
        with self.machine.read() as connection:
            found = secret_allowances.read(connection)
        secrets.wear(allowed=frozenset(each.fingerprint for each in found))

    def tidy(self) -> None:
        """Drop what has expired; finish what a crash left of ended projects. Never called by a call."""
        self.stores.tidy()
        self._retention.apply(self.stores.every_open(), self.clock())

    def turn_queues(self) -> None:
        """Do what is due in the work queues; a gateway says upstream whose clients are connected here."""
        if self._gateway is None:
            self.queue.turn()
        else:
            self._gateway.say_connected(self.presence.bearers(), self.clock())

    def close(self) -> None:
        """Finish what is queued and close every store."""
        self.bell.close()
        self.sandbox.close()
        if self._gateway is not None:
            self._gateway.close()
        self.secret_rules.close()
        self.stores.close()
