"""The engine ``ilastik``: the real program, headless. See docs/engine-ilastik.md."""
