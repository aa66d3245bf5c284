"""What the doctor finds of a gateway's upstream: a call is passed on, as an agent's would be."""

from __future__ import annotations

from securecontext.cli.answers import ask
from securecontext.cli.findings import Check, Health
from securecontext.cli.service import running
from securecontext.types.errors import ZcError


def kept_upstream(name: str) -> Check:
    """Return the finding about what another service keeps."""
    return Check(
        name, Health.NOTE, "not looked at: the upstream service keeps it, and has a doctor of its own"
    )


def no_code_through_a_gateway() -> Check:
    """Return the finding about running code."""
    return Check("sandbox", Health.NOTE, "no code is run: this service is a gateway")


def asked_upstream() -> Check:
    """Pass a call on, with the token of this shell, and say who answered."""
    try:
        project = ask("zc_status", {}).structured["project"]
        trouble: ZcError | None = None
    except ZcError as error:
        project, trouble = "", error
    told = (running() or {}).get("upstream", {})
    wrong = "; ".join(f"{address} {why}" for address, why in told.get("trouble", {}).items())
    if trouble is not None and trouble.code == "token_needed":
        return Check(
            "upstream",
            Health.NOTE,
            f"this service is a gateway to {', '.join(told.get('all', ()))}; without a session token none was asked",
            "Run it where ZC_SESSION_TOKEN is set, as in an agent's shell.",
        )
    if trouble is not None:
        raise trouble
    detail = f"{told['in_use']} answers, project {project}"
    if wrong:
        return Check(
            "upstream", Health.NOTE, f"{detail}; {wrong}", "Look at that service, and at ZC_API_URL."
        )
    return Check("upstream", Health.OK, detail)
