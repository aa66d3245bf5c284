"""Names of tasks and of the roles that work on them: refused, or as they are."""

from __future__ import annotations

from securecontext.contracts.task import ROLE_LIMIT, TASK_ID_LIMIT, is_role, is_task_id
from securecontext.types.errors import InvalidInput


def clean_task_id(raw: str, field: str = "task_id") -> str:
    """Return a task's id.

    Raises:
        InvalidInput: ``bad_task_id``.
    """
    if not is_task_id(raw):
        raise InvalidInput(
            "bad_task_id",
            f"The {field} is empty, too long, or has a character outside its alphabet.",
            f"Use up to {TASK_ID_LIMIT} ASCII letters, digits and . _ : @ # + - and begin with a letter or a digit.",
            field=field,
        )
    return raw


def clean_role(raw: str, field: str = "role") -> str:
    """Return the name of a role, or of a pool of workers.

    Raises:
        InvalidInput: ``bad_role``.
    """
    if not is_role(raw):
        raise InvalidInput(
            "bad_role",
            f"The {field} is empty, too long, or has a character outside its alphabet.",
            f"Use up to {ROLE_LIMIT} ASCII letters, digits and . _ - and begin with a letter or a digit.",
            field=field,
        )
    return raw


def parse_reference(raw: str, role: str, field: str = "depends_on") -> tuple[str, str]:
    """Return role and id of a task that is named as ``id``, which means the role given, or as ``role/id``.

    Raises:
        InvalidInput: ``bad_role`` or ``bad_task_id``.
    """
    first, slash, last = raw.partition("/")
    return (
        (clean_role(first, field), clean_task_id(last, field)) if slash else (role, clean_task_id(raw, field))
    )
