"""The real service with the tools that the official conformance suite asks a server for.

Run as a program. The tools are operations like any other: schemas, answers and refusals go the way of all of them.
Beyond that, the stream of one tool's calls is closed by the server, as by one that does not want to hold a
connection, and the client has to come back for the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict

import securecontext.mcp.server as door
import securecontext.operations  # noqa: F401 - the catalogue's own come first
from securecontext.boundaries.policy import Permission
from securecontext.pipeline.operation import Context, Effects, Input, Output, operation
from securecontext.service.run import main
from securecontext.types.errors import InvalidInput


class address(BaseModel):
    street: str = ""
    city: str = ""


Address = address  # a field cannot have the name of its own type


class SchemaInput(Input):
    model_config = ConfigDict(json_schema_extra={"$schema": "https://json-schema.org/draft/2020-12/schema"})

    name: str = ""
    address: Address | None = None


class NoInput(Input):
    pass


class Said(Output):
    text: str


def declare(name: str) -> Callable[[Any], Any]:
    return operation(
        name,
        permission=Permission.STATUS_READ,
        effects=Effects.READS,
        render=lambda out: out.text,
        needs_project=False,
        on_machine=True,
    )


@declare("json_schema_2020_12_tool")
def with_schema(context: Context, given: SchemaInput) -> Said:
    """Tool with JSON Schema 2020-12 features."""
    return Said(text=given.name)


@declare("test_reconnection")
def reconnect(context: Context, given: NoInput) -> Said:
    """Close the stream of this call before the answer."""
    return Said(text="Reconnection test completed")


@declare("test_simple_text")
def simple_text(context: Context, given: NoInput) -> Said:
    """Answer with a text."""
    return Said(text="This is a simple text response for testing.")


@declare("test_error_handling")
def refuse(context: Context, given: NoInput) -> Said:
    """Refuse every call."""
    raise InvalidInput("always_refused", "This tool intentionally returns an error for testing.", "Do not.")


make_server = door.make_server


def make_server_that_closes(*arguments: Any) -> Any:
    """Return the server, with the stream of one tool's calls closed before they are made."""
    server = make_server(*arguments)
    entry = server.get_request_handler("tools/call")

    async def call(context: Any, params: Any) -> Any:
        if params.name == "test_reconnection" and context.close_sse_stream is not None:
            await context.close_sse_stream()
        return await entry.handler(context, params)

    server.add_request_handler("tools/call", entry.params_type, call)
    return server


door.make_server = make_server_that_closes

if __name__ == "__main__":
    raise SystemExit(main())
