"""The composition root: the only place that picks engines and keys."""

from securecontext.app.root import App

__all__ = ["App"]
