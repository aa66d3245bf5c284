"""The MCP door: the official SDK's server, and the thin shim in front of it."""
