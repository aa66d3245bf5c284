"""A gateway's way to the services that hold its data, put together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from securecontext.pipeline.bell import Bell
from securecontext.pipeline.upstreams import Upstreams
from securecontext.settings import Settings

if TYPE_CHECKING:
    from securecontext.boundaries.egress import Egress


@dataclass(frozen=True, slots=True)
class Gateway:
    """The way out.

    Attributes:
        upstreams: choose where a call goes.
    """

    upstreams: Upstreams
    _egress: Egress

    def close(self) -> None:
        """End what is under way."""
        self._egress.close()


def open_gateway(settings: Settings, bell: Bell) -> Gateway | None:
    """Return the way to the upstreams of a gateway; None where the data is here. Nothing is connected yet.

    Raises:
        InvalidInput: ``bad_authorities``.
    """
    if not settings.upstreams:
        return None
    from securecontext.boundaries.egress import Egress  # its library is not loaded where nothing leaves

    egress = Egress(settings.upstream_ca)
    return Gateway(Upstreams(settings.upstreams, egress, lambda: bell.aside()), egress)
