"""The engine ``native``: ilastik's features and forest, compiled. See docs/engine-native.md."""
