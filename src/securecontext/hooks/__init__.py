"""The hooks' door: what Claude Code reports, answered in bytes."""
