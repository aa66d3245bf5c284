"""The HTTP door: REST under /api/v1 and MCP at /mcp, on loopback."""
