"""``make demo``: the main job on this very repository, shown step by step."""
